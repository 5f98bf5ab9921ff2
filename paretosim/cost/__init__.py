"""How long does an engine step take, and what does it hold in memory?

Four folders, each of which imports only those above it in this list:

- ``kernels``: how long does one kernel take on a GPU under an engine? Measured tables over rooflines.
- ``memory``: how many bytes of weights, cache and buffers does a GPU hold, and which GPU sends what to which?
- ``operators``: which operators does one pipeline stage of a model run, and how often?
- ``steps``: how long does a whole step take? Operators summed into grids, and read by the sweep and the simulator.
"""

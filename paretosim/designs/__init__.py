"""Design-space exploration: every deployment of a scenario as an index, its score, and the Pareto fronts.

How a prefill and a decode pool are paired (`paretosim.designs.pair_scoring`). A candidate is (point, worker count)::

                      decode candidates by GPU count ->
    prefill     +------------------------------------------+
    candidates  |  rectangle: some rows, all legal columns |
    of 8 GPUs   +------------------------------------------+
                |  rectangle                               |
                +----------------------------+-------------+
    of 16 GPUs  |  rectangle                 |   more than max_gpus
                +----------------------------+

1. Drop dominated candidates: points that another one of equal engine size beats in rate and latency, then candidates
   that another one on no more GPUs beats. Designs are counted in full, from histograms of GPU counts.
2. Walk the rows of each prefill GPU count in rectangles that fit the cache.
3. Two objectives: the decode candidate decides interactivity, so keep each column's row of highest throughput. More
   objectives: go down each column by rising TTFT, and keep rows that serve more than every row before (a staircase).
   The front of what was kept is the front of all.
4. Break ties by lowest index: for each design of the front, search all candidates for equals that pruning dropped.

With a ratio of prefill to decode GPUs, worker counts depend on both points, so every such design is scored.
"""

"""Run independent tasks: in this process, in a pool of processes, or on Ray, with a journal of what is finished."""

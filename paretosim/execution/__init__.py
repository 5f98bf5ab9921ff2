"""Run independent tasks: in this process, in a pool of processes, or on Ray, with a checkpoint of what is finished."""

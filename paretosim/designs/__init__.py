"""Design-space exploration: every deployment of a scenario as an index, its score, and the Pareto fronts.

How one pair of pools is scored (`paretosim.designs.pair_scoring`), without visiting every design:

                     decode candidates (point, worker count), sorted by GPUs ->
      prefill        +-----------------------------+
      candidates     |  rectangle   |  rectangle   |  1 GPU      rows of one GPU count share the columns
      (point,        |  . . . . . . |  . . . . .   |             that stay within max_gpus: a prefix
      worker         +--------------+---------+----+
      count)         |  rectangle   |  . .    |       2 GPUs
         |           +--------------+---------+  (beyond max_gpus)
         v           |  . . . . . . |            4 GPUs

1. Drop dominated candidates of each pool: first points that another point of equal engine size beats in rate and
   latency, then (point, worker count) pairs that one on no more GPUs beats. Designs are still counted in full,
   from a histogram of GPU counts.
2. For each prefill GPU count, walk its rows in rectangles that fit the cache.
3. Two objectives: each decode column has one interactivity, so keep its row of highest throughput. More objectives:
   go down a column by rising TTFT and keep the rows that serve more than all before them (a staircase).
   Extract the front of what was kept.
4. Break ties by lowest index: for each design of the front, search the full pools for equals that pruning dropped
   (`paretosim.designs.tie_break`).

A ratio of prefill to decode GPUs makes worker counts depend on both points; such designs are scored one by one.
"""

"""Pruning never changes a front: small random pools, full of ties, against one design at a time."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretosim.designs.engine_points import Points
from paretosim.designs.front import comparable
from paretosim.designs.frontier_columns import MixPoints
from paretosim.designs.objectives import Objectives
from paretosim.designs.pair_scoring import score_disaggregated
from paretosim.designs.pool_candidates import PoolCandidates, undominated
from paretosim.designs.pool_pair import PairRange, PoolPair
from paretosim.designs.space import DesignSpace
from paretosim.designs.sweep_tasks import Score
from paretosim.spec.scenario import PLAIN, Hardware, Space

USD, WATTS = {"a": 2.0, "b": 3.0}, {"a": 700.0, "b": 1000.0}
OBJECTIVES = [PLAIN, (*PLAIN, "ttft"), (*PLAIN, "cost"), (*PLAIN, "ttft", "power"), (*PLAIN, "ttft", "cost", "power")]
few = st.integers(1, 4)  # small whole numbers make ties common
workers = st.lists(st.integers(1, 6), min_size=1, max_size=4, unique=True).map(lambda v: tuple(sorted(v)))


@st.composite
def pools(draw: st.DrawFn, size: int) -> Points:
    """Points with rates and latencies out of a handful of values; some illegal, some infeasible."""
    numbers = [np.array(draw(st.lists(few, min_size=size, max_size=size)), float) for _ in range(2)]
    flags = [np.array(draw(st.lists(st.integers(0, 5), min_size=size, max_size=size))) > 0 for _ in range(2)]
    true, nothing = np.ones(size, bool), np.full(size, np.nan)
    return Points(
        rate_req_s=numbers[0], ttft_s=numbers[1], tpot_s=0.01 * numbers[1], memory_bytes=nothing,
        kv_bytes_per_s=nothing, measured=nothing, legal=flags[0], fits=flags[1], meets_slo=true, fits_nic=true,
        mixing_kind=np.zeros(size, np.int64), mixing_size=np.zeros(size, np.int64), evaluations=size,
    )  # fmt: skip


@st.composite
def pool_pairs(draw: st.DrawFn, objectives: tuple[str, ...]) -> PoolPair:
    most = draw(st.sampled_from([None, 6, 12]))
    space = Space(("disaggregated",), (1, 2), (1,), (1, 2, 4), draw(workers), draw(workers), None, most)
    index = DesignSpace.of(space, Hardware(("a", "b"), ("a", "b")))
    prefill_gpu, decode_gpu = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    size = len(index.prefill) // 2
    pair_range = PairRange(prefill_gpu, decode_gpu, prefill_gpu * size, (prefill_gpu + 1) * size)
    prefill, decode = draw(pools(len(index.prefill))), draw(pools(len(index.decode)))
    return PoolPair(index, prefill, decode, 100, Objectives(objectives, USD, WATTS), pair_range)


def one_by_one(pair: PoolPair) -> tuple[int, int, dict[tuple[float, ...], int]]:
    """(designs, feasible designs, the front as {objectives: lowest index}), every design on its own."""
    space, scored = pair.space, pair.pair_range
    p_gpu, d_gpu = scored.prefill_gpu, scored.decode_gpu
    names = space.prefill.gpus[p_gpu], space.decode.gpus[d_gpu]
    sizes = space.prefill.engine_gpus(), space.decode.engine_gpus()
    per_gpu, designs, feasible = len(space.decode) // 2, 0, 0
    found: dict[tuple[float, ...], int] = {}
    for p, d in product(range(scored.first, scored.last), range(d_gpu * per_gpu, (d_gpu + 1) * per_gpu)):
        for (i, n_p), (j, n_d) in product(enumerate(space.prefill_workers), enumerate(space.decode_workers)):
            gpus = n_p * int(sizes[0][p]), n_d * int(sizes[1][d])
            if not (pair.prefill.legal[p] and pair.decode.legal[d] and sum(gpus) <= space.max_gpus):
                continue
            designs += 1
            if not (pair.prefill.fits[p] and pair.decode.fits[d]):
                continue
            feasible += 1
            rate = min(n_p * pair.prefill.rate_req_s[p], n_d * pair.decode.rate_req_s[d])
            tokens = rate * pair.osl
            usd, watts = (fact[names[0]] * gpus[0] + fact[names[1]] * gpus[1] for fact in (USD, WATTS))
            reached = {
                "throughput": rounded(rate * (pair.osl / sum(gpus))), "interactivity": 1 / pair.decode.tpot_s[d],
                "ttft": -pair.prefill.ttft_s[p], "cost": -rounded(usd / tokens), "power": -rounded(watts / tokens),
            }  # fmt: skip
            values = tuple(float(reached[name]) for name in pair.objectives.names)
            index = int(space.index("disaggregated", p, i, d, j))
            found[values] = min(index, found.get(values, index))
    beaten = {v for v in found if any(all(b >= a for a, b in zip(v, w, strict=True)) and w != v for w in found)}
    return designs, feasible, {v: i for v, i in found.items() if v not in beaten}


def rounded(value: float) -> float:
    return float(comparable(np.array([value]))[0])


@pytest.mark.parametrize("objectives", OBJECTIVES, ids="+".join)
@given(data=st.data())
def test_pruned_or_in_full_the_front_is_that_of_one_design_at_a_time(
    objectives: tuple[str, ...], data: st.DataObject
) -> None:
    pair = data.draw(pool_pairs(objectives))
    designs, feasible, front = one_by_one(pair)
    for prune in (True, False):
        scored = score_disaggregated(pair, prune)
        assert (scored.designs, scored.feasible) == (designs, feasible)
        rows = zip(pair.objectives.matrix(scored.front).tolist(), scored.front.index.tolist(), strict=True)
        assert {tuple(values): index for values, index in rows} == front


@pytest.mark.parametrize("objectives", [PLAIN, (*PLAIN, "ttft", "cost")], ids="+".join)
@given(data=st.data(), each=st.sampled_from([1, 7, 1 << 28]), prune=st.booleans())
def test_where_tasks_are_cut_changes_nothing(objectives, data: st.DataObject, each: int, prune: bool) -> None:
    pair = data.draw(pool_pairs(objectives))
    mix = MixPoints("m", 1, pair.osl, None, pair.prefill, pair.decode)
    score = Score(pair.space, {"m": mix}, pair.objectives, prune)
    groups: dict = {}
    for task in reversed(score.tasks(each)):
        assert task.pair_range.first < task.pair_range.last
        before = groups.get(task.group, score.objectives.empty())
        groups[task.group] = score.objectives.merged(score(task).front, before)
    whole = score_disaggregated(pair, not prune).front
    found = groups["m", "disaggregated", pair.pair_range.prefill_gpu, pair.pair_range.decode_gpu]
    np.testing.assert_array_equal(pair.objectives.matrix(found), pair.objectives.matrix(whole))
    np.testing.assert_array_equal(found.index, whole.index)


@given(st.lists(st.tuples(st.integers(1, 3), few, few), max_size=12), st.booleans())
def test_a_candidate_is_undominated_if_none_on_as_few_gpus_serves_more_and_sooner(
    pairs: list[tuple[int, int, int]], by_latency: bool
) -> None:
    gpus, rate, latency = (np.array([pair[i] for pair in pairs], float) for i in range(3))
    place = np.arange(len(pairs))
    candidates = PoolCandidates(place, place, gpus.astype(np.int64), rate, latency)
    kept = set(undominated(candidates, by_latency).point.tolist())
    for i in place:
        no_worse = [j for j in place if gpus[j] <= gpus[i] and rate[j] >= rate[i]
                    and (not by_latency or latency[j] <= latency[i])]  # fmt: skip
        better = [j for j in no_worse if (gpus[j], rate[j], by_latency * latency[j])
                  != (gpus[i], rate[i], by_latency * latency[i])]  # fmt: skip
        assert (i in kept) == (not better and i == min(no_worse))

"""Workloads of any kind: requests are whole, longer runs begin like shorter ones, equal blocks are equal tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from paretosim.sim.arrivals import requests_of
from paretosim.sim.lengths import draw
from paretosim.sim.requests import Requests
from paretosim.spec.arrivals import ClosedLoop, Constant, Diurnal, Gamma, Mmpp, Poisson
from paretosim.spec.lengths import Fixed, Histogram, Lognormal, Normal, Uniform, nominal, shortest
from paretosim.spec.workload import Mix, PrefixGroups, Sessions, Workload

rates = st.floats(0.01, 1000)
counts = st.integers(1, 300)
lengths = st.one_of(
    st.builds(Fixed, counts),
    st.tuples(counts, counts).map(lambda ends: Uniform(min(ends), max(ends))),
    st.builds(Normal, st.floats(10, 300), st.floats(0.1, 200), st.integers(1, 10), st.integers(300, 400)),
    st.builds(Lognormal, st.floats(10, 300), st.floats(0.1, 2), st.integers(1, 10), st.integers(300, 400)),
    st.dictionaries(counts, st.floats(0.1, 9), min_size=1, max_size=5).map(
        lambda shares: Histogram(tuple(sorted(shares)), tuple(shares[length] for length in sorted(shares)))
    ),
)
open_loops = st.one_of(
    st.builds(Constant, rates), st.builds(Poisson, rates), st.builds(Gamma, rates, st.floats(0.1, 5)),
    st.builds(Diurnal, rates, st.floats(0.01, 1), st.floats(1, 1000)),
    st.lists(st.tuples(rates, st.floats(0.1, 100)), min_size=2, max_size=4).map(
        lambda states: Mmpp(*(tuple(column) for column in zip(*states, strict=True)))),
)  # fmt: skip
loops = st.builds(ClosedLoop, st.integers(1, 20), st.floats(0, 10))
mixes = st.lists(
    st.builds(lambda isl, osl, weight: Mix(nominal(isl), nominal(osl), weight, isl, osl), lengths, lengths,
              st.floats(0.1, 9)), min_size=1, max_size=3).map(tuple)  # fmt: skip
workloads = st.builds(
    Workload,
    mixes,
    arrivals=open_loops | loops,
    requests=st.integers(1, 80),
    sessions=st.none() | st.builds(Sessions, lengths.filter(lambda turns: turns.mean < 50), st.floats(0, 9),
                                   st.booleans(), st.booleans()),
    groups=st.none() | st.builds(PrefixGroups, st.integers(1, 4), st.floats(0.01, 0.99)),
    block_tokens=st.integers(1, 40),
)  # fmt: skip


def requests(workload: Workload) -> Requests:
    return requests_of(workload, 5, Path())


@given(lengths, st.integers(0, 200), st.integers(0, 200))
def test_more_lengths_begin_like_fewer_and_stay_in_range(of, count: int, more: int) -> None:
    few = draw(of, np.random.default_rng(0), count)
    many = draw(of, np.random.default_rng(0), count + more)
    assert np.array_equal(many[:count], few)
    assert (many >= shortest(of)).all()
    assert shortest(of) - 1e-6 <= of.mean


@given(workloads)
def test_every_request_is_whole_and_waits_for_one_thing(workload: Workload) -> None:
    found = requests(workload)
    assert len(found) == workload.requests
    assert (found.isl >= 1).all() and (found.osl >= 1).all() and (found.delay_s >= 0).all()
    assert (found.after < np.arange(len(found))).all()
    timed, waits = ~np.isnan(found.arrival_s), found.after >= 0
    looped = ~timed & ~waits
    assert (timed.astype(int) + waits + looped == 1).all()
    assert looped.any() == (found.concurrency > 0)
    assert (np.diff(found.arrival_s[timed]) >= 0).all()
    assert not found.delay_s[timed].any()


@given(workloads, st.integers(1, 80))
def test_a_longer_run_begins_like_a_shorter_one(workload: Workload, more: int) -> None:
    short = requests(workload)
    long = requests(replace(workload, requests=workload.requests + more))
    for column in ("arrival_s", "isl", "osl", "after", "delay_s", "kind", "priority"):
        assert np.array_equal(getattr(long, column)[: len(short)], getattr(short, column), equal_nan=True), column


@settings(max_examples=60)
@given(workloads.filter(lambda w: w.groups is not None or (w.sessions is not None and w.sessions.grows)))
def test_blocks_are_equal_where_all_tokens_up_to_their_end_are(workload: Workload) -> None:
    found = requests(workload)
    sequences: dict[tuple, int] = {}  # a sequence of tokens: the number of all but its last block, and that block
    ids: dict[int, int] = {}
    for request, prompt in enumerate(_prompts(workload, found)):
        start, end = found.hash_starts[request : request + 2]
        begins = range(0, len(prompt), found.block_tokens)
        assert end - start == len(begins)
        until = -1
        for block, begin in zip(found.hash_ids[start:end].tolist(), begins, strict=True):
            until = sequences.setdefault((until, *prompt[begin : begin + found.block_tokens]), len(sequences))
            assert ids.setdefault(block, until) == until
    assert len(ids) == len(sequences)


def _prompts(workload: Workload, found: Requests) -> list[list[tuple]]:
    """Every prompt token by token: who it is shared with, and its place. Groups are told by their first block."""
    prompts: list[list[tuple]] = []
    grows = workload.sessions is not None and workload.sessions.grows
    share = workload.groups.share if workload.groups else 0.0
    for request, (isl, after) in enumerate(zip(found.isl.tolist(), found.after.tolist(), strict=True)):
        if grows and after >= 0:
            told = prompts[after]
            owner = next((t[1] for t in told if t[0] == "own"), request)
            prompts.append(told + [("own", owner, place) for place in range(len(told), isl)])
            continue
        # A beginning shorter than a block is found by no cache, so it may be anyone's own.
        common = int(isl * share) // found.block_tokens * found.block_tokens
        group = int(found.hash_ids[found.hash_starts[request]]) if common else -1
        prompts.append([("group", group, place) if place < common else ("own", request, place) for place in range(isl)])
    return prompts

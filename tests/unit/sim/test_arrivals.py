"""From a workload to requests: sessions, groups, closed loops, and what depends on which randomness."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from paretosim.errors import InputError
from paretosim.sim.arrivals import requests_of
from paretosim.sim.requests import Requests
from tests.conftest import ROOT
from tests.workloads import same, workload

HERE = Path()
POISSON = {"kind": "poisson", "rate_req_s": 5}
SESSIONS = {"turns": {"uniform": [1, 6]}, "think_s": {"exponential": 4}}
VARIED = [{"isl": {"uniform": [50, 150]}, "osl": {"lognormal": {"median": 40, "sigma": 1}}}, {"isl": 9, "osl": 3}]


def requests(seed: int = 0, **keys) -> Requests:
    return requests_of(workload(**keys), seed, HERE)


def blocks(of: Requests, request: int) -> list[int]:
    return of.hash_ids[of.hash_starts[request] : of.hash_starts[request + 1]].tolist()


# --- how many, and when


def test_a_closed_loop_has_no_times_and_ten_requests_a_client() -> None:
    loop = requests(arrivals={"kind": "closed_loop", "concurrency": 64})
    assert len(loop) == 640
    assert loop.concurrency == 64
    assert np.isnan(loop.arrival_s).all()
    assert not loop.delay_s.any()
    assert (loop.after == -1).all()


def test_a_ramp_starts_the_clients_of_a_closed_loop_one_after_the_other() -> None:
    loop = requests(arrivals={"kind": "closed_loop", "concurrency": 4, "ramp_s": 2}, requests=9)
    assert loop.delay_s.tolist() == [0, 0.5, 1, 1.5, 0, 0, 0, 0, 0]


def test_a_duration_takes_what_arrives_before_its_end() -> None:
    spanned = requests(arrivals={"kind": "constant", "rate_req_s": 4}, duration_s=2)
    assert spanned.arrival_s.tolist() == [i / 4 for i in range(8)]


def test_a_duration_too_short_for_any_request_is_an_error() -> None:
    with pytest.raises(InputError, match=r"workload\.duration_s: ends before the first request arrives"):
        requests(arrivals=POISSON, duration_s=1e-9)


def test_a_simulation_needs_arrivals_and_their_end() -> None:
    with pytest.raises(InputError, match=r"workload\.arrivals: is required to simulate"):
        requests()
    with pytest.raises(InputError, match=r"workload\.requests: is required to simulate, or `duration_s`"):
        requests(arrivals=POISSON)


# --- what


def test_mixes_share_the_traffic_by_weight_and_keep_name_and_priority() -> None:
    mixes = [{"isl": 100, "osl": 10, "weight": 3, "name": "chat", "priority": 2}, {"isl": 7, "osl": 5}]
    found = requests(mixes=mixes, arrivals=POISSON, requests=40_000)
    assert found.kinds == ("chat", "7/5")
    assert stats.binomtest(int((found.kind == 0).sum()), 40_000, 0.75).pvalue > 0.001
    assert (found.isl == np.where(found.kind == 0, 100, 7)).all()
    assert (found.osl == np.where(found.kind == 0, 10, 5)).all()
    assert (found.priority == np.where(found.kind == 0, 2, 0)).all()


def test_plain_prompts_are_not_hashed() -> None:
    plain = requests(arrivals=POISSON, requests=10)
    assert plain.block_tokens == 0
    assert plain.hash_starts.tolist() == [0]


# --- sessions


def test_a_turn_waits_for_the_one_before_and_takes_its_prompt_and_answer_along() -> None:
    found = requests(mixes=VARIED, arrivals=POISSON, requests=2000, sessions=SESSIONS)
    assert len(found) == 2000
    later = np.flatnonzero(found.after >= 0)
    before = found.after[later]
    assert (before == later - 1).all()
    assert (found.kind[later] == found.kind[before]).all()
    new = found.isl[later] - found.isl[before] - found.osl[before]
    small = found.kind[later] == 1
    assert (new[small] == 9).all()
    assert new[~small].min() >= 50 and new[~small].max() <= 150
    assert (np.isnan(found.arrival_s) == (found.after >= 0)).all()
    assert stats.kstest(found.delay_s[later], "expon", (0, 4)).pvalue > 0.001
    assert not found.delay_s[found.after < 0].any()


def test_the_blocks_of_a_turn_extend_those_of_the_turn_before() -> None:
    found = requests(mixes=VARIED, arrivals=POISSON, requests=500, sessions=SESSIONS, prefix={"block_tokens": 32})
    assert found.block_tokens == 32
    for turn in np.flatnonzero(found.after >= 0):
        before = int(found.after[turn])
        full = int(found.isl[before]) // 32
        assert blocks(found, turn)[:full] == blocks(found, before)[:full]
        assert not set(blocks(found, turn)[full:]) & set(blocks(found, before))
        assert len(blocks(found, turn)) == -(-found.isl[turn] // 32)


def test_sessions_that_do_not_grow_only_pause() -> None:
    sessions = {"turns": 3, "think_s": 1.5, "grows": False}
    found = requests(arrivals=POISSON, requests=8, sessions=sessions)
    assert found.isl.tolist() == [100] * 8
    assert found.after.tolist() == [-1, 0, 1, -1, 3, 4, -1, 6]  # the last session is cut
    assert found.delay_s.tolist() == [0, 1.5, 1.5, 0, 1.5, 1.5, 0, 1.5]
    assert found.block_tokens == 0


def test_a_rate_of_sessions_starts_sessions() -> None:
    sessions = {"turns": 4, "think_s": 1}
    found = requests(arrivals={"kind": "constant", "rate_req_s": 2}, duration_s=5, sessions=sessions)
    assert len(found) == 40
    assert found.arrival_s[found.after < 0].tolist() == [i / 2 for i in range(10)]


# --- groups


def test_prompts_of_a_group_share_as_many_blocks_as_their_shares_cover() -> None:
    groups = {"groups": {"count": 3, "share": 0.5}, "block_tokens": 10}
    found = requests(mixes=VARIED, arrivals=POISSON, requests=300, prefix=groups)
    owners: dict[int, list[int]] = {}
    for request in range(300):
        own = blocks(found, request)
        shared = int(found.isl[request] * 0.5) // 10
        for block in own[shared:]:
            assert block not in owners or owners[block] == [request]
            owners[block] = [request]
        if shared:
            owners.setdefault(own[0], []).append(request)
    first_blocks = {blocks(found, r)[0] for r in range(300) if found.isl[r] >= 20}
    assert len(first_blocks) == 3


def test_the_share_of_a_prompt_in_groups_is_the_hit_rate_of_an_endless_cache() -> None:
    groups = {"groups": {"count": 20, "share": 0.8}, "block_tokens": 16}
    found = requests(mixes=[{"isl": 16_000, "osl": 200}], arrivals=POISSON, requests=1000, prefix=groups)
    hits = 1 - len(np.unique(found.hash_ids)) / len(found.hash_ids)
    assert hits == pytest.approx(0.8 * (1 - 20 / 1000), abs=1e-12)


# --- randomness


@pytest.mark.parametrize("change", [
    {"arrivals": {"kind": "gamma", "rate_req_s": 9, "cv": 3}},
    {"arrivals": {"kind": "closed_loop", "concurrency": 8}},
])  # fmt: skip
def test_other_arrivals_keep_lengths_sessions_and_groups(change: dict) -> None:
    keys = {"mixes": VARIED, "requests": 500, "sessions": SESSIONS, "prefix": {"groups": {"count": 5, "share": 0.3}}}
    one, other = requests(**keys, arrivals=POISSON), requests(**keys | change)
    for column in ("isl", "osl", "kind", "after", "delay_s", "hash_ids"):
        assert np.array_equal(getattr(one, column), getattr(other, column)), column


def test_other_lengths_keep_arrivals_and_the_other_length() -> None:
    one = requests(mixes=VARIED, arrivals=POISSON, requests=500)
    mixes = [VARIED[0] | {"osl": {"uniform": [2, 300]}}, VARIED[1]]
    other = requests(mixes=mixes, arrivals=POISSON, requests=500)
    assert np.array_equal(one.arrival_s, other.arrival_s)
    assert np.array_equal(one.isl, other.isl)
    assert not np.array_equal(one.osl, other.osl)


def test_another_seed_is_another_run_and_the_same_seed_the_same() -> None:
    keys = {"mixes": VARIED, "arrivals": POISSON, "requests": 100, "sessions": SESSIONS}
    assert same(requests(3, **keys), requests(3, **keys))
    assert not same(requests(3, **keys), requests(4, **keys))


def test_the_same_seed_gives_the_same_bytes_in_every_process() -> None:
    code = """
import hashlib
from tests.unit.sim.test_arrivals import *
from tests.workloads import columns
found = requests(7, mixes=VARIED, arrivals={"kind": "mmpp", "rates_req_s": [1, 9], "dwell_s": [3, 2]}, requests=500,
                 sessions=SESSIONS, prefix={"groups": {"count": 5, "share": 0.3}})
print(hashlib.sha256(repr(columns(found)).encode()).hexdigest())
"""
    answers = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("0", "1", "4711")
    }  # fmt: skip
    assert len(answers) == 1 and len(answers.pop()) == 65

"""Engines against a loop over tokens that was written apart from them.

The loops below know no runs of steps, no events and no heaps: every step looks at every request. They say what vLLM v1
does: running sequences first, each of which stores its newest token and generates one; then prompts in work, in the
order of their admission; then waiting ones while budget, places and blocks last; who is last in that order goes first
when blocks run out, and nobody new comes in a step that had to preempt. With dyadic step times all sums of floats are
exact, so the answers are equal bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from math import inf

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from paretosim.sim.inter_token_latency import itl_of
from paretosim.sim.log import Outcome
from paretosim.sim.requests import Requests
from paretosim.sim.schedulers import ChunkedPrefill
from tests.clusters import DYADIC, dyadic_requests, run

BLOCK = 16
BATCH_TOKENS = 2048  # of the prefill engines of `tests.clusters`


@dataclass
class Job:
    """One request, token by token; `store` tokens of it are to be computed before it can decode."""

    number: int
    isl: int
    osl: int
    store: int = 0
    computed: int = 0
    preempted: int = 0
    put_back: int = 0  # of these, before it could decode
    start_s: float = inf
    joined_s: float = inf
    token_s: list[float] = field(default_factory=list)

    @property
    def context(self) -> int:
        return self.isl + len(self.token_s)

    @property
    def decodes(self) -> bool:
        return self.computed == self.store

    @property
    def blocks(self) -> int:
        """A prompt has all its blocks from its first chunk on; a running sequence those of its context."""
        return -(-(self.context if self.decodes else self.store) // BLOCK)


def prompt_s(tokens: int) -> float:
    return DYADIC.prefill_base_s + DYADIC.per_token_s * tokens


def decode_s(jobs: list[Job]) -> float:
    context = sum(job.context for job in jobs)
    return DYADIC.decode_base_s + DYADIC.per_sequence_s * len(jobs) + DYADIC.per_context_token_s * context


def ceil_blocks(tokens: int) -> int:
    return -(-tokens // BLOCK)


class Tie(Exception):
    """Two engines act at one instant: which of them comes first is not defined."""


def one_engine(
    new: list[tuple[float, Job]], handed: list[tuple[float, Job]], budget: int, places: int, blocks: float
) -> None:
    """Serve jobs that come with their prompt to compute, and others whose cache is `handed` over with one token."""
    now = 0.0
    waiting: list[Job] = []
    ready: list[Job] = []
    batch: list[Job] = []  # running and prompts in work, as they came
    new, handed = list(new), list(handed)
    began = -1.0
    while new or handed or waiting or ready or batch:
        if not (waiting or ready or batch):
            now = max(now, min(queue[0][0] for queue in (new, handed) if queue))
        elif any(time == now and began >= 0 for time, _ in handed[:1]):
            raise Tie
        began = now
        for queue, place in ((new, waiting), (handed, ready)):
            while queue and queue[0][0] <= now:
                _, job = queue.pop(0)
                if ceil_blocks(job.isl + job.osl) <= blocks:
                    place.append(job)
        short = False
        while any(job.decodes for job in batch) and sum(job.blocks for job in batch) > blocks:
            last = ([job for job in batch if not job.decodes] or batch)[-1]
            batch.remove(last)
            last.preempted, short = last.preempted + 1, True
            last.put_back += not last.decodes
            waiting.insert(0, last)
        while ready and not short and len(batch) < places:
            job = ready[0]
            if sum(other.blocks for other in batch) + ceil_blocks(job.context) > blocks:
                break
            job.store = job.computed = 0
            job.joined_s = now if job.joined_s == inf else job.joined_s
            batch.append(ready.pop(0))
        running = [job for job in batch if job.decodes]
        room = budget - len(running)
        chunks: list[tuple[Job, int]] = []
        for job in batch:
            if not job.decodes and room > 0:
                chunks.append((job, min(room, job.store - job.computed)))
                room -= chunks[-1][1]
        while waiting and not short and room > 0 and len(batch) < places:
            job = waiting[0]
            if sum(other.blocks for other in batch) + ceil_blocks(job.context) > blocks:
                break
            job.store, job.computed = job.context, 0
            job.start_s = min(job.start_s, now)
            batch.append(waiting.pop(0))
            chunks.append((job, min(room, job.store)))
            room -= chunks[-1][1]
        if chunks:
            now += prompt_s(sum(tokens for _, tokens in chunks))
        if running:
            now = began + ((now - began) + decode_s(running))
        for job in running:
            job.token_s.append(now)
        for job, tokens in chunks:
            job.computed += tokens
            if job.decodes:
                job.token_s.append(now)
                if len(job.token_s) < job.osl:
                    job.joined_s = min(job.joined_s, now)
        # Prompts that are complete run behind those that ran before.
        done = [job for job, _ in chunks if job.decodes]
        batch = running + done + [job for job in batch if not job.decodes]
        batch = [job for job in batch if len(job.token_s) < job.osl]


def one_prefill_engine(new: list[tuple[float, Job]]) -> list[tuple[float, Job]]:
    """Batches of whole prompts; returns when each has its token."""
    now, done, new = 0.0, [], list(new)
    while new:
        now = max(now, new[0][0])
        batch: list[Job] = []
        while new and new[0][0] <= now:
            if batch and sum(job.isl for job in batch) + new[0][1].isl > BATCH_TOKENS:
                break
            batch.append(new.pop(0)[1])
        for job in batch:
            job.start_s = now
        now += prompt_s(sum(job.isl for job in batch))
        for job in batch:
            job.token_s.append(now)
            done.append((now, job))
    return done


def jobs_of(requests: Requests) -> list[tuple[float, Job]]:
    columns = zip(requests.arrival_s.tolist(), requests.isl.tolist(), requests.osl.tolist(), strict=True)
    return [(at, Job(i, isl, osl)) for i, (at, isl, osl) in enumerate(columns)]


def same(outcome: Outcome, jobs: list[Job]) -> None:
    log = outcome.log

    def column(name: str, values: list[float]) -> None:
        expected = np.array([np.nan if value == inf else value for value in values])
        assert np.array_equal(log.column(name), expected, equal_nan=True), name

    column("prefill_start_s", [job.start_s for job in jobs])
    column("first_token_s", [job.token_s[0] if job.token_s else inf for job in jobs])
    column("decode_start_s", [job.joined_s for job in jobs])
    column("finish_s", [job.token_s[-1] if len(job.token_s) == job.osl else inf for job in jobs])
    assert log.column("preemptions").tolist() == [job.preempted for job in jobs]


def same_gaps(outcome: Outcome, jobs: list[Job]) -> None:
    """Every gap between two tokens of a request, from a log of single steps."""
    gaps = itl_of(outcome)
    found = np.repeat(gaps.first_s, gaps.count.astype(int))
    assert np.array_equal(np.sort(found), np.sort(np.concatenate([np.diff(job.token_s) for job in jobs])))


TRAFFIC = {
    "seed": st.integers(0, 2**32 - 1),
    "rate": st.sampled_from([8.0, 40.0, 400.0]),
    "isl": st.sampled_from([8, 300, 900]),
    "osl": st.sampled_from([1, 7, 120]),
}


def colocated(requests: Requests, engines: int, budget: int, places: int, blocks: float) -> list[Job]:
    jobs = jobs_of(requests)
    for first in range(engines):
        one_engine(jobs[first::engines], [], budget, places, blocks)
    return [job for _, job in jobs]


@settings(max_examples=150)
@given(
    **TRAFFIC,
    engines=st.sampled_from([1, 3]),
    budget=st.sampled_from([32, 64, 512]),
    places=st.sampled_from([4, 16, 64]),
    blocks=st.sampled_from([None, 64, 90, 200]),
)
def test_a_chunked_engine_equals_the_loop_over_tokens(seed, rate, isl, osl, engines, budget, places, blocks) -> None:
    requests = dyadic_requests(seed, 80, rate, isl, osl)
    jobs = colocated(requests, engines, budget, places, blocks or inf)
    ask = partial(run, requests, scheduler=partial(ChunkedPrefill, budget, places), engines=engines, blocks=blocks)
    same(ask(), jobs)
    slow = ask(longest_run=1)
    same(slow, jobs)
    same_gaps(slow, jobs)


@settings(max_examples=150)
@given(
    **TRAFFIC,
    prefill_engines=st.sampled_from([1, 2]),
    places=st.sampled_from([4, 16]),
    blocks=st.sampled_from([None, 64, 90, 200]),
)
def test_a_prefill_and_a_decode_pool_equal_the_loops_over_tokens(
    seed, rate, isl, osl, prefill_engines, places, blocks
) -> None:
    requests = dyadic_requests(seed, 80, rate, isl, osl)
    new = jobs_of(requests)
    pools = [one_prefill_engine(new[first::prefill_engines]) for first in range(prefill_engines)]
    ends = [{time for time, _ in pool} for pool in pools]
    assume(not set.intersection(*ends) if len(ends) > 1 else True)
    handed = sorted((entry for pool in pools for entry in pool), key=lambda entry: entry[0])
    handed = [(time, job) for time, job in handed if job.osl > 1]
    try:
        for first in range(2):
            one_engine([], handed[first::2], 256, places, blocks or inf)
    except Tie:
        assume(False)
    outcome = run(
        requests, scheduler=partial(ChunkedPrefill, 256, places), engines=2, prefill_engines=prefill_engines,
        blocks=blocks,
    )  # fmt: skip
    same(outcome, [job for _, job in new])


def test_the_loop_preempts_running_sequences_and_prompts_in_work() -> None:
    jobs = colocated(dyadic_requests(1, 80, 400.0, 300, 120), 1, 32, 16, 64)
    assert sum(job.put_back for job in jobs) >= 5
    assert sum(job.preempted - job.put_back for job in jobs) >= 5

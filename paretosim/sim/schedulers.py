"""Schedulers: what the next step of an engine carries. Each is one small class that a scenario names.

An engine asks its scheduler whenever it plans a step while a prompt waits or is in prefill. The scheduler reads
`waiting`, `prompts` and `running`, admits prompts with `engine.admit`, and answers with chunks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from math import ceil, inf
from typing import assert_never

from ..errors import InputError, Problem
from ..spec.cluster import Policy
from ..spec.parallelism import Parallelism
from ..spec.scheduling import Chunked, DecodeOnly, PerMix, PromptBatches, PromptWait, Scheduling
from ..spec.scheduling import InFlight as InFlightPrompts
from .policies import UNLIMITED, Work, option
from .rank_wait import RankWait
from .scheduling import AdmittingEngine, StepPlan


@dataclass(slots=True)
class ChunkedPrefill:
    """Decode first, then prompts up to a budget of tokens, cut where the budget ends (Sarathi-Serve; vLLM v1).

    Attributes
    ----------
    token_budget : tokens of one step of a rank.
    max_sequences : as `Scheduler`.
    max_prompts : most prompts in prefill at once.
    delay : as `Scheduler`.
    rank_wait_steps : most steps for which a prompt waits until each rank has one (`RankWait`).
    prompt_interval : while sequences run, only every so many steps carry prompts, unless the last of these left some
        waiting (vLLM's ``prefill_schedule_interval``).
    """

    token_budget: int = option(8192, at_least=1, needs=Work.PROMPTS)
    max_sequences: int = option(1024, at_least=1)
    max_prompts: int = option(UNLIMITED, at_least=1, needs=Work.PROMPTS)
    delay: int = option(0, at_most=1, needs=Work.SEQUENCES)
    rank_wait_steps: int = option(0, needs=Work.PROMPTS | Work.SEQUENCES)
    prompt_interval: int = option(1, at_least=1, needs=Work.PROMPTS | Work.SEQUENCES)
    again_in: float = field(default=inf, init=False)
    _ranks: RankWait = field(default_factory=RankWait, init=False)
    _awake: int = field(default=0, init=False)  # step at which the engine last had nothing to decode
    _full: bool = field(default=False, init=False)  # whether the last step that could take prompts left some

    def compose(self, engine: AdmittingEngine, now_s: float) -> StepPlan:
        """See `Scheduler`."""
        self.again_in = inf
        if held := self._held(engine):
            self.again_in = held
            return [], True
        chunks = self._chunks(engine, now_s)
        if chunks or len(engine.running) < self.max_sequences:
            self._full = bool(engine.waiting)  # a step without a free place could take none
        if not chunks and self.rank_wait_steps:
            self.again_in = self.rank_wait_steps  # those that come get their rank at once
        return chunks, True

    def _held(self, engine: AdmittingEngine) -> int:
        """Decode steps for which prompts still wait."""
        if not engine.running:
            self._awake = engine.count
        elif not self._full and (past := (engine.count - self._awake) % self.prompt_interval):
            return self.prompt_interval - past
        return self._ranks.steps_left(engine, self.rank_wait_steps, self.max_sequences)

    def _chunks(self, engine: AdmittingEngine, now_s: float) -> list[tuple[int, int]]:
        steps, prompts, waiting, budget = engine.steps, engine.prompts, engine.waiting, self.token_budget
        running = len(engine.running)
        room = budget * steps.slots - ceil(running * steps.tokens_per_step)
        chunks: list[tuple[int, int]] = []
        for request, tokens in prompts.items():
            if room <= 0:
                return chunks
            part = min(tokens, room, budget)
            chunks.append((request, part))
            room -= part
        together = self.rank_wait_steps > 1 and steps.ranks > 1
        if together and prompts:
            return chunks
        free_slots = self.max_sequences - running - len(prompts)
        while room > 0 and free_slots > 0 and waiting and len(prompts) < self.max_prompts:
            request = waiting[0]
            # What begins together goes on together: a remainder would be computed alone.
            if (together and min(engine.prompt_tokens(request), budget) > room) or not engine.admit(request, now_s):
                break
            part = min(prompts[request], room, budget)
            chunks.append((request, part))
            room -= part
            free_slots -= 1
            self._ranks.taken(engine)
        return chunks


@dataclass(slots=True)
class InFlight:
    """Whole prompts together with the running sequences, up to a token budget (TensorRT-LLM in-flight batching).

    Attributes
    ----------
    token_budget : tokens of one step of a rank; a prompt that is longer by itself runs alone, in chunks.
    max_sequences : as `Scheduler`.
    delay : 1 with the overlap scheduler, which plans a step while the one before runs, else 0.
    wait_steps, wait_share : while sequences run, prompts wait up to `wait_steps` steps for others, until a step would
        carry this share of the budget (``batch_wait_timeout_iters``, ``batch_wait_max_tokens_ratio``).
    rank_wait_steps : most steps for which a prompt waits until each rank has one (`RankWait`;
        ``attention_dp_config.timeout_iters`` with ``enable_balance``).
    """

    token_budget: int = option(8192, at_least=1, needs=Work.PROMPTS)
    max_sequences: int = option(2048, at_least=1)
    delay: int = option(1, at_most=1, needs=Work.SEQUENCES)
    wait_steps: int = option(0, needs=Work.PROMPTS | Work.SEQUENCES)
    wait_share: float = option(0.0, at_most=1, needs=Work.PROMPTS | Work.SEQUENCES)
    rank_wait_steps: int = option(0, needs=Work.PROMPTS | Work.SEQUENCES)
    again_in: float = field(default=inf, init=False)
    _ranks: RankWait = field(default_factory=RankWait, init=False)
    _waited: int = field(default=0, init=False)

    def compose(self, engine: AdmittingEngine, now_s: float) -> StepPlan:
        """See `Scheduler`."""
        self.again_in = inf
        if held := self._ranks.steps_left(engine, self.rank_wait_steps, self.max_sequences):
            self.again_in = held
            return [], True
        if self.wait_steps and self._waits(engine):
            self.again_in = 1
            return [], True
        room = self.token_budget * engine.steps.slots - len(engine.running)
        chunks = [(request, min(tokens, max(room, 1))) for request, tokens in engine.prompts.items()]
        room -= sum(tokens for _, tokens in chunks)
        free_slots = self.max_sequences - len(engine.running) - len(engine.prompts)
        while free_slots > 0 and engine.waiting:
            request = engine.waiting[0]
            tokens = engine.prompt_tokens(request)
            whole = tokens <= room
            if not (whole or (not chunks and tokens > self.token_budget)) or not engine.admit(request, now_s):
                break
            part = min(engine.prompts[request], max(room, 1))
            chunks.append((request, part))
            room -= part
            free_slots -= 1
            self._waited = 0
            self._ranks.taken(engine)
        if not chunks and self.rank_wait_steps:
            self.again_in = self.rank_wait_steps  # those that come get their rank at once
        return chunks, True

    def _waits(self, engine: AdmittingEngine) -> bool:
        """Whether too few prompts could begin now and they have not waited long enough."""
        budget, running = self.token_budget * engine.steps.slots, len(engine.running)
        if not running or engine.prompts:
            return False
        tokens = running
        for request in islice(engine.waiting, max(0, self.max_sequences - running)):
            prompt = engine.prompt_tokens(request)
            if tokens + prompt > budget:
                break
            tokens += prompt
        if tokens == running or tokens >= self.wait_share * budget or self._waited >= self.wait_steps:
            return False
        self._waited += 1
        return True


@dataclass(slots=True)
class PrefillFirst:
    """Prompts first: a step carries only prompts while there are any (vLLM v0, SGLang).

    Attributes
    ----------
    token_budget : tokens of one step of a rank; longer prompts are cut.
    max_sequences, delay : as `Scheduler`.
    group : prompts begin only when this many slots are free, so that sequences stall less often.
    poll : decode steps between two looks at what waits; after a step of prompts it looks at once (SGLang's
        ``scheduler-recv-interval``, whose counter such a step overruns).
    rank_wait_steps : most steps for which a prompt waits until each rank has one (`RankWait`; SGLang's
        ``prefill-delayer-max-delay-passes`` with ``enable-prefill-delayer``).
    decode_steps : decode steps between two that carry prompts, while sequences run (``prefill-decode-interval``).
    """

    token_budget: int = option(8192, at_least=1, needs=Work.PROMPTS)
    max_sequences: int = option(1024, at_least=1)
    delay: int = option(0, at_most=1, needs=Work.SEQUENCES)
    group: int = option(1, at_least=1, needs=Work.PROMPTS | Work.SEQUENCES)
    poll: int = option(1, at_least=1, needs=Work.PROMPTS | Work.SEQUENCES)
    rank_wait_steps: int = option(0, needs=Work.PROMPTS | Work.SEQUENCES)
    decode_steps: int = option(0, needs=Work.PROMPTS | Work.SEQUENCES)
    again_in: float = field(default=inf, init=False)
    _ranks: RankWait = field(default_factory=RankWait, init=False)
    _looked: int = field(default=0, init=False)

    def compose(self, engine: AdmittingEngine, now_s: float) -> StepPlan:
        """See `Scheduler`."""
        self.again_in = inf
        if engine.running and (held := self._held(engine)):
            self.again_in = held
            return [], True
        room = self.token_budget * engine.steps.slots
        chunks: list[tuple[int, int]] = []
        for request, tokens in engine.prompts.items():
            part = min(tokens, room, self.token_budget)
            chunks.append((request, part))
            room -= part
        free_slots = self.max_sequences - len(engine.running) - len(engine.prompts)
        if free_slots < self.group and engine.running:
            free_slots = 0
        while room > 0 and free_slots > 0 and engine.waiting and engine.admit(request := engine.waiting[0], now_s):
            part = min(engine.prompts[request], room, self.token_budget)
            chunks.append((request, part))
            room -= part
            free_slots -= 1
            self._ranks.taken(engine)
        if chunks:
            self._looked = engine.count + 1
        elif self.rank_wait_steps:
            self.again_in = self.rank_wait_steps  # those that come get their rank at once
        return chunks, not chunks

    def _held(self, engine: AdmittingEngine) -> int:
        """Decode steps for which prompts still wait."""
        if (rest := self._looked + self.decode_steps - engine.count) > 0:
            return rest
        if not engine.prompts and (early := (self._looked - engine.count) % self.poll):
            return early
        return self._ranks.steps_left(engine, self.rank_wait_steps, self.max_sequences)


@dataclass(slots=True)
class Fcfs:
    """Batches of whole prompts in the order of arrival, alone in their steps.

    Attributes
    ----------
    max_batch_tokens : tokens of one batch; a longer prompt runs alone.
    max_batch : prompts of one batch.
    chunk_tokens : size of the chunks into which prompts are cut, which follow each other through the pipeline.
    max_sequences, delay : as `Scheduler`.
    """

    max_batch_tokens: int = option(8192, at_least=1, needs=Work.PROMPTS)
    max_batch: int = option(UNLIMITED, at_least=1, needs=Work.PROMPTS)
    chunk_tokens: int = option(UNLIMITED, at_least=1, needs=Work.PROMPTS)
    max_sequences: int = option(UNLIMITED, at_least=1)
    delay: int = option(0, at_most=1, needs=Work.SEQUENCES)

    def compose(self, engine: AdmittingEngine, now_s: float) -> StepPlan:
        """See `Scheduler`."""
        chunks: list[tuple[int, int]] = []
        room = self.max_batch_tokens * engine.steps.ranks
        for request, tokens in engine.prompts.items():
            part = min(tokens, self.chunk_tokens)
            chunks.append((request, part))
            room -= part
        free_slots = self.max_sequences - len(engine.running) - len(engine.prompts)
        while engine.waiting and free_slots > 0 and len(chunks) < self.max_batch:
            request = engine.waiting[0]
            if (chunks and min(engine.prompt_tokens(request), self.chunk_tokens) > room) or not engine.admit(
                request, now_s
            ):
                break
            part = min(engine.prompts[request], self.chunk_tokens)
            chunks.append((request, part))
            room -= part
            free_slots -= 1
        return chunks, not chunks


def policy_of(scheduling: Scheduling, batch: int, layout: Parallelism, token_budget: int, wait: PromptWait) -> Policy:
    """The scheduler that runs an engine as the analytic evaluator assumes.

    Parameters
    ----------
    scheduling : how a design schedules prompts.
    batch : most prompts per step, or most running sequences, of one engine.
    layout : widths of the engine.
    token_budget : most tokens in one step of a rank.
    wait : how long the engine holds chunked prompts back.

    Raises
    ------
    InputError
        The scheduling differs by mix (`PerMix`).
    """
    match scheduling:
        case InFlightPrompts(prompts):
            options = {"token_budget": token_budget, "max_sequences": batch, "group": prompts}
            return Policy("prefill_first", options)
        case Chunked(chunk_tokens):
            # A step carries the whole batch and a chunk.
            budget = ceil(batch / layout.attn_dp) + chunk_tokens
            held = {"rank_wait_steps": wait.rank_steps, "prompt_interval": wait.interval}
            return Policy("chunked_prefill", {"token_budget": budget, "max_sequences": batch} | held)
        case PromptBatches(chunk_tokens):
            chunk = chunk_tokens or token_budget
            # Whole prompts of a batch spread over the stages, each a micro-batch; chunks follow each other anyway.
            prompts = batch if chunk_tokens else ceil(batch / layout.pp)
            return Policy("fcfs", {"max_batch_tokens": chunk, "chunk_tokens": chunk, "max_batch": prompts})
        case DecodeOnly():
            return Policy("chunked_prefill", {"token_budget": token_budget, "max_sequences": batch})
        case PerMix():
            message = "each mix has a setting of its own: simulate one mix, with the setting of that mix's own row"
            raise InputError(Problem("scheduler", message))
        case _:
            assert_never(scheduling)


SCHEDULERS = {
    "chunked_prefill": ChunkedPrefill,
    "fcfs": Fcfs,
    "in_flight": InFlight,
    "prefill_first": PrefillFirst,
}

"""A colocated engine in steady state: prefill and decode on the same GPUs.

The baseline that disaggregation must beat is the better of two ways in which engines mix the phases, each at its
best setting: *in-flight* batching runs whole prompts between decode steps, *chunked* (piggybacked) prefill adds
a slice of prompt tokens to decode steps (arXiv 2506.05508, section 4: "superposition" of both).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Floats
from ..cost.steps.calibrated import StepTimes
from ..spec.scheduling import CHUNKED, IN_FLIGHT, NO_WAIT, PromptWait
from .rate_match import Counts

CHUNKS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)
GROUPS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class ColocatedRate:
    """What one colocated engine delivers, arrays (batches, settings), or (batches, settings, layouts) for a stack.

    Attributes
    ----------
    ttft_s : wait for the running step, and the prompt's own steps [s].
    tpot_s : time per output token, prefill interference included [s].
    rate_req_s : requests a second of one engine.
    step_tokens : tokens of its largest step.
    prompts : prompts in prefill at a time, which hold KV cache in addition to the running batch.
    measured : share of the seconds that lies inside measured grids.
    kind, size : of each setting (and layout), as `paretosim.spec.scheduling` numbers them.
    """

    ttft_s: Floats
    tpot_s: Floats
    rate_req_s: Floats
    step_tokens: Floats
    prompts: Floats
    measured: Floats
    kind: Counts
    size: Counts


def colocated_rate(
    step: StepTimes, batch: ArrayLike, isl: float, osl: float, prefix: float, token_budget: float,
    wait: PromptWait = NO_WAIT,
) -> ColocatedRate:  # fmt: skip
    """Evaluate batches of running sequences under every setting that respects the token budget.

    A setting that cannot admit prompts as fast as the batch finishes them, or that gathers more prompts than the
    batch has slots, has an infinite TTFT.

    Parameters
    ----------
    step : times of a layout, or of a stack of layouts.
    batch : running sequences of one engine, array (n,); (n, 1) for a stack of layouts.
    isl, osl, prefix : lengths [token].
    token_budget : most tokens of one step of a rank.
    wait : how long chunked prompts wait for others.

    Notes
    -----
    A decode step of a batch of B finishes ``B / (osl - 1)`` requests, so it must prefill that many.
    With P stages, ``min(P, B)`` micro-batches run concurrently, each like a separate engine at P times the stage time;
    the stall of one micro-batch behind another's longer step is not modelled.

    A chunk on one rank costs what a chunk on every rank costs. Prompts come at random, so that of the steps that carry
    any each carries ``m / (1 - exp(-m))`` on average, with `m` the chunks that fall due per step (or per interval);
    while the first one waits for the other ranks, more come.

    A request takes its own prompt's time and ``osl - 1`` tokens, so between its tokens it only sees the prompts of
    others: of B prompts that run G at a time, ``B - G``. A chunk delays every sequence in its step. If a share s of
    the steps carries chunks, the ``B`` running sequences and the prompts in prefill occupy ``B + s G`` slots; a
    sequence sees all chunks but those of its own group, in a share ``s (1 - (1 - s) G / B)`` of its steps.
    """
    batch = np.asarray(batch, dtype=np.float64)[:, None]
    fresh, stages, ranks = isl - prefix, step.layout.pp, step.layout.attn_dp
    lanes = np.minimum(batch, stages)
    running = batch / lanes
    decode_first = step.decode_mean(running[:, 0], isl + 1, isl + osl)
    decode_s, decode_measured = (v[:, None] for v in decode_first)
    mean_context = isl + osl / 2
    verified = running / ranks * step.settings.queries  # rows of one rank
    arrivals = running * step.tokens_per_step / (osl - 1)  # prompts that one decode step must make room for

    # Ranks prefill concurrently: a step carries up to one chunk, or one group of prompts, per rank.
    chunk_sizes = [c for c in CHUNKS if c < token_budget]
    by_setting = (-1, *(1,) * (batch.ndim - 2))
    sizes = np.array(chunk_sizes).reshape(by_setting)
    due = arrivals * np.maximum(1.0, fresh / sizes) * wait.interval
    company = due / -np.expm1(-due) + arrivals * max(wait.rank_steps - 1, 0)
    side_by_side = np.minimum(company, ranks)
    chunks = sizes * side_by_side
    group_sizes = [g for g in GROUPS if g == 1 or g * fresh <= token_budget]
    groups = np.array(group_sizes, dtype=np.float64).reshape(by_setting)
    in_flight = groups * ranks

    # Chunked: a share of the steps carries `chunk` prompt tokens, the others none.
    share = arrivals * fresh / chunks
    per_rank = sizes / fresh  # share of a prompt that a chunk holds
    together = side_by_side * np.maximum(per_rank, 1)  # prompts
    mixed = step.mixed(running, mean_context, together, isl, prefix, np.minimum(per_rank, 1))
    # A step at the mean context can be marginally faster than the mean over contexts; a mixed step never is.
    mixed_s = np.maximum(mixed.seconds, decode_s)
    within = (share <= 1) & (verified + sizes <= token_budget)
    chunked_step = share * mixed_s + (1 - share) * decode_s
    # Share of the steps with chunks of its own group.
    own = share * (1 - share) * np.minimum(1.0, side_by_side / running)
    chunked_seen = chunked_step - own * (mixed_s - decode_s)
    steps = np.maximum(1.0, fresh / sizes)
    # A prompt waits half a step of the others, then takes its own; prompts do not queue behind each other here.
    others = np.clip(running - side_by_side, 0.0, 1.0)
    held = 0.5 * np.where(ranks > 1, np.minimum(wait.rank_steps - 1, (side_by_side - 1) / arrivals), 0.0)
    held = np.maximum(held, 0.0) + 0.5 * (wait.interval - 1)
    chunked_ttft = np.where(within, stages * ((0.5 * others + held) * chunked_step + steps * mixed_s), np.inf)
    chunked_measured = (share * mixed.measured * mixed_s + (1 - share) * decode_measured * decode_s) / chunked_step

    # In-flight: groups of whole prompts run between decode steps; a group waits until enough slots are free.
    pieces = np.ceil(groups * fresh / token_budget)
    prompt = step.prefill(in_flight / np.maximum(pieces, 1), isl, prefix)
    group_s = np.broadcast_to(prompt.seconds * pieces, (len(batch), *prompt.seconds.shape))
    spent = arrivals * group_s / in_flight
    flight_step = decode_s + spent
    flight_seen = np.maximum(decode_s, flight_step - arrivals / running * group_s)
    gather_s = (in_flight - 1) / 2 * flight_step / arrivals
    others = np.minimum(1.0, running - in_flight)
    flight_ttft = np.where(in_flight <= running, stages * (gather_s + 0.5 * others * decode_s + group_s), np.inf)
    flight_measured = (decode_measured * decode_s + prompt.measured * spent) / flight_step

    slot_s = stages * np.concatenate([chunked_step, flight_step], axis=1) / step.tokens_per_step
    tpot = stages * np.concatenate([chunked_seen, flight_seen], axis=1) / step.tokens_per_step
    return ColocatedRate(
        ttft_s=np.concatenate([chunked_ttft, flight_ttft], axis=1),
        tpot_s=tpot,
        rate_req_s=batch / (slot_s * (osl - 1)),
        step_tokens=np.concatenate([verified + sizes, np.broadcast_to(groups * fresh / pieces, group_s.shape)], axis=1),
        prompts=np.concatenate([together, in_flight + np.zeros_like(group_s)], axis=1),
        measured=np.concatenate([chunked_measured, flight_measured], axis=1),
        kind=np.repeat([CHUNKED, IN_FLIGHT], [len(chunk_sizes), len(group_sizes)]),
        size=np.concatenate([sizes + np.zeros_like(ranks), in_flight]).astype(np.int64),
    )

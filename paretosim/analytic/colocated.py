"""A colocated engine in steady state: prefill and decode on the same GPUs.

The baseline that disaggregation must beat is the better of the two ways engines mix the phases, each at its
best setting: *in-flight* batching runs whole prompts between decode steps, *chunked* (piggybacked) prefill adds
a slice of prompt tokens to decode steps (arXiv 2506.05508, section 4: "superposition" of both).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Floats
from ..cost.steps.calibrated import StepTimes
from ..spec.scheduling import CHUNKED, IN_FLIGHT
from .rate_match import Counts

CHUNKS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)
GROUPS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class ColocatedRate:
    """What one colocated engine delivers, by batch (rows) and setting (columns); by layout too where a stack was asked.

    Attributes
    ----------
    ttft_s : wait for the running step, and the prompt's own steps [s].
    tpot_s : time per output token, prefill interference included [s].
    rate_req_s : requests a second of one engine.
    step_tokens : tokens of its largest step.
    prompts : prompts in prefill at a time, whose cache is held beside the running batch.
    measured : share of the seconds inside measured grids.
    kind, size : of the setting of each column (and layout), as `paretosim.spec.scheduling` numbers them.
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
    step: StepTimes, batch: ArrayLike, isl: float, osl: float, prefix: float, token_budget: float
) -> ColocatedRate:
    """Evaluate batches of running sequences under every setting that respects the token budget.

    A setting that cannot bring in prompts as fast as the batch finishes them, or that gathers more prompts than the
    batch has slots, has an infinite TTFT.

    Parameters
    ----------
    batch : running sequences of one engine, array (n,); (n, 1) to ask a stack of layouts.
    isl, osl, prefix : lengths [token].
    token_budget : tokens of one step of a rank at most.

    Notes
    -----
    Per decode step a batch of B finishes ``B / (osl - 1)`` requests, which is how much prefill a step must carry.
    With P stages, ``min(P, B)`` micro-batches run side by side, each like an engine of its own at P times the
    stage time; the stall of one micro-batch behind another's longer step is not modelled.

    A request takes its own prompt's time and ``osl - 1`` tokens, so between its tokens it sees the prompts of the
    others only: of B prompts that run G at a time, ``B - G``. A chunk delays every sequence that runs beside it; with a
    share s of the steps carrying chunks, ``B`` running sequences and the prompts in work beside them fill ``B + s G``
    places, of which a sequence sees all but its own group: a share ``s (1 - (1 - s) G / B)`` of its steps.
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

    # Ranks bring in prompts side by side: a step carries one chunk, or group of prompts, for each.
    whole = [c for c in CHUNKS if c < token_budget]
    by_setting = (-1, *(1,) * (batch.ndim - 2))
    sizes = np.array(whole).reshape(by_setting)
    chunks = sizes * ranks
    some = [g for g in GROUPS if g == 1 or g * fresh <= token_budget]
    groups = np.array(some, dtype=np.float64).reshape(by_setting)
    in_flight = groups * ranks

    # Chunked: a share of the steps carries `chunk` prompt tokens, the others none.
    share = arrivals * fresh / chunks
    per_rank = sizes / fresh  # of a prompt
    mixed = step.mixed(running, mean_context, ranks * np.maximum(per_rank, 1), isl, prefix, np.minimum(per_rank, 1))
    # At the mean context a step may fall a hair below the mean over contexts; a mixed one is never the faster.
    mixed_s = np.maximum(mixed.seconds, decode_s)
    within = (share <= 1) & (verified + sizes <= token_budget)
    chunked_step = share * mixed_s + (1 - share) * decode_s
    own = share * (1 - share) * np.minimum(1.0, ranks / running)  # of the steps, those with chunks of its own group
    chunked_seen = chunked_step - own * (mixed_s - decode_s)
    steps = np.maximum(1.0, fresh / sizes)
    # A prompt waits half a step of the others, then takes its own; prompts do not queue behind each other here.
    others = np.clip(running - ranks, 0.0, 1.0)
    chunked_ttft = np.where(within, stages * (0.5 * others * chunked_step + steps * mixed_s), np.inf)
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
        prompts=np.broadcast_to(np.concatenate([np.maximum(ranks, chunks / fresh), in_flight]), tpot.shape),
        measured=np.concatenate([chunked_measured, flight_measured], axis=1),
        kind=np.repeat([CHUNKED, IN_FLIGHT], [len(whole), len(some)]),
        size=np.concatenate([sizes + np.zeros_like(ranks), in_flight]).astype(np.int64),
    )

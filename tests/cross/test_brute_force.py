"""The sweep against an evaluator that is slow and obvious: one design at a time, plain Python, no arrays."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import paretosim as ps
from paretosim.cost.kernels.kernels import Kernels
from paretosim.cost.memory.kv_bandwidth import (
    egress_bytes_per_s,
    ingress_bytes_per_s,
    request_kv_bytes,
    sharing_gpus,
)
from paretosim.cost.memory.memory import MemoryModel
from paretosim.cost.steps.compiler import compile_step
from paretosim.designs.front import comparable
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision

SCENARIO = """\
name: small
model: meta-llama/Llama-3.1-8B
precision: {weights: fp8, kv_cache: fp8}
engine: vllm
hardware: {prefill: [h100_sxm, h200_sxm], decode: [h200_sxm]}
workload: {mixes: [{isl: 2048, osl: 256}, {isl: 256, osl: 1024}]}
slo: {ttft_s: 0.6, tpot_s: 0.02}
space:
  tp: [1, 2]
  pp: [1, 2]
  batch: [1, 8, 64, 512]
  workers: {prefill: [1, 2, 3], decode: [1, 2, 5]}
  max_gpus: 12
"""
ISL_OSL = ((2048, 256), (256, 1024))
BATCHES, WORKERS_P, WORKERS_D, MOST = (1, 8, 64, 512), (1, 2, 3), (1, 2, 5), 12
TTFT_S, TPOT_S, BUDGET = 0.6, 0.02, 8192


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> ps.Sweep:
    path = tmp_path_factory.mktemp("small") / "small.yaml"
    path.write_text(SCENARIO)
    return ps.sweep(path, ps.Store(calibrations={}))


class Slow:
    """Prefill and decode engines, one at a time."""

    def __init__(self, store: Store):
        self.model, self.precision = load_model("meta-llama/Llama-3.1-8B"), Precision.of("fp8")
        self.kernels = {gpu: Kernels.of(store, gpu, "vllm") for gpu in ("h100_sxm", "h200_sxm")}
        self.cache: dict[tuple[str, Parallelism], tuple] = {}

    def engine(self, gpu: str, layout: Parallelism):
        if (gpu, layout) not in self.cache:
            kernels = self.kernels[gpu]
            step = compile_step(self.model, self.precision, kernels, layout)
            memory = MemoryModel.of(self.model, self.precision, kernels.engine, layout, kernels.gpu)
            self.cache[gpu, layout] = step, memory
        return self.cache[gpu, layout]

    def prefill(self, gpu: str, layout: Parallelism, batch: int, isl: int) -> float | None:
        """Requests a second of one engine, or None where a limit is broken."""
        step, memory = self.engine(gpu, layout)
        per_step = max(1, BUDGET // isl)
        groups = max(-(-batch // per_step), min(batch, layout.pp))
        ttft = (layout.pp - 1 + groups) * float(step.prefill(batch / groups, isl).seconds)
        out = egress_bytes_per_s(request_kv_bytes(self.model, self.precision, isl), batch, ttft,
                                 sharing_gpus(self.model, layout))  # fmt: skip
        tokens = -(-batch // groups) * isl
        fits = bool(memory.fits(tokens, batch, isl))
        return batch / ttft if fits and ttft <= TTFT_S and out <= self.kernels[gpu].gpu.nic_bytes_per_s else None

    def decode(self, gpu: str, layout: Parallelism, batch: int, isl: int, osl: int) -> tuple[float, float] | None:
        """(requests a second, TPOT) of one engine, or None."""
        step, memory = self.engine(gpu, layout)
        running = batch / min(batch, layout.pp)
        # The mean over contexts, by brute force: the compiled cost is linear between powers of two.
        samples = 20_000
        contexts = [isl + 1 + (osl - 1) * (i + 0.5) / samples for i in range(samples)]
        stage = float(step.decode([running] * samples, contexts).seconds.mean())
        tpot = layout.pp * stage
        into = ingress_bytes_per_s(request_kv_bytes(self.model, self.precision, isl), batch, tpot, osl,
                                   sharing_gpus(self.model, layout))  # fmt: skip
        fits = bool(memory.fits(-(-batch // layout.pp), batch, isl + 0.5 * osl))
        fast = tpot <= TPOT_S and into <= self.kernels[gpu].gpu.nic_bytes_per_s
        return (batch / (tpot * (osl - 1)), tpot) if fits and fast else None

    def colocated(self, gpu: str, layout: Parallelism, batch: int, isl: int, osl: int) -> tuple[float, float] | None:
        """(requests a second, TPOT) of one engine at its best setting, or None."""
        step, memory = self.engine(gpu, layout)
        lanes = min(batch, layout.pp)
        running, held = batch / lanes, isl + 0.5 * osl
        decode_s = float(step.decode_mean(np.array([running]), isl + 1, isl + osl).seconds[0])
        per_step = running / (osl - 1)
        found = []
        for chunk in (128, 256, 512, 1024, 2048, 4096):
            share = per_step * isl / chunk
            mixed_s = max(float(step.mixed(running, isl + osl / 2, chunk / isl, isl).seconds), decode_s)
            slot_s = share * mixed_s + (1 - share) * decode_s
            own = (1 - share) / running  # of the chunks that a place sees, those of its own prompt
            tpot = decode_s + share * max(0.0, 1 - own) * (mixed_s - decode_s)
            waits = min(1.0, running - 1) * 0.5 * slot_s
            ttft = waits + max(1.0, isl / chunk) * mixed_s
            if share <= 1 and running + chunk <= BUDGET:
                found.append((tpot, ttft, running + chunk, max(1.0, chunk / isl), slot_s))
        for group in (1, 2, 4, 8, 16, 32):
            if group * isl <= BUDGET and group <= running:
                group_s = float(step.prefill(group, isl).seconds)
                slot_s = decode_s + per_step * group_s / group
                # The others' groups, one after each of their answers.
                tpot = decode_s + (running - group) / group * group_s / (osl - 1)
                waits = min(1.0, running - group) * 0.5 * decode_s
                ttft = (group - 1) / 2 * slot_s / per_step + waits + group_s
                found.append((tpot, ttft, group * isl, group, slot_s))
        allowed = []
        for tpot, ttft, tokens, prompts, slot_s in found:
            tpot, ttft, slot_s = tpot * layout.pp, ttft * layout.pp, slot_s * layout.pp
            fits = bool(memory.fits(tokens, batch + prompts * isl / held, held))
            if fits and ttft <= TTFT_S and tpot <= TPOT_S:
                allowed.append((tpot, ttft, slot_s))
        if not allowed:
            return None
        best = min(tpot for tpot, _, _ in allowed)
        tpot, _, slot_s = min((one for one in allowed if one[0] <= 1.01 * best), key=lambda one: one[1])
        return batch / (slot_s * (osl - 1)), tpot


def layouts() -> Iterator[Parallelism]:
    for tp, pp in product((1, 2), (1, 2)):
        yield Parallelism(tp, pp)


def every_disaggregated(store: Store, isl: int, osl: int) -> Iterator[tuple[float, float]]:
    """(interactivity, throughput per GPU) of every feasible disaggregated design, one by one."""
    slow = Slow(store)
    decodes = [(lay, slow.decode("h200_sxm", lay, b, isl, osl)) for lay in layouts() for b in BATCHES]
    for gpu, layout, batch in product(("h100_sxm", "h200_sxm"), layouts(), BATCHES):
        rate_p = slow.prefill(gpu, layout, batch, isl)
        for (other, found), n_p, n_d in product(decodes, WORKERS_P, WORKERS_D):
            gpus = n_p * layout.gpus + n_d * other.gpus
            if rate_p is None or found is None or gpus > MOST:
                continue
            rate_d, tpot = found
            yield 1 / tpot, min(n_p * rate_p, n_d * rate_d) * osl / gpus


def every_colocated(store: Store, isl: int, osl: int) -> Iterator[tuple[float, float]]:
    """(interactivity, throughput per GPU) of every feasible colocated design, one by one."""
    slow = Slow(store)
    for layout, batch, workers in product(list(layouts()), BATCHES, WORKERS_D):
        found = slow.colocated("h200_sxm", layout, batch, isl, osl)
        if found is not None and workers * layout.gpus <= MOST:
            rate, tpot = found
            yield 1 / tpot, workers * rate * osl / (workers * layout.gpus)


@pytest.mark.parametrize("place", [0, 1])
def test_the_frontier_is_what_brute_force_finds(answer: ps.Sweep, store: Store, place: int) -> None:
    isl, osl = ISL_OSL[place]
    designs = [*every_colocated(store, isl, osl), *every_disaggregated(store, isl, osl)]
    slow = ps.Front.of([x for x, _ in designs], comparable(np.array([y for _, y in designs])), range(len(designs)))
    rows = answer.frontier[answer.frontier.mix == f"{isl}/{osl}"]
    assert len(rows) == len(slow) > 3
    assert rows.interactivity_tok_s_user.to_numpy() == pytest.approx(slow.x, rel=1e-6)
    assert rows.throughput_tok_s_gpu.to_numpy() == pytest.approx(slow.y, rel=1e-6)
    assert set(rows.serving) == {"colocated", "disaggregated"}


@pytest.mark.parametrize("place", [0, 1])
def test_the_disaggregated_front_is_what_brute_force_finds(answer: ps.Sweep, store: Store, place: int) -> None:
    isl, osl = ISL_OSL[place]
    designs = list(every_disaggregated(store, isl, osl))
    slow = ps.Front.of([x for x, _ in designs], comparable(np.array([y for _, y in designs])), range(len(designs)))
    rows = answer.fronts[(answer.fronts.mix == f"{isl}/{osl}") & (answer.fronts.serving == "disaggregated")]
    fast = ps.Front.of(rows.interactivity_tok_s_user, rows.throughput_tok_s_gpu, rows.design_id)
    assert len(fast) == len(slow) > 3
    assert fast.x == pytest.approx(slow.x, rel=1e-6)
    assert fast.y == pytest.approx(slow.y, rel=1e-6)


def test_counts_are_those_of_enumerating(answer: ps.Sweep, store: Store) -> None:
    legal = 0
    for _, layout in product(("h100_sxm", "h200_sxm"), layouts()):
        for other, n_p, n_d in product(list(layouts()), WORKERS_P, WORKERS_D):
            legal += (n_p * layout.gpus + n_d * other.gpus <= MOST) * len(BATCHES) ** 2
    colocated = sum(n * layout.gpus <= MOST for layout in layouts() for n in WORKERS_D) * len(BATCHES)
    assert answer.summary["designs"] == 2 * (legal + colocated)
    feasible = sum(len(list(every_disaggregated(store, *lengths))) for lengths in ISL_OSL)
    feasible += sum(len(list(every_colocated(store, *lengths))) for lengths in ISL_OSL)
    assert answer.summary["feasible_designs"] == feasible


def test_a_row_of_the_frontier_is_the_design_its_id_says(answer: ps.Sweep) -> None:
    from paretosim.designs.frontier_columns import describe, framed

    result = answer.result
    gpus = {name: Store().gpu(name) for name in ("h100_sxm", "h200_sxm")}
    for mix, rows in answer.frontier.groupby("mix", sort=False):
        again = framed(describe(result.space, result.points[str(mix)], gpus, rows["design_id"].to_numpy()))
        assert again.to_csv(index=False) == rows[list(again)].to_csv(index=False)


@pytest.mark.parametrize("ratios", ["[0.5, 2]", "matched"])
def test_fixed_and_matched_ratios_give_what_their_worker_counts_give(tmp_path: Path, ratios: str) -> None:
    path = tmp_path / "ratio.yaml"
    path.write_text(SCENARIO.replace("workers: {prefill: [1, 2, 3], decode: [1, 2, 5]}", f"ctx_gen_ratio: {ratios}"))
    rows = ps.sweep(path, ps.Store(calibrations={})).fronts
    rows = rows[rows.serving == "disaggregated"]
    assert len(rows) > 5
    if ratios != "matched":
        assert set(rows.ctx_gen_ratio) <= {0.5, 2.0}
    for _, row in rows.iterrows():
        gpus = (
            row.prefill_workers * row.prefill_tp * row.prefill_pp,
            row.decode_workers * row.decode_tp * row.decode_pp,
        )
        assert row.gpus == sum(gpus) <= MOST
        assert row.ctx_gen_ratio == pytest.approx(gpus[0] / gpus[1])
        assert row.throughput_tok_s_gpu == pytest.approx(row.request_rate_s * row.osl / row.gpus)

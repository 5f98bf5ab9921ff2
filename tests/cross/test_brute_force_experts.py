"""A model with experts, one design at a time: attention data parallelism, expert spreading, objectives, the blend."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil

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
from paretosim.designs.front_nd import ParetoSet
from paretosim.profiles.store import Store
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism, illegal
from paretosim.spec.precision import Precision

MODEL, GPUS, LENGTHS, WEIGHTS = "Qwen/Qwen3-30B-A3B", ("h200_sxm", "b200_sxm"), ((2048, 256), (256, 1024)), (2.0, 1.0)
TP, DP, EP, BATCHES, WORKERS, MOST = (1, 2), (1, 2, 4), (1, 2, 4), (1, 16, 256), (1, 3), 16
TTFT_S, TPOT_S, BUDGET = 1.0, 0.02, 8192
SCENARIO = f"""\
name: experts
model: {MODEL}
precision: {{weights: fp8, kv_cache: fp8}}
engine: vllm
hardware: {{prefill: [{GPUS[0]}, {GPUS[1]}], decode: [{GPUS[0]}]}}
objectives: OBJECTIVES
workload: {{mixes: [{{isl: 2048, osl: 256, weight: 2}}, {{isl: 256, osl: 1024}}]}}
slo: {{ttft_s: {TTFT_S}, tpot_s: {TPOT_S}}}
space:
  serving: [disaggregated]
  tp: {[*TP]}
  attn_dp: {[*DP]}
  ep: {[*EP]}
  batch: {[*BATCHES]}
  workers: {[*WORKERS]}
  max_gpus: {MOST}
  legal_for: any
"""


@dataclass(frozen=True)
class Engine:
    """One engine at one batch under both mixes: requests a second and latency of each, None where a limit is broken."""

    gpus: int
    rates: tuple[float | None, ...]
    latencies: tuple[float, ...]


@pytest.fixture(scope="module")
def engines(store: Store) -> dict[str, list[tuple[str, Engine]]]:
    model, precision = load_model(MODEL), Precision.of("fp8")
    found: dict[str, list[tuple[str, Engine]]] = {"prefill": [], "decode": []}
    for gpu in GPUS:
        kernels = Kernels.of(store, gpu, "vllm")
        for tp, dp, ep, batch in product(TP, DP, EP, BATCHES):
            layout = Parallelism(tp, attn_dp=dp, moe_ep=ep)
            if illegal(layout, model, kernels.gpu) is not None:
                continue
            step = compile_step(model, precision, kernels, layout)
            memory = MemoryModel.of(model, precision, kernels.engine, layout, kernels.gpu)
            sharers, nic = sharing_gpus(model, layout), kernels.gpu.nic_bytes_per_s
            for pool in ("prefill", "decode") if gpu == GPUS[0] else ("prefill",):
                rates: list[float | None] = []
                latencies: list[float] = []
                for isl, osl in LENGTHS:
                    kv = request_kv_bytes(model, precision, isl)
                    if pool == "prefill":
                        # Every rank takes as many whole prompts as its budget holds; ranks work side by side.
                        groups = max(ceil(batch / (dp * max(1, BUDGET // isl))), 1)
                        latency = groups * float(step.prefill(batch / groups, isl).seconds)
                        fits = memory.fits(ceil(batch / groups / dp) * isl, batch, isl)
                        good = latency <= TTFT_S and egress_bytes_per_s(kv, batch, latency, sharers) <= nic
                        rate = batch / latency
                    else:
                        latency = float(step.decode_mean(np.array([float(batch)]), isl + 1, isl + osl).seconds[0])
                        fits = memory.fits(ceil(batch / dp), batch, isl + 0.5 * osl)
                        good = latency <= TPOT_S and ingress_bytes_per_s(kv, batch, latency, osl, sharers) <= nic
                        rate = batch / (latency * (osl - 1))
                    rates.append(rate if good and fits else None)
                    latencies.append(latency)
                found[pool].append((gpu, Engine(layout.gpus, tuple(rates), tuple(latencies))))
    return found


def designs(engines, store: Store, shares: tuple[float, ...]):
    """(throughput, interactivity, -ttft, -USD a token) of every feasible design, the mixes weighted by `shares`."""
    served = [i for i, share in enumerate(shares) if share]
    total = sum(shares)
    tokens = [shares[i] / total * LENGTHS[i][1] for i in served]

    def blended(engine: Engine) -> tuple[float, list[float]] | None:
        if any(engine.rates[i] is None for i in served):
            return None
        return 1 / sum(shares[i] / total / engine.rates[i] for i in served), [engine.latencies[i] for i in served]

    price = {gpu: store.gpu(gpu).usd_per_hour for gpu in GPUS}
    for (gpu_p, one), (gpu_d, two) in product(engines["prefill"], engines["decode"]):
        prefill, decode = blended(one), blended(two)
        for n_p, n_d in product(WORKERS, WORKERS):
            gpus = n_p * one.gpus, n_d * two.gpus
            if prefill is None or decode is None or sum(gpus) > MOST:
                continue
            ttft = sum(shares[i] / total * t for i, t in zip(served, prefill[1], strict=True))
            tpot = sum(w * t for w, t in zip(tokens, decode[1], strict=True)) / sum(tokens)
            rate = min(n_p * prefill[0], n_d * decode[0]) * sum(tokens)
            yield rate / sum(gpus), 1 / tpot, -ttft, -(price[gpu_p] * gpus[0] + price[gpu_d] * gpus[1]) / rate


@pytest.fixture(scope="module", params=["[throughput, interactivity]", "[throughput, interactivity, ttft, cost]"])
def answer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ps.Sweep:
    path = tmp_path_factory.mktemp("experts") / "s.yaml"
    path.write_text(SCENARIO.replace("OBJECTIVES", request.param))
    return ps.sweep(path, ps.Store(calibrations={}))


@pytest.mark.parametrize(("mix", "shares"), [("2048/256", (1.0, 0.0)), ("256/1024", (0.0, 1.0)), ("all", WEIGHTS)])
def test_the_frontier_is_what_brute_force_finds(engines, answer: ps.Sweep, store: Store, mix: str, shares) -> None:
    every = np.array(list(designs(engines, store, shares)))
    counts = answer.summary["feasible_designs_by_mix"] | {"all": answer.summary["feasible_designs_for_every_mix"]}
    assert len(every) == counts[mix] > 1000
    width = len(answer.summary["objectives"])
    # Designs that differ by rounding only are one design; latencies of equal engines are equal already.
    rounded = np.copysign(comparable(np.abs(every)), every)[:, :width]
    slow = ParetoSet.of(rounded, np.arange(len(every))).values
    rows = answer.frontier[answer.frontier.mix == mix]
    found = np.column_stack(
        [rows.throughput_tok_s_gpu, rows.interactivity_tok_s_user, -rows.ttft_s, -rows.usd_per_mtok * 3600 / 1e6]
    )[:, :width]
    order = np.lexsort(-found.T[::-1])
    assert len(found) == len(slow) > 3
    np.testing.assert_allclose(found[order], slow, rtol=1e-9)

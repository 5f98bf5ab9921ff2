"""Layouts evaluated together, in a stack, against the same layouts one at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paretosim import Store, load_scenario
from paretosim.analytic.chunked_pipeline import chunked_rate
from paretosim.analytic.colocated import colocated_rate
from paretosim.analytic.decode import decode_rate
from paretosim.analytic.prefill import prefill_rate
from paretosim.designs.compiled_engines import Engines
from paretosim.designs.engine_points import Points, colocated_points, decode_points, prefill_points
from paretosim.designs.space import DesignSpace, Pool
from paretosim.designs.sweep_checks import check_names
from paretosim.spec.scenario import Scenario
from paretosim.spec.served_formats import decided

Case = tuple[Scenario, Engines, DesignSpace]
HEAD = """\
name: stacked
precision: {precision}
model: {model}
engine: {engine}
hardware: [{gpus}]
workload: {{mixes: [{{isl: 16384, osl: 512}}, {{isl: 700, osl: 9000}}]{workload}}}
{settings}
slo: {{ttft_s: 5.0, tpot_s: 0.05}}
space:
  batch: [1, 3, 8, 100, 1500]
  workers: [1]
  {space}
"""
R1, WIDE = "deepseek-ai/DeepSeek-R1", "tp: [1, 4, 8]\n  attn_dp: [1, 8, 16]\n  ep: [1, 8, 16, 64]\n  pp: [1, 2, 4]"
CASES = {
    "experts on two GPUs": (R1, "fp4", "gb200, b200_sxm", WIDE, "", ""),
    "a dense model": ("meta-llama/Llama-3.1-70B", "fp8", "h200_sxm", "tp: [1, 2, 4, 8]\n  pp: [1, 2, 4]", "", ""),
    "a prefix": ("Qwen/Qwen3-30B-A3B", "fp8", "h200_sxm", "tp: [1, 2, 4]\n  attn_dp: [1, 2]\n  ep: [1, 2, 4]", "",
                 ", prefix: {hit_rate: 0.4}"),
    "chunks and context parallelism": ("meta-llama/Llama-3.1-70B", "fp8", "h200_sxm", "tp: [4, 8]\n  pp: [1, 2, 4]\n  "
                                       "cp: [1, 2]\n  cpp_chunk: [2048, 4096]\n  cpp_smoothing: 0.7", "", ""),
    "even chunks": (R1, "fp8_block", "h200_sxm", "tp: [8]\n  pp: [2, 4]\n  cpp_chunk: [2048, 4096]", "", ""),
    "drafts": (R1, "fp8_block", "h200_sxm", WIDE, "speculative: {draft_tokens: 2, acceptance: 0.8}", ""),
    "two batches at once": (R1, "fp8_block", "h200_sxm", WIDE, "two_batch_overlap: true", ""),
    "kept latents": (R1, "fp8_block", "h200_sxm", WIDE, "mla: {cache_expanded: true}", ""),
}  # fmt: skip


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Scenario, Engines, DesignSpace]:
    model, precision, gpus, space, settings, workload = CASES[request.param]
    file: Path = tmp_path_factory.mktemp("stacks") / "s.yaml"
    file.write_text(
        HEAD.format(model=model, precision=precision, gpus=gpus, space=space, settings=settings, workload=workload,
                    engine="trtllm" if precision != "fp8_block" else "sglang")
    )  # fmt: skip
    scenario, store = load_scenario(file), Store()
    spec = check_names(scenario, store)
    formats = decided(scenario.precision, spec, store.engine(scenario.engine).kv_cache)
    engines = Engines.of(store, spec, formats, scenario.engine, scenario.hardware.names, scenario.settings)
    return scenario, engines, DesignSpace.of(scenario.space, scenario.hardware)


def same(one: np.ndarray, other: np.ndarray) -> None:
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_decode_engines(case: Case) -> None:
    scenario, engines, space = case
    batch = np.array(space.decode.batch, float)
    for mix in scenario.workload.mixes:
        points = decode_points(engines, space.decode, mix, scenario.slo)
        for gpu, layout, where in engines.layouts(space.decode):
            rate, memory = decode_rate(engines.step(gpu, layout), batch, mix.isl, mix.osl), engines.memory(gpu, layout)
            same(points.tpot_s[where], rate.tpot_s)
            same(points.rate_req_s[where], rate.rate_req_s)
            same(points.measured[where], rate.measured)
            rows = np.ceil(batch / (layout.pp * layout.attn_dp)) * scenario.settings.queries
            held = memory.reserved_tokens(mix.isl, mix.osl)
            same(points.memory_bytes[where], memory.used_bytes(rows, batch, held))
            np.testing.assert_array_equal(points.fits[where], memory.fits(rows, batch, held))
        evaluated(engines, space.decode, points)


def test_prefill_engines(case: Case) -> None:
    scenario, engines, space = case
    batch, hit = np.array(space.prefill.batch, float), scenario.workload.prefix_hit_rate
    for mix in scenario.workload.mixes:
        prefix = mix.isl * hit
        points = prefill_points(engines, space.prefill, mix, hit, scenario.slo, space.cpp_smoothing)
        for gpu, layout, everywhere in engines.layouts(space.prefill):
            step, memory = engines.step(gpu, layout), engines.memory(gpu, layout)
            budget = engines.kernels[gpu].engine.token_budget
            for place, chunk in enumerate(space.prefill.cpp_chunk if layout.pp > 1 else (0,)):
                start = everywhere.start + place * len(batch)
                where = slice(start, start + len(batch))
                pieces = chunk or (budget if layout.pp > 1 and mix.isl - prefix > budget else 0)
                smoothing = space.cpp_smoothing if chunk else 0.0
                rate = (
                    chunked_rate(step, batch, mix.isl, prefix, pieces, smoothing)
                    if pieces else prefill_rate(step, batch, mix.isl, prefix, budget)
                )  # fmt: skip
                same(points.ttft_s[where], rate.ttft_s)
                same(points.rate_req_s[where], rate.rate_req_s)
                same(points.measured[where], rate.measured)
                held = rate.step_tokens, batch, mix.isl, np.maximum(rate.step_tokens, mix.isl)
                same(points.memory_bytes[where], memory.used_bytes(*held))
                np.testing.assert_array_equal(points.fits[where], memory.fits(*held))


def test_colocated_engines(case: Case) -> None:
    scenario, engines, space = case
    batch, hit = np.array(space.colocated.batch, float), scenario.workload.prefix_hit_rate
    for mix in scenario.workload.mixes:
        points = colocated_points(engines, space.colocated, mix, hit, scenario.slo)
        for gpu, layout, where in engines.layouts(space.colocated):
            of = engines.kernels[gpu].engine
            step, prefix = engines.step(gpu, layout), mix.isl * hit
            rate = colocated_rate(step, batch, mix.isl, mix.osl, prefix, of.token_budget, of.prompt_wait)
            assert rate.tpot_s.shape == (len(batch), len(rate.kind))
            names = list(zip(rate.kind, rate.size, strict=True))
            picked = zip(points.mixing_kind[where], points.mixing_size[where], strict=True)
            chosen = np.array([names.index(setting) for setting in picked])[:, None]
            for name in ("ttft_s", "tpot_s", "rate_req_s", "measured"):
                same(getattr(points, name)[where], np.take_along_axis(getattr(rate, name), chosen, axis=1)[:, 0])
        evaluated(engines, space.colocated, points)


def evaluated(engines: Engines, pool: Pool, points: Points) -> None:
    """Every legal engine, and nothing else."""
    legal = np.zeros(len(pool), bool)
    for _, _, where in engines.layouts(pool):
        legal[where] = True
    np.testing.assert_array_equal(points.legal, legal)
    assert points.evaluations % legal.sum() == 0

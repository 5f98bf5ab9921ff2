"""A key that changes nothing is a bug: each one that only a simulation reads moves a number of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

import paretosim as ps
from paretosim.errors import InputError
from paretosim.report.simulation import requests_frame
from paretosim.sim.controllers import CONTROLLERS
from paretosim.sim.routers import ROUTERS
from paretosim.sim.run import simulate
from paretosim.sim.schedulers import SCHEDULERS
from paretosim.spec.schema_deployment import (
    Colocated,
    Disaggregated,
    StepTimeKeys,
    _DecodeTime,
    _DecodingPool,
    _Pool,
    _PrefillTime,
)
from paretosim.spec.schema_host_time import HostTimeKeys
from paretosim.spec.schema_kv_cache import KvCacheKeys, _Tier
from paretosim.spec.schema_transfer import TransferKeys, _Codec

FORMULA: dict[str, Any] = {
    "step_time": {
        "prefill": {"base": 0.006, "per_token": 5.5e-5, "per_token_squared": 1e-9},
        "decode": {"base": 0.006, "per_sequence": 1e-4, "per_context_token": 7e-8},
        "mixed": "add",
    },
    "workload": {
        "mixes": [{"isl": {"uniform": [300, 900]}, "osl": {"uniform": [10, 60]}}],
        "arrivals": {"kind": "poisson", "rate_req_s": 20},
        "requests": 150,
    },
    "slo": {"ttft_s": 0.2, "tpot_s": 0.02, "percentile": 90},
}
SESSIONS = {
    "workload": {
        "mixes": [{"isl": {"uniform": [300, 900]}, "osl": {"uniform": [10, 60]}}],
        "arrivals": {"kind": "poisson", "rate_req_s": 5},
        "requests": 150,
        "sessions": {"turns": 5, "think_s": 1},
    }
}
MODEL: dict[str, Any] = {
    "model": "meta-llama/Llama-3.1-8B",
    "precision": "fp8",
    "engine": "vllm",
    "hardware": ["h200_sxm"],
    "slo": {"ttft_s": 0.2, "tpot_s": 0.02},
}
COLOCATED = FORMULA | {"deployment": {"serving": "colocated", "workers": 2}}
SHORT = {"deployment": {"serving": "colocated", "workers": 2, "kv_blocks": 200}}
SENT = {"bytes_per_token": 1e5, "gb_s": 1}
SPLIT = FORMULA | {
    "deployment": {
        "serving": "disaggregated",
        "prefill": {"workers": 2},
        "decode": {"workers": 2},
        "kv_transfer": SENT | {"layers": 4},
    }
}
SERVED = MODEL | {
    "deployment": {"serving": "disaggregated", "prefill": {"workers": 2}, "decode": {"tp": 2}},
    "workload": {
        "mixes": [{"isl": {"uniform": [2000, 6000]}, "osl": {"uniform": [10, 60]}}],
        "arrivals": {"kind": "poisson", "rate_req_s": 15},
        "requests": 60,
    },
}
CACHED = (
    MODEL
    | SESSIONS
    | {
        "deployment": {
            "serving": "colocated",
            "kv_blocks": 400,
            "kv_cache": {"tiers": [{"name": "dram", "gb": 0.05, "gb_s": 5}]},
        }
    }
)
SWAPPED = MODEL | {
    "deployment": {"serving": "colocated", "kv_blocks": 120, "preemption": "swap"},
    "workload": FORMULA["workload"] | {"mixes": [{"isl": {"uniform": [300, 900]}, "osl": {"uniform": [50, 200]}}]},
}
TALKS = COLOCATED | SESSIONS
MIXED = COLOCATED | {
    "workload": {
        "mixes": [
            {"isl": {"uniform": [300, 900]}, "osl": {"uniform": [10, 60]}},
            {"isl": 1000, "osl": 20, "weight": 1.0},
        ],
        "arrivals": {"kind": "poisson", "rate_req_s": 45},
        "requests": 150,
    }
}
RANKED = MODEL | {
    "model": "Qwen/Qwen3-30B-A3B",
    "deployment": {"serving": "colocated", "attn_dp": 4, "ep": 4},
    "workload": FORMULA["workload"] | {"arrivals": {"kind": "poisson", "rate_req_s": 60}},
}
GROUPED = CACHED | {
    "workload": FORMULA["workload"] | {"prefix": {"groups": {"count": 4, "share": 0.5}}},
}

# What is changed: the base, the key, and its other value (None leaves it out).
CHANGES: list[tuple[Mapping[str, Any], str, Any]] = [
    (COLOCATED, "step_time.prefill.base", 0.01),
    (COLOCATED, "step_time.prefill.per_token", 6e-5),
    (COLOCATED, "step_time.prefill.per_token_squared", 2e-9),
    (COLOCATED, "step_time.decode.base", 0.007),
    (COLOCATED, "step_time.decode.per_sequence", 2e-4),
    (COLOCATED, "step_time.decode.per_context_token", 8e-8),
    (COLOCATED, "step_time.mixed", "max"),
    (COLOCATED, "slo.percentile", 95),
    (COLOCATED, "slo.ttft_s", 0.05),
    (COLOCATED, "slo.tpot_s", 0.01),
    (COLOCATED, "workload.requests", 151),
    (COLOCATED, "workload.seed", 1),
    (COLOCATED, "workload.arrivals.rate_req_s", 21),
    (COLOCATED, "workload.arrivals", {"kind": "closed_loop", "concurrency": 8}),
    (MIXED, "workload.mixes.1.priority", 1),
    (MIXED, "workload.mixes.1.name", "chat"),
    (MIXED, "workload.mixes.1.weight", 2.0),
    (TALKS, "workload.sessions", None),
    (TALKS, "workload.sessions.turns", 4),
    (TALKS, "workload.sessions.think_s", 2),
    (TALKS, "workload.sessions.grows", False),
    (GROUPED, "workload.prefix.groups.count", 8),
    (GROUPED, "workload.prefix.groups.share", 0.25),
    (COLOCATED, "deployment.workers", 3),
    (COLOCATED, "deployment.tp", 2),
    (COLOCATED, "deployment.pp", 2),
    (COLOCATED, "deployment.cp", 2),
    (COLOCATED, "deployment.attn_dp", 2),
    (COLOCATED, "deployment.kv_blocks", 100),
    (COLOCATED | SHORT, "deployment.output_share", 1.0),
    (COLOCATED | SHORT, "deployment.block_tokens", 64),
    (COLOCATED, "deployment.router", "round_robin"),
    (COLOCATED, "deployment.router", "power_of_two"),
    (COLOCATED, "deployment.scheduler", "prefill_first"),
    (COLOCATED, "deployment.scheduler", "in_flight"),
    (COLOCATED, "deployment.scheduler", "fcfs"),
    (COLOCATED, "deployment.controllers", [{"policy": "failures", "mean_time_s": 2, "down_s": 1}]),
    (SPLIT, "deployment.prefill.workers", 3),
    (SPLIT, "deployment.prefill.scheduler", {"max_batch": 1}),
    (SPLIT, "deployment.prefill.router", "round_robin"),
    (SPLIT, "deployment.prefill.kv_blocks", 60),
    (SPLIT, "deployment.prefill", {"engines": [{"workers": 1, "pp": 4}, {"workers": 1}]}),
    (SPLIT, "deployment.decode", {"engines": [{"workers": 3}]}),
    (SPLIT, "deployment.decode.workers", 1),
    (SPLIT, "deployment.decode.scheduler", {"max_sequences": 4}),
    (SPLIT, "deployment.decode.router", "round_robin"),
    (SPLIT, "deployment.decode.kv_blocks", 150),
    (SPLIT, "deployment.router", "power_of_two"),
    (SPLIT, "deployment.first_token_after", "hand_over"),
    (SPLIT, "deployment.first_token_after", "place"),
    (SPLIT, "deployment.kv_transfer.set_up_ms", 50),
    (SPLIT, "deployment.kv_transfer", SENT | {"mode": "bulk"}),
    (SPLIT, "deployment.kv_transfer", SENT | {"mode": "chunk"}),
    (SPLIT, "deployment.kv_transfer.layers", 40),
    (SPLIT, "deployment.kv_transfer.bytes_per_token", 2e5),
    (SPLIT, "deployment.kv_transfer.gb_s", 2),
    (SPLIT, "deployment.kv_transfer.latency_us", 5000),
    (SPLIT, "deployment.kv_transfer.nic", "efa"),
    (SPLIT, "deployment.kv_transfer.codec", {"ratio": 3}),
    (SERVED, "deployment.prefill.gpu", "h100_sxm"),
    (SERVED, "deployment.decode.tp", 4),
    (SERVED, "deployment.decode.kv_fraction", 0.002),
    (SERVED, "deployment.kv_transfer", {"mode": "none"}),
    (SERVED, "deployment.kv_transfer", {"nic": "efa"}),
    (SERVED, "deployment.controllers", [{"policy": "failures", "mean_time_s": 2, "down_s": 1}]),
    (SERVED, "model", "Qwen/Qwen3-8B"),
    (SERVED, "precision", "bf16"),
    (SERVED, "engine", "sglang"),
    (SERVED, "release", "0.24.0"),
    (SERVED, "hardware", ["h100_sxm"]),
    (SERVED, "host_time.step", 0.001),
    (SERVED, "host_time.decode_layer", 1e-5),
    (SERVED, "host_time.launch", 1e-4),
    (SERVED, "host_time.sequence", 1e-4),
    (SERVED, "host_time.token", 1e-6),
    (CACHED, "deployment.kv_cache", None),
    (CACHED, "deployment.kv_cache.block_tokens", 128),
    (CACHED, "deployment.kv_cache.eviction", "lfu"),
    (CACHED, "deployment.kv_cache.tiers", []),
    (CACHED, "deployment.kv_cache.tiers.0.gb", 0.02),
    (CACHED, "deployment.kv_cache.tiers.0.gb_s", 1),
    (CACHED, "deployment.kv_cache.tiers.0.latency_us", 5000),
    (CACHED, "workload.prefix", {"block_tokens": 80}),
    (SWAPPED, "deployment.preemption", "recompute"),
    (SWAPPED, "deployment.host_gb_s", 1),
]
# A key that means something only beside another one: the base has the other one already.
BESIDE: list[tuple[Mapping[str, Any], dict[str, Any], str, Any]] = [
    (COLOCATED, {"deployment.scheduler": {"policy": "chunked_prefill"}}, "deployment.scheduler.token_budget", 128),
    (COLOCATED, {"deployment.scheduler": {"policy": "chunked_prefill"}}, "deployment.scheduler.max_sequences", 2),
    (COLOCATED, {"deployment.scheduler": {"policy": "chunked_prefill"}}, "deployment.scheduler.max_prompts", 1),
    (COLOCATED, {"deployment.scheduler": {"policy": "chunked_prefill"}}, "deployment.scheduler.delay", 1),
    (COLOCATED, {"deployment.scheduler": {"policy": "chunked_prefill"}}, "deployment.scheduler.prompt_interval", 4),
    *(
        (RANKED, {"deployment.scheduler": {"policy": policy}}, "deployment.scheduler.rank_wait_steps", 20)
        for policy in ("chunked_prefill", "in_flight", "prefill_first")
    ),
    (COLOCATED, {"deployment.scheduler": {"policy": "prefill_first"}}, "deployment.scheduler.decode_steps", 3),
    (COLOCATED, {"deployment.scheduler": {"policy": "in_flight"}}, "deployment.scheduler.token_budget", 600),
    (COLOCATED, {"deployment.scheduler": {"policy": "in_flight"}}, "deployment.scheduler.max_sequences", 2),
    (COLOCATED, {"deployment.scheduler": {"policy": "in_flight"}}, "deployment.scheduler.delay", 0),
    (
        COLOCATED,
        {"deployment.scheduler": {"policy": "in_flight", "wait_share": 0.9}},
        "deployment.scheduler.wait_steps",
        8,
    ),
    (
        COLOCATED,
        {"deployment.scheduler": {"policy": "in_flight", "wait_steps": 8}},
        "deployment.scheduler.wait_share",
        0.9,
    ),
    (SERVED, {"host_time.launch": 1e-3}, "host_time.graph_tokens", 100_000),
    (COLOCATED, {"deployment.scheduler": {"policy": "prefill_first"}}, "deployment.scheduler.token_budget", 128),
    (COLOCATED, {"deployment.scheduler": {"policy": "prefill_first"}}, "deployment.scheduler.max_sequences", 2),
    (COLOCATED, {"deployment.scheduler": {"policy": "prefill_first"}}, "deployment.scheduler.delay", 1),
    (
        COLOCATED,
        {"deployment.scheduler": {"policy": "prefill_first", "max_sequences": 4}},
        "deployment.scheduler.group",
        3,
    ),
    (COLOCATED, {"deployment.scheduler": {"policy": "prefill_first"}}, "deployment.scheduler.poll", 8),
    (SPLIT, {"deployment.prefill.scheduler": {"policy": "fcfs"}}, "deployment.prefill.scheduler.max_batch_tokens", 800),
    (SPLIT, {"deployment.prefill.scheduler": {"policy": "fcfs"}}, "deployment.prefill.scheduler.max_batch", 1),
    (SPLIT, {"deployment.prefill.scheduler": {"policy": "fcfs"}}, "deployment.prefill.scheduler.chunk_tokens", 64),
    (COLOCATED, {"deployment.scheduler": {"policy": "fcfs"}}, "deployment.scheduler.max_sequences", 2),
    (COLOCATED, {"deployment.scheduler": {"policy": "fcfs"}}, "deployment.scheduler.delay", 1),
    (
        SPLIT,
        {"deployment.kv_transfer.nic": "efa", "deployment.kv_transfer.gb_s": None},
        "deployment.kv_transfer.page_bytes",
        256,
    ),
    (SPLIT, {"deployment.kv_transfer.page_bytes": 4096, "deployment.kv_transfer.ops_per_s": 1e6},
     "deployment.kv_transfer.ops_per_s", 1e5),
    (SPLIT, {"deployment.prefill.scheduler": {"policy": "fcfs"}}, "deployment.prefill.scheduler.max_sequences", 1),
    (SPLIT, {"deployment.decode": {"kv_blocks": 60}}, "deployment.decode.scheduler", {"token_budget": 64}),
    (SPLIT, {"deployment.kv_transfer.codec": {"ratio": 3}}, "deployment.kv_transfer.codec.ratio", 4),
    (SPLIT, {"deployment.kv_transfer.codec": {"ratio": 3}}, "deployment.kv_transfer.codec.decode_gb_s", 0.5),
    (COLOCATED, {"deployment.controllers": [{"policy": "failures", "mean_time_s": 2, "down_s": 1}]},
     "deployment.controllers.0.mean_time_s", 3),
    (COLOCATED, {"deployment.controllers": [{"policy": "failures", "mean_time_s": 2, "down_s": 1}]},
     "deployment.controllers.0.down_s", 2),
    (CACHED, {"deployment.kv_cache": {}}, "deployment.kv_cache.prefix_caching", False),
    (SPLIT, {"deployment.kv_transfer": dict(SENT), "deployment.prefill.scheduler": {"chunk_tokens": 64}},
     "deployment.kv_transfer.mode", "bulk"),
    (SPLIT, {"deployment.prefill": {}}, "deployment.prefill.engines", [{"workers": 3}]),
    (CACHED, {"deployment.workers": 2, "deployment.kv_cache.tiers.0.gb": 5},
     "deployment.kv_cache.tiers.0.shared", True),
    (CACHED, {"deployment.workers": 3}, "deployment.router", "prefix_aware"),
    (CACHED, {"deployment.workers": 3, "deployment.router": {"policy": "prefix_aware"}},
     "deployment.router.load_penalty", 3),
]  # fmt: skip
ELSEWHERE = {
    "serving": "another grammar; its own bases are above",
    "deployment.ep": "needs experts: see test_the_width_of_the_experts",
    "deployment.kv_cache.tiers.name": "for people",
    "deployment.legal_for": "allows layouts: see test_a_layout_that_the_engine_cannot_run_is_deployed_only_if_said",
}


def changed(base: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The base with one key set, or left out where the value is None."""
    found: dict[str, Any] = deepcopy(dict(base))
    *way, last = key.split(".")
    inner: Any = found
    for part in way:
        inner = inner[int(part)] if isinstance(inner, list) else inner.setdefault(part, {})
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return found


ANSWERS: dict[str, str] = {}


def answer(folder: Path, keys: Mapping[str, Any]) -> str:
    """Requests and summary as text; kept, since many changes share their base."""
    text = yaml.safe_dump({"name": "small"} | dict(keys), sort_keys=True)
    if text not in ANSWERS:
        path = folder / "s.yaml"
        path.write_text(text)
        result = simulate(path)
        machine = ("cpu_s", "peak_rss_mb", "events")
        summary = {key: value for key, value in result.summary.items() if key not in machine}
        ANSWERS[text] = requests_frame(result).to_csv() + repr(summary)
    return ANSWERS[text]


@pytest.mark.parametrize(
    ("base", "key", "value"), CHANGES, ids=lambda v: str(v)[:60] if not isinstance(v, dict) else ""
)
def test_a_key_moves_a_number(tmp_path: Path, base: Mapping[str, Any], key: str, value: Any) -> None:
    assert answer(tmp_path, base) != answer(tmp_path, changed(base, key, value))


@pytest.mark.parametrize(("base", "beside", "key", "value"), BESIDE, ids=lambda v: v if isinstance(v, str) else "")
def test_a_key_beside_another_moves_a_number(
    tmp_path: Path, base: Mapping[str, Any], beside: Mapping[str, Any], key: str, value: Any
) -> None:
    for other, given in beside.items():
        base = changed(base, other, given)
    assert answer(tmp_path, base) != answer(tmp_path, changed(base, key, value))


def test_the_width_of_the_experts_moves_a_number(tmp_path: Path) -> None:
    base = SERVED | {
        "model": "Qwen/Qwen3-30B-A3B", "deployment": {"serving": "colocated", "tp": 4, "ep": 1}
    }  # fmt: skip
    assert answer(tmp_path, base) != answer(tmp_path, changed(base, "deployment.ep", 4))


def test_a_layout_that_the_engine_cannot_run_is_deployed_only_if_said(tmp_path: Path) -> None:
    base = SERVED | {
        "model": "Qwen/Qwen3-30B-A3B", "engine": "vllm", "deployment": {"serving": "colocated", "tp": 4, "ep": 2}
    }  # fmt: skip
    with pytest.raises(InputError, match="EP 2 of 4 GPUs: vllm spreads experts over all"):
        answer(tmp_path, base)
    hybrid = answer(tmp_path, changed(base, "deployment.legal_for", "any"))
    assert hybrid != answer(tmp_path, changed(base, "deployment.ep", 4))


def test_the_name_decides_nothing(tmp_path: Path) -> None:
    named = answer(tmp_path, COLOCATED | {"name": "other"}).replace("'other'", "'small'")
    assert named == answer(tmp_path, COLOCATED)


def keys_of(prefix: str, *kinds: Any) -> set[str]:
    return {f"{prefix}{name}" for kind in kinds for name in kind.model_fields}


def test_no_key_is_forgotten_here() -> None:
    mappings = {"prefill", "decode", "tiers", "codec", "kv_transfer", "kv_cache"}
    pool = keys_of("", _Pool, _DecodingPool)
    allowed = keys_of("step_time.", StepTimeKeys) | keys_of("host_time.", HostTimeKeys)
    allowed |= keys_of("step_time.prefill.", _PrefillTime) | keys_of("step_time.decode.", _DecodeTime)
    allowed |= keys_of("deployment.", Colocated, Disaggregated)
    allowed |= keys_of("deployment.kv_transfer.", TransferKeys) | keys_of("deployment.kv_transfer.codec.", _Codec)
    allowed |= keys_of("deployment.kv_cache.", KvCacheKeys) | keys_of("deployment.kv_cache.tiers.", _Tier)
    allowed = {key for key in allowed if key.split(".")[-1] not in mappings | {"serving"}}
    tested = {key for *_, key, _ in (*CHANGES, *BESIDE)}
    tested = {key.replace(".0.", ".") for key in tested}
    # A pool's keys are one grammar wherever the pool stands.
    tested |= {
        f"deployment.{rest}"
        for key in tested
        for pool_name in ("prefill", "decode")
        if (rest := key.removeprefix(f"deployment.{pool_name}.")) != key and rest in pool
    }
    assert allowed - tested - set(ELSEWHERE) == set()


def test_no_option_of_a_policy_is_forgotten_here() -> None:
    tested = {key.rsplit(".", 1)[-1]: None for *_, key, _ in BESIDE}
    given = {
        (options["policy"], key.rsplit(".", 1)[-1])
        for _, beside, key, _ in BESIDE
        for value in beside.values()
        for options in (value if isinstance(value, list) else [value])
        if isinstance(options, dict) and "policy" in options
    }
    for known in (SCHEDULERS, ROUTERS, CONTROLLERS):
        for name, policy in known.items():
            for option in (f.name for f in fields(policy) if f.init):
                assert (name, option) in given or (name == "chunked_prefill" and option in tested), (name, option)


IDLE: list[tuple[Mapping[str, Any], str, Any, str]] = [
    (COLOCATED, "deployment.scheduler", {"policy": "in_flight", "rank_wait_steps": 9}, "no engine of the pool has"),
    (COLOCATED, "deployment.gpu", "h200_sxm", "deployment.gpu: changes nothing"),
    (COLOCATED, "deployment.ep", 2, "deployment.ep: changes nothing"),
    (COLOCATED, "deployment.output_share", 0.5, "deployment.output_share: changes nothing"),
    (COLOCATED, "deployment.kv_fraction", 0.5, "deployment.kv_fraction: changes nothing: a formula knows no memory"),
    (COLOCATED | SHORT, "deployment.kv_fraction", 0.5, "kv_fraction: changes nothing beside 'kv_blocks'"),
    (COLOCATED, "deployment.block_tokens", 64, "deployment.block_tokens: changes nothing"),
    (COLOCATED, "deployment.host_gb_s", 5, "deployment.host_gb_s: changes nothing"),
    (COLOCATED, "deployment.kv_cache", {}, "deployment.kv_cache: changes nothing: no prompts begin alike"),
    (COLOCATED, "engine", "vllm", "engine: changes nothing"),
    (COLOCATED, "precision", "fp8", "precision: changes nothing"),
    (COLOCATED, "hardware", ["h200_sxm"], "hardware: changes nothing"),
    (COLOCATED, "host_time", {"step": 0.1}, "host_time: changes nothing"),
    (COLOCATED, "deployment.kv_transfer", {}, "deployment.kv_transfer: unknown key"),
    (SPLIT, "deployment.prefill.preemption", "swap", "deployment.prefill.preemption: unknown key"),
    (SPLIT, "deployment.prefill.output_share", 0.5, "deployment.prefill.output_share: unknown key"),
    (SPLIT, "deployment.kv_transfer.mode", "none", "changes nothing: mode 'none' sends no bytes"),
    (CACHED, "deployment.kv_cache.block_tokens", 24, "must be a multiple of 16"),
    *(
        (
            SPLIT,
            "deployment.prefill.scheduler",
            {"policy": policy, option: value},
            f"prefill.scheduler.{option}: changes",
        )
        for policy, option, value in [
            ("fcfs", "delay", 1),
            ("prefill_first", "group", 2),
            ("prefill_first", "poll", 2),
            ("prefill_first", "decode_steps", 2),
            ("chunked_prefill", "prompt_interval", 2),
            ("in_flight", "rank_wait_steps", 2),
            ("in_flight", "wait_steps", 3),
            ("in_flight", "wait_share", 0.5),
            ("chunked_prefill", "delay", 1),
        ]
    ),
    *(
        (SPLIT, "deployment.decode.scheduler", {"policy": policy, option: value}, f"decode.scheduler.{option}: changes")
        for policy, option, value in [
            ("chunked_prefill", "token_budget", 512),
            ("chunked_prefill", "max_prompts", 2),
            ("fcfs", "max_batch", 2),
            ("in_flight", "wait_steps", 3),
        ]
    ),
]


@pytest.mark.parametrize(("base", "key", "value", "says"), IDLE, ids=lambda v: v if isinstance(v, str) else "")
def test_a_key_that_would_change_nothing_is_refused(tmp_path, base, key, value, says) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({"name": "small"} | changed(base, key, value)))
    with pytest.raises(ps.InputError, match=r"s\.yaml:\d+:\d+: ") as caught:
        simulate(path)
    assert says in str(caught.value)

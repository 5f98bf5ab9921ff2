"""The policies that docs/extending.md shows work as it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import paretosim as ps
from paretosim.cli import main
from paretosim.sim.clock import Clock
from paretosim.sim.fabric import Fabric
from paretosim.sim.kvcache import caches
from paretosim.sim.steps import FormulaSteps
from paretosim.sim.transfer import Transfers
from paretosim.spec.cluster import StepFormula
from paretosim.spec.kv_cache import KvCacheSpec
from paretosim.spec.nic import NicSpec
from paretosim.spec.transfer import TransferSpec
from tests.conftest import ROOT


@pytest.fixture
def modules(tmp_path, monkeypatch) -> None:
    """The page's listings, where Python finds them."""
    for name, code in re.findall(
        r"```python\n# (\w+)\.py\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.S
    ):
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)


def test_the_transfer_mode_of_the_page(modules) -> None:
    clock = Clock()
    fabric = Fabric(clock)
    transfers = Transfers.of(clock, fabric, TransferSpec("my_modes:Halves"), float, 80, allow_plugins=True)
    ready: list[float] = []
    kv_transfer = transfers.open(fabric.endpoint(NicSpec(4.0)), fabric.endpoint(NicSpec(4.0)), ready.append)
    kv_transfer.step(0.0, 8.0, 16, last=True)
    clock.run()
    assert ready == [8.0 + 8 / 4]  # the first half has long arrived


def test_the_cache_policy_of_the_page(modules) -> None:
    (cache,) = caches(
        KvCacheSpec(eviction="my_policies:MostRecentlyUsed"), engines=1, block_bytes=1.0, room=2, allow_plugins=True
    )
    for block in (1, 2, 3):
        cache.insert([block])
        cache.release([block])
    assert [block in cache for block in (1, 2, 3)] == [True, True, False]


# -- in simulations ----------------------------------------------------------------------------------------------------

FORMULA = StepFormula(prefill_base_s=0.006, per_token_s=5.5e-5, decode_base_s=0.006, per_context_token_s=7e-8)
STEPS = FormulaSteps(FORMULA)


@pytest.fixture
def simulated(modules, tmp_path: Path) -> Callable[..., ps.Simulated]:
    """Simulate a deployment under some traffic, plug-ins allowed."""

    def simulate(deployment: dict[str, Any], **workload: Any) -> ps.Simulated:
        keys = {
            "name": "page",
            "step_time": {
                "prefill": {"base": FORMULA.prefill_base_s, "per_token": FORMULA.per_token_s},
                "decode": {"base": FORMULA.decode_base_s, "per_context_token": FORMULA.per_context_token_s},
            },
            "deployment": deployment,
            "workload": workload,
        }
        (tmp_path / "s.yaml").write_text(yaml.safe_dump(keys))
        return ps.simulate(tmp_path / "s.yaml", allow_plugins=True)

    return simulate


def replayed(folder: Path, rows: list[tuple[float, int, int]]) -> dict[str, Any]:
    """Arrivals of these requests: time, prompt, answer."""
    pd.DataFrame(rows, columns=["arrival_s", "isl", "osl"]).to_csv(folder / "trace.csv", index=False)
    return {"kind": "trace", "path": "trace.csv", "format": "csv"}


def split(**prefill: Any) -> dict[str, Any]:
    return {"serving": "disaggregated", "prefill": prefill, "decode": {}}


TWO_QUEUES = {"policy": "my_schedulers:TwoQueues", "boundary": 256, "window_s": 0.02, "batch": 3}


def test_the_page_says_how_the_command_is_told(simulated, tmp_path: Path, capsys) -> None:
    simulated(split(scheduler=TWO_QUEUES), arrivals=replayed(tmp_path, [(0.0, 100, 2)]))
    argv = ["simulate", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "out"), "--quiet"]
    assert main(argv) == 2
    assert "add --allow-plugins" in capsys.readouterr().err
    assert main([*argv, "--allow-plugins"]) == 0


def test_short_prompts_of_the_page_wait_for_company_and_no_longer_than_their_window(simulated, tmp_path) -> None:
    rows = [
        (0.0, 100, 2),
        (0.01, 100, 2),
        (1.0, 100, 2),
        (1.001, 100, 2),
        (1.002, 100, 2),
        (2.0, 3000, 2),
        (2.0, 100, 2),
    ]
    done = simulated(split(scheduler=TWO_QUEUES), arrivals=replayed(tmp_path, rows)).requests
    two, three = (STEPS.stage_s([(0, 100)] * n) for n in (2, 3))
    # Two together at the end of the first one's window; three at once; one behind the long prompt that came with it.
    assert done["first_token_s"][:2].tolist() == pytest.approx([0.02 + two] * 2)
    assert done["first_token_s"][2:5].tolist() == pytest.approx([1.002 + three] * 3)
    assert done["first_token_s"][5] == pytest.approx(2.0 + STEPS.stage_s([(0, 3000)]))
    assert done["first_token_s"][6] == pytest.approx(done["first_token_s"][5] + STEPS.stage_s([(0, 100)]))


def test_the_scheduler_of_the_page_helps_the_short_prompts(simulated) -> None:
    traffic = {
        "mixes": [
            {"name": "short", "isl": {"uniform": [16, 250]}, "osl": 2, "weight": 4},
            {"name": "long", "isl": {"uniform": [2000, 8000]}, "osl": 2},
        ],
        "arrivals": {"kind": "poisson", "rate_req_s": 10},
        "requests": 3000,
    }
    found = [
        simulated(split(scheduler=s), **traffic).requests.groupby("kind")["ttft_s"].quantile(0.9)
        for s in ("fcfs", TWO_QUEUES)
    ]
    assert found[1]["short"] < 0.85 * found[0]["short"]
    assert found[1]["long"] < 1.1 * found[0]["long"]


def test_the_scheduler_of_the_page_lets_others_decode_while_it_waits(simulated, tmp_path) -> None:
    own = TWO_QUEUES | {"window_s": 0.5}
    rows = [(0.0, 300, 400), (1.0, 100, 2)]
    done = simulated({"serving": "colocated", "scheduler": own}, arrivals=replayed(tmp_path, rows)).requests
    assert done["ttft_s"][1] == pytest.approx(0.5 + STEPS.stage_s([(0, 100)]), abs=0.007)  # one step
    assert done["tpot_s"][0] < 0.0065


def test_the_router_of_the_page_predicts_when_the_first_token_comes(simulated, tmp_path) -> None:
    conductor = {"policy": "my_routers:Conductor"}
    rows = [(0.0, 8000, 2), (0.1, 2000, 2), (0.2, 1000, 2), (0.21, 8000, 2)]
    # The third finds one engine free sooner, the one with the shorter prompt, though both have one request.
    done = simulated(split(workers=2, router=conductor), arrivals=replayed(tmp_path, rows)).requests
    assert done["prefill_worker"].tolist() == [0, 1, 1, 1]
    long = STEPS.stage_s([(0, 8000)])
    assert done["ttft_s"][0] == pytest.approx(long)


def test_the_router_of_the_page_turns_away_what_would_be_late(simulated) -> None:
    traffic = {
        "mixes": [{"isl": {"uniform": [1000, 5000]}, "osl": 20}],
        "arrivals": {"kind": "poisson", "rate_req_s": 12},
        "requests": 400,
    }
    engines = {"workers": 2, "scheduler": {"policy": "fcfs", "max_batch": 1}}
    patient = simulated(split(**engines), **traffic).requests
    own = {"policy": "my_routers:Conductor", "ttft_s": 0.5}
    strict = simulated(split(**engines, router=own), **traffic).requests
    assert patient["ttft_s"].max() > 2
    turned_away = (strict["status"] == "rejected").sum()
    assert 0 < turned_away < 200
    assert strict["ttft_s"].max() <= 0.5 * (1 + 1e-9)  # with one prompt a step the prediction is exact
    few = {"policy": "my_routers:Conductor", "most_decoding": 2}
    assert (simulated(split(**engines, router=few), **traffic).requests["status"] == "rejected").any()


def test_the_router_of_the_page_follows_the_cache(simulated) -> None:
    traffic = {
        "mixes": [{"isl": {"uniform": [500, 1500]}, "osl": 20}],
        "arrivals": {"kind": "poisson", "rate_req_s": 2},
        "requests": 300,
        "sessions": {"turns": 6, "think_s": 2},
    }
    own = {"policy": "my_routers:Conductor"}
    found = [
        simulated(split(workers=4, router=router) | {"kv_cache": {}}, **traffic).summary["cached_tokens"]
        for router in ("least_loaded", own)
    ]
    assert found[1] > 1.5 * found[0]


def test_the_planner_of_the_page_takes_engines_out_and_back(simulated) -> None:
    traffic = {
        "mixes": [{"isl": 200, "osl": 200}],
        "arrivals": {"kind": "diurnal", "rate_req_s": 20, "amplitude": 0.95, "period_s": 120},
        "duration_s": 240,
    }
    own = {"policy": "my_controllers:Planner", "every_s": 2, "cold_start_s": 5, "low": 6, "high": 12}
    base = {"serving": "colocated", "workers": 4}
    always, planned = (simulated(base | {"controllers": c}, **traffic) for c in ([], [own]))
    assert planned.summary["completed"] == always.summary["completed"] == planned.summary["requests"]
    used = [
        [
            run.requests.query(f"{begin} < arrival_s < {end}")["decode_worker"].nunique()
            for begin, end in ((80, 100), (125, 170))
        ]
        for run in (planned, always)
    ]
    assert used == [[1, 4], [4, 4]]  # in the valley, and around the peak after it
    assert planned.summary["tpot_s"]["mean"] > always.summary["tpot_s"]["mean"]


def test_the_morphing_engine_of_the_page_preempts_less(simulated) -> None:
    traffic = {
        "mixes": [{"isl": {"uniform": [200, 600]}, "osl": {"uniform": [100, 400]}}],
        "arrivals": {"kind": "gamma", "rate_req_s": 5, "cv": 3},
        "requests": 1500,
    }
    base = {"serving": "colocated", "kv_blocks": 1200}
    plain, morphed = (
        simulated(base | {"controllers": c}, **traffic)
        for c in ([], [{"policy": "my_controllers:Morph", "factor": 1.0}])
    )
    assert morphed.summary["preemptions"] < 0.2 * plain.summary["preemptions"]
    assert morphed.summary["ttft_s"]["p95"] < plain.summary["ttft_s"]["p95"]
    slower = simulated(base | {"controllers": [{"policy": "my_controllers:Morph", "factor": 1.3}]}, **traffic)
    assert slower.summary["tpot_s"]["mean"] > morphed.summary["tpot_s"]["mean"]
    assert np.isfinite(slower.requests["finish_s"]).all()


def test_planner_and_failures_share_a_cluster(simulated) -> None:
    traffic = {"mixes": [{"isl": 200, "osl": 200}], "arrivals": {"kind": "poisson", "rate_req_s": 10}, "requests": 1000}
    both = [
        {"policy": "my_controllers:Planner", "every_s": 1, "cold_start_s": 3, "low": 6, "high": 12},
        {"policy": "failures", "mean_time_s": 10, "down_s": 2},
    ]
    summary = simulated({"serving": "colocated", "workers": 4, "controllers": both}, **traffic).summary
    assert summary["completed"] + summary["rejected"] == 1000
    assert summary["preempted"] > 0

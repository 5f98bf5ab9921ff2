# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One deployment of Llama-3.1-70B under traffic
#
# Simulate two prefill engines before one decode engine, request by request: who waits, where, and how much traffic the
# deployment takes.

# %%
# %matplotlib inline
from dataclasses import replace
from pathlib import Path

import pandas as pd

import paretosim as ps
from paretosim.spec.arrivals import Poisson
from paretosim.spec.cluster import Policy

ROOT = Path("..") if Path("../scenarios").is_dir() else Path(".")
scenario = ps.load_simulation(ROOT / "scenarios" / "simulate_disaggregated.yaml")
answer = ps.simulate(scenario)
answer.figure

# %% [markdown]
# ## Where does the time to the first token go?
# `requests` is a pandas frame, one row a request.

# %%
frame = answer.requests
parts = pd.DataFrame(
    {
        "queue": frame["prefill_start_s"] - frame["arrival_s"],
        "prefill": frame["prefill_end_s"] - frame["prefill_start_s"],
        "hand-over": frame["ready_s"] - frame["prefill_end_s"],
        "answer": frame["finish_s"] - frame["ready_s"],
    }
)
(parts.groupby(frame["kind"]).mean() * 1e3).round(1)  # milliseconds

# %% [markdown]
# ## How much traffic does it take?
# The same requests at other rates: changing the arrivals leaves the lengths unchanged.

# %%
for rate_req_s in (2.0, 4.0, 5.0, 6.0, 7.0):
    workload = replace(scenario.workload, arrivals=Poisson(rate_req_s))
    summary = ps.simulate(replace(scenario, workload=workload)).summary
    at_p95 = summary["ttft_s_at_percentile"]
    verdict = "met" if at_p95 <= scenario.slo.ttft_s else "missed"
    print(
        f"{rate_req_s:g} req/s: TTFT p{scenario.slo.percentile:g} {at_p95:6.2f} s, {verdict}; "
        f"{summary['slo_attainment']:.0%} of the requests met both targets"
    )

# %% [markdown]
# ## Which router?
# A policy is named in the scenario; one of your own is `module:Class` and `simulate(..., allow_plugins=True)`.

# %%
prefill = scenario.deployment.prefill
assert prefill is not None
for name in ("round_robin", "power_of_two", "least_loaded"):
    deployment = replace(scenario.deployment, prefill=replace(prefill, router=Policy(name)))
    summary = ps.simulate(replace(scenario, deployment=deployment)).summary
    print(f"{name:>12}: TTFT mean {summary['ttft_s']['mean']:.3f} s, p99 {summary['ttft_s']['p99']:.3f} s")

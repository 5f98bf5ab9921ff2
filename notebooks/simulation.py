# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # One deployment of Llama-3.1-70B under traffic
#
# Simulate two prefill engines before one decode engine, request by request: who waits, where, and how much traffic the
# deployment takes. Open this file with jupytext (extra `notebooks`), or run it as a script.

# %%
from dataclasses import replace
from pathlib import Path

import pandas as pd

import paretosim as ps
from paretosim.spec.arrivals import Poisson

ROOT = Path(__file__).parents[1] if "__file__" in globals() else Path("..")
scenario = ps.load_simulation(ROOT / "scenarios" / "simulate_disaggregated.yaml")
answer = ps.simulate(scenario)
print(answer)

# %% [markdown]
# ## Where does the time to the first token go?
# `requests` is a pandas frame, one row a request; `answer.plot("simulation.png")` draws it over time.

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
for kind, seconds in parts.groupby(frame["kind"]):
    means = ", ".join(f"{name} {value * 1e3:,.1f} ms" for name, value in seconds.mean().items())
    print(f"{kind:>8}: {means}")

# %% [markdown]
# ## How much traffic does it take?
# The same requests at other rates: arrivals have a random stream of their own, so only the times differ.

# %%
for rate_req_s in (2.0, 4.0, 5.0, 6.0, 7.0):
    workload = replace(scenario.workload, arrivals=Poisson(rate_req_s))
    summary = ps.simulate(replace(scenario, workload=workload)).summary
    at_p95 = summary["ttft_s_at_percentile"]
    verdict = "met" if at_p95 <= scenario.slo.ttft_s else "missed"
    print(f"{rate_req_s:g} req/s: TTFT p{scenario.slo.percentile:g} {at_p95:6.2f} s, {verdict}; "
          f"{summary['slo_attainment']:.0%} of the requests met both targets")  # fmt: skip

# %% [markdown]
# ## Which router?
# A policy is named in the scenario; one of your own is `module:Class` and `simulate(..., allow_plugins=True)`.

# %%
from paretosim.spec.cluster import Policy  # noqa: E402

prefill = scenario.cluster.prefill
assert prefill is not None
for name in ("round_robin", "power_of_two", "least_loaded"):
    cluster = replace(scenario.cluster, prefill=replace(prefill, router=Policy(name)))
    summary = ps.simulate(replace(scenario, cluster=cluster)).summary
    print(f"{name:>12}: TTFT mean {summary['ttft_s']['mean']:.3f} s, p99 {summary['ttft_s']['p99']:.3f} s")

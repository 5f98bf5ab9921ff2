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
# # A frontier under traffic
#
# A sweep assumes full pools and no queue. Certifying a frontier replays its designs request by request, at several
# shares of the rate that the sweep promises. How much of that rate is left once requests arrive at random?

# %%
# %matplotlib inline
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt

import paretosim as ps

ROOT = Path("..") if Path("../scenarios").is_dir() else Path(".")
scenario = ps.load_scenario(ROOT / "scenarios" / "quickstart.yaml")
# One mix, one GPU and few designs, so that the replays take seconds.
scenario = replace(
    scenario,
    name="llama8b-h200",
    model="meta-llama/Llama-3.1-8B",
    hardware=replace(scenario.hardware, prefill=("h200_sxm",), decode=("h200_sxm",)),
    workload=replace(scenario.workload, mixes=(replace(scenario.workload.mixes[1], isl=1024, osl=256),)),
    space=replace(scenario.space, tp=(1,), pp=(1,), batch=(8, 32, 128), max_gpus=4),
    slo=replace(scenario.slo, ttft_s=1.0, tpot_s=0.03),
)
answer = ps.sweep(scenario)
answer.figure

# %% [markdown]
# `certify` returns a row a design and load: what was promised, and what the simulated clients got.

# %%
certified = answer.certify(executor="serial")
columns = ["load", "analytic_throughput_tok_s_gpu", "simulated_throughput_tok_s_gpu", "analytic_tpot_s",
           "simulated_tpot_s", "analytic_ttft_s", "simulated_ttft_at_percentile_s", "slo_met"]  # fmt: skip
frontier = certified[certified["pareto"]]
design = frontier["design_id"].iloc[len(frontier) // 2]
frontier.loc[frontier["design_id"] == design, columns].round(4)

# %% [markdown]
# ## What the sweep promises, and what queues leave of it
# A line a design: from 30 % of the promised rate to all of it. The step time grows with the load a little, the time to
# the first token a lot.

# %%
figure, (speed, first) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for design, loads in frontier.groupby("design_id", sort=False):
    (line,) = speed.plot(
        loads["simulated_interactivity_tok_s_user"], loads["simulated_throughput_tok_s_gpu"], marker=".", label=design
    )
    promised = loads.iloc[0]
    speed.plot(
        promised["analytic_interactivity_tok_s_user"], promised["analytic_throughput_tok_s_gpu"], marker="o",
        markerfacecolor="none", color=line.get_color(),
    )  # fmt: skip
    first.plot(loads["load"], loads["simulated_ttft_at_percentile_s"], marker=".", color=line.get_color())
speed.set(xlabel="interactivity [tok/s/user]", ylabel="throughput [tok/s/GPU]", title="circles: promised at full load")
speed.legend(title="design", fontsize=7)
first.set(xlabel="share of the promised rate", ylabel=f"TTFT p{scenario.slo.percentile:g} [s]", yscale="log")
first.axhline(scenario.slo.ttft_s, color="0.5", linestyle=":");  # fmt: skip

# %% [markdown]
# ## The share of the promised rate that holds the targets

# %%
held = frontier[frontier["slo_met"]].groupby("design_id", sort=False)["load"].max()
print(f"{len(held)} of {frontier['design_id'].nunique()} designs meet the targets at some load")
print(f"share of the promised rate: {held.median():.0%} for the median design, {held.min():.0%} for the worst")

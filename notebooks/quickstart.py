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
# # A first frontier
#
# Which deployments of Llama-3.1-70B are worth buying on H200 or B200? Sweep the quickstart scenario, look at what wins
# where, and ask which kernels decide.

# %%
# %matplotlib inline
from pathlib import Path

import paretosim as ps

ROOT = Path("..") if Path("../scenarios").is_dir() else Path(".")
answer = ps.sweep(ROOT / "scenarios" / "quickstart.yaml")
print(answer)

# %% [markdown]
# The picture, a panel a mix; `answer.plot("frontier.pdf")` writes it.

# %%
answer.figure

# %% [markdown]
# ## Where does disaggregation pay?
# The frontier is a pandas frame; `fronts` also holds each serving mode and GPU pair apart. The ratio of prefill to
# decode GPUs follows the traffic and the speed that is asked for.

# %%
split = answer.fronts.query("serving == 'disaggregated' and pareto")
for mix, rows in split.groupby("mix", sort=False):
    tight, relaxed = rows.iloc[0], rows.iloc[-1]
    print(
        f"{mix:>9}: ctx:gen ratio from {relaxed['ctx_gen_ratio']:.2f} at "
        f"{relaxed['interactivity_tok_s_user']:.0f} tok/s/user to {tight['ctx_gen_ratio']:.2f} at "
        f"{tight['interactivity_tok_s_user']:.0f}"
    )

# %% [markdown]
# ## What does a decode step spend its time on?
# `estimate` prices one step of one engine as the sweep does: kernels, and `host`, what the engine's own software adds.

# %%
for batch in (1, 16, 128):
    step = ps.estimate(
        "meta-llama/Llama-3.1-70B", "b200_sxm", engine="trtllm", precision="fp8", tp=4, batch=batch, context=4096
    )
    top = sorted(step.operator_s.items(), key=lambda item: -item[1])[:3]
    print(
        f"batch {batch:>3}: {step.step_s * 1e3:5.2f} ms, {step.measured_share:.0%} measured, "
        f"host {step.operator_s['host'] * 1e3:.2f} ms; " + ", ".join(f"{name} {s * 1e3:.2f}" for name, s in top)
    )

# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Prefill and decode GPUs for Llama-3.1-70B
#
# Sweep the quickstart scenario, look at what wins where, and ask which kernels decide. Open this file with
# jupytext (extra `notebooks`), or run it as a script.

# %%
from pathlib import Path

import paretosim as ps
from paretosim.designs.compare import best_gain, mode_front

ROOT = Path(__file__).parents[1] if "__file__" in globals() else Path("..")
answer = ps.sweep(ROOT / "scenarios" / "quickstart.yaml")
print(answer)

# %% [markdown]
# ## Where does disaggregation pay?
# The frontier is a pandas frame; `fronts` also holds each serving mode and GPU pair apart.

# %%
for mix in answer.fronts["mix"].unique():
    colocated, _ = mode_front(answer.fronts, mix, "colocated")
    split, rows = mode_front(answer.fronts, mix, "disaggregated")
    gain = best_gain(colocated, split)
    if gain is not None:
        print(f"{mix}: {gain.ratio - 1:+.0%} at {gain.interactivity_tok_s_user:.0f} tok/s/user; ctx:gen ratio from "
              f"{rows['ctx_gen_ratio'].max():.2f} (relaxed) to {rows['ctx_gen_ratio'].min():.2f} (tight)")  # fmt: skip

# %% [markdown]
# ## What does a decode step spend its time on?
# A `StepCost` is the compiled cost of one engine; any batch and context can be asked, arrays in, arrays out.

# %%
from paretosim.cost.compiling import compile_step  # noqa: E402
from paretosim.cost.kernels import Kernels  # noqa: E402
from paretosim.spec.parallelism import Parallelism  # noqa: E402
from paretosim.spec.precision import Precision  # noqa: E402

model = ps.load_model("meta-llama/Llama-3.1-70B")
step = compile_step(model, Precision.of("fp8"), Kernels.of(ps.Store(), "b200_sxm", "trtllm"), Parallelism(tp=4))
for batch in (1, 16, 128):
    parts = step.breakdown("decode", batch, 4096)
    top = sorted(parts.items(), key=lambda item: -item[1].seconds)[:3]
    total = step.decode(batch, 4096)
    print(f"batch {batch:>3}: {total.seconds * 1e3:5.1f} ms, {total.measured:.0%} measured; "
          + ", ".join(f"{name} {t.seconds * 1e3:.1f}" for name, t in top))  # fmt: skip

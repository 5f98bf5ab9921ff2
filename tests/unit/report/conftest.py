"""A made-up sweep that looks like a real one: concave fronts that cross, every optional column filled somewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from paretosim.designs.front import Front
from paretosim.designs.frontier_columns import COLUMNS, WHOLE

SPEED = {"h200_sxm": 1.0, "b200_sxm": 2.1}  # made up, as is everything here
DESIGNS = 14  # on each front
PAIRS = [("colocated", None, gpu) for gpu in SPEED] + [("disaggregated", p, d) for p in SPEED for d in SPEED]


@pytest.fixture(scope="session")
def synthetic_fronts() -> Callable[..., pd.DataFrame]:
    """Fronts of every serving mode and pair of GPUs for some mixes: ``synthetic_fronts(mixes, seed)``."""
    return _fronts


def _fronts(mixes: Sequence[str] = ("8192/1024", "1024/1024", "1024/8192"), seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.concat([_front(rng, mix, *pair) for mix in mixes for pair in PAIRS], ignore_index=True)
    frame["design_id"] = np.arange(len(frame))
    best = [
        Front.of(rows["interactivity_tok_s_user"], rows["throughput_tok_s_gpu"], rows["design_id"]).index
        for _, rows in frame.groupby("mix")
    ]
    frame["pareto"] = frame["design_id"].isin(np.concatenate(best))
    return frame.reindex(columns=[*COLUMNS, "pareto"]).astype(dict.fromkeys(WHOLE, "Int64"))


def _front(rng: np.random.Generator, mix: str, serving: str, prefill: str | None, decode: str) -> pd.DataFrame:
    isl, osl = map(int, mix.split("/"))
    split = prefill is not None
    speed = SPEED[decode] if prefill is None else 0.6 * SPEED[decode] + 0.4 * SPEED[prefill]
    along = np.linspace(0.03, 0.97, DESIGNS) + rng.uniform(-0.015, 0.015, DESIGNS)
    x = along * (180 if split else 195) * speed**0.4
    y = (1450 if split else 1500) * speed * osl / (isl / 8 + osl) * (1 - along ** (2.2 if split else 1.55)) ** 0.9
    tp, workers = 2 ** rng.integers(0, 4, DESIGNS), rng.integers(1, 9, DESIGNS)
    gpus = tp * workers + (8 if split else 0)
    rows = {
        "mix": mix, "isl": isl, "osl": osl, "serving": serving, "interactivity_tok_s_user": x,
        "throughput_tok_s_gpu": y, "ttft_s": rng.uniform(0.1, 2, DESIGNS), "tpot_s": 1 / x, "gpus": gpus,
        "request_rate_s": y * gpus / osl, "decode_gpu": decode, "decode_workers": workers,
        "decode_batch": 2 ** np.clip(9 - 9 * along, 0, 9).astype(int), "decode_tp": tp, "decode_pp": 1,
        "memory_gib_per_gpu_decode": rng.uniform(40, 130, DESIGNS), "usd_per_mtok": 800 * speed / y,
        "watts_per_gpu": 700.0, "measured_share": rng.uniform(0.5, 1, DESIGNS),
    }  # fmt: skip
    if not split:
        return pd.DataFrame(rows | {"scheduler": rng.choice(["chunked 2048", "in-flight 4"], DESIGNS)})
    pool = {"gpu": prefill, "workers": 4, "batch": 2, "tp": 2, "pp": 1}
    moved = {"kv_egress_gb_s_gpu": rng.uniform(1, 9, DESIGNS), "kv_ingress_gb_s_gpu": rng.uniform(0.1, 4, DESIGNS)}
    return pd.DataFrame(
        rows
        | {f"prefill_{key}": value for key, value in pool.items()}
        | {"ctx_gen_ratio": 8 / (gpus - 8), "memory_gib_per_gpu_prefill": rng.uniform(40, 130, DESIGNS), **moved}
    )

"""Dispatch and combine against the table of DeepEP's README (docs/legacy.md): H800, CX7 400 Gb/s InfiniBand.

128 tokens a GPU, 7168 wide, top 8, fp8 out and bf16 back, low-latency kernels. The law's two constants were chosen on
these rows, so the band says how well one latency and one bandwidth fit, not that they were predicted.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from paretosim.cost.dispatch import low_latency_s
from paretosim.profiles.store import Store
from paretosim.units import GB, US


@pytest.mark.parametrize(
    ("ep", "dispatch_us", "combine_us"),
    [(8, 77, 114), (16, 118, 195), (32, 155, 273), (64, 173, 314), (128, 192, 369), (256, 194, 360)],
)
def test_low_latency_kernels_are_within_fifteen_percent(store: Store, ep: int, dispatch_us, combine_us) -> None:
    h800 = replace(store.gpu("h100_sxm"), link_bytes_per_s=200 * GB)  # NVLink of an H800: 400 GB/s both ways
    assert low_latency_s(h800, ep, 128, 8, 7168, 1) == pytest.approx(dispatch_us * US, rel=0.15)
    assert low_latency_s(h800, ep, 128, 8, 7168, 2) == pytest.approx(combine_us * US, rel=0.15)

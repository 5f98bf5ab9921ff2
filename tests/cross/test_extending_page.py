"""The policies that docs/extending.md shows work as it says."""

from __future__ import annotations

import re

import pytest

from paretosim.sim.clock import Clock
from paretosim.sim.fabric import Fabric
from paretosim.sim.kvcache import caches
from paretosim.sim.transfer import Transfers
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
    hand_over = transfers.open(fabric.endpoint(NicSpec(4.0)), fabric.endpoint(NicSpec(4.0)), ready.append)
    hand_over.step(0.0, 8.0, 16, last=True)
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

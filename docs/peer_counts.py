"""How many designs does AIConfigurator 0.12 look at? ``python docs/peer_counts.py <arguments of aiconfigurator>``.

Runs in an environment with ``aiconfigurator==0.12.0``, without this package. Its search asks the same points again for
every TPOT target, so distinct ones are counted: evaluations of an aggregated engine (layout, batch, context tokens), of
a worker (role, layout, batch), and pairs of workers that are rate-matched. The last line of stdout is JSON.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from aiconfigurator.main import main as peer
from aiconfigurator.sdk import sweep

SEEN: dict[str, set[tuple[Any, ...]]] = {"aggregated": set(), "worker": set()}
PAIRED: list[Any] = []


def counted(kind: str, predict: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, remembering what it was asked."""

    def asked(**given: Any) -> Any:
        widths = vars(given["model"].config)
        layout = tuple(v for name, v in sorted(widths.items()) if name.endswith("_size"))
        batch = given["runtime_config"].batch_size
        SEEN[kind].add((layout, batch, given.get("ctx_tokens"), given.get("role")))
        return predict(**given)

    return asked


def remembered(function: Callable[..., Any]) -> Any:
    """``functools.cache`` whose statistics are kept: its rate matching is a cached function inside another."""
    kept = functools.cache(function)
    PAIRED.append(kept)
    return kept


def main() -> None:
    sweep.predict_agg_worker = counted("aggregated", sweep.predict_agg_worker)
    sweep.predict_disagg_worker = counted("worker", sweep.predict_disagg_worker)
    sweep.functools = SimpleNamespace(**vars(functools) | {"cache": remembered})
    peer()
    pairs = sum(kept.cache_info().misses for kept in PAIRED)
    matched = sum(kept.cache_info().hits for kept in PAIRED) + pairs
    print(json.dumps({kind: len(found) for kind, found in SEEN.items()} | {"pairs": pairs, "matched": matched}))


if __name__ == "__main__":
    sys.exit(main())

"""A key of the workload that changes nothing is a bug: each one moves the requests of a simulation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paretosim.sim.arrivals import requests_of
from paretosim.sim.requests import Requests
from paretosim.spec.schema_arrivals import _BY_KIND
from paretosim.spec.schema_workload import WorkloadKeys, _Groups, _Mix, _Prefix, _Sessions
from tests.workloads import same, workload

MIX = {"isl": {"uniform": [50, 150]}, "osl": {"uniform": [5, 15]}}
BASE: dict[str, Any] = {
    "mixes": [MIX, {"isl": 9, "osl": 3}],
    "arrivals": {"kind": "poisson", "rate_req_s": 5},
    "requests": 200,
    "sessions": {"turns": 3, "think_s": 2},
    "prefix": {"groups": {"count": 4, "share": 0.5}},
}
KINDS: dict[str, dict[str, Any]] = {
    "closed_loop": {"concurrency": 8, "ramp_s": 4},
    "constant": {"rate_req_s": 5},
    "poisson": {"rate_req_s": 5},
    "gamma": {"rate_req_s": 5, "cv": 2},
    "mmpp": {"rates_req_s": [1, 9], "dwell_s": [3, 2]},
    "diurnal": {"rate_req_s": 5, "amplitude": 0.5, "period_s": 60},
    "trace": {"path": "a.csv", "format": "csv", "jitter_s": 1, "rate_scale": 2, "from_s": 1, "to_s": 8, "limit": 6},
}
OTHER: dict[str, Any] = {
    "concurrency": 9, "ramp_s": 5, "rate_req_s": 6, "cv": 3, "rates_req_s": [1, 10], "dwell_s": [3, 4],
    "amplitude": 0.6, "period_s": 90, "path": "b.csv", "jitter_s": 2, "rate_scale": 3, "from_s": 2, "to_s": 5,
    "limit": 2,
}  # fmt: skip
ELSEWHERE = {
    "prefix.hit_rate": "a sweep reads it; a simulation finds out by itself",
    "arrivals.format": "how a file is read, not what is in it; the formats have tests of their own",
}


def requests(folder: Path, keys: dict[str, Any]) -> Requests:
    found = workload(folder, **keys)
    return requests_of(found, found.seed, folder)


def changed(path: str, value: Any) -> dict[str, Any]:
    """`BASE` with one key changed, added or (None) left out."""
    first, *rest = path.split(".")
    inner = dict(BASE[first]) if rest and first != "mixes" else None
    if inner is None:
        inner = [BASE["mixes"][0] | {rest[0]: value}, BASE["mixes"][1]] if rest else value
    elif len(rest) == 2:
        inner[rest[0]] = inner[rest[0]] | {rest[1]: value}
    else:
        inner[rest[0]] = value
    return {key: v for key, v in (BASE | {first: inner}).items() if v is not None}


CHANGES = {
    "mixes.isl": {"uniform": [50, 151]},
    "mixes.osl": {"uniform": [5, 16]},
    "mixes.weight": 2.0,
    "mixes.name": "chat",
    "mixes.priority": 1,
    "requests": 201,
    "sessions": None,
    "sessions.turns": {"uniform": [2, 4]},
    "sessions.think_s": {"exponential": 2},
    "sessions.grows": False,
    "prefix": None,
    "prefix.groups.count": 5,
    "prefix.groups.share": 0.6,
    "prefix.block_tokens": 32,
    "seed": 1,
}


@pytest.mark.parametrize("path", CHANGES)
def test_the_requests_are_others(tmp_path: Path, path: str) -> None:
    assert not same(requests(tmp_path, BASE), requests(tmp_path, changed(path, CHANGES[path])))


def test_a_duration_is_another_end(tmp_path: Path) -> None:
    spans = [requests(tmp_path, changed("requests", None) | {"duration_s": s}) for s in (20, 30)]
    assert len(spans[0]) < len(spans[1])


KIND_KEYS = [(kind, key) for kind, keys in KINDS.items() for key in keys if f"arrivals.{key}" not in ELSEWHERE]


@pytest.mark.parametrize(("kind", "key"), KIND_KEYS)
def test_every_key_of_every_kind_of_arrivals_moves_the_requests(tmp_path: Path, kind: str, key: str) -> None:
    for name, osl in (("a.csv", 5), ("b.csv", 6)):
        lines = [f"{second},{10 + second},{osl}" for second in range(10)]
        (tmp_path / name).write_text("\n".join(["arrival_s,isl,osl", *lines]))
    base = {"arrivals": {"kind": kind} | KINDS[kind]}
    if kind == "trace":
        base = {"mixes": BASE["mixes"]} | base
    else:
        base = BASE | base
    moved = base | {"arrivals": base["arrivals"] | {key: OTHER[key]}}
    assert not same(requests(tmp_path, base), requests(tmp_path, moved))


def test_every_kind_of_arrivals_is_another_process(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("arrival_s,isl,osl\n1,2,3\n")
    found = [
        requests(tmp_path, (BASE if kind != "trace" else {}) | {"arrivals": {"kind": kind} | keys})
        for kind, keys in KINDS.items()
    ]
    assert not any(same(found[i], found[j]) for i in range(len(found)) for j in range(i))


def test_no_key_is_forgotten_here() -> None:
    allowed = {f"mixes.{key}" for key in _Mix.model_fields}
    allowed |= {f"sessions.{key}" for key in _Sessions.model_fields}
    allowed |= {f"prefix.groups.{key}" for key in _Groups.model_fields}
    allowed |= {f"prefix.{key}" for key in _Prefix.model_fields} - {"prefix.groups"}
    allowed |= set(WorkloadKeys.model_fields) - {"mixes", "arrivals", "duration_s"}
    assert allowed - set(ELSEWHERE) == set(CHANGES)
    assert {kind: set(keys.model_fields) - {"kind"} for kind, (keys, _) in _BY_KIND.items()} == {
        kind: set(keys) for kind, keys in KINDS.items()
    }

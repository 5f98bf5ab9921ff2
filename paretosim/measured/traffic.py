"""What the client of a measured row sent, where it was not the closed loop of the public benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, get_args

Arrivals = Literal["poisson", "constant"]
_COUNTS = ("requests", "warmup_requests", "distinct_prompts", "max_sequences", "token_budget")
SPREADS = tuple(f"{what}_{share}" for what in ("ttft", "itl", "e2e") for share in ("p50", "p90", "p99"))
"""Quantiles that a row may state, each in a column that ends in ``_ms``."""
SEEN = ("itl", "e2e", *SPREADS)
"""All latencies that a row may state beside the means of TTFT and TPOT; ``itl`` and ``e2e`` are means too."""
COLUMNS = ("request_rate", "arrivals", "shortest_share", *_COUNTS, *(f"{name}_ms" for name in SEEN))


@dataclass(frozen=True, slots=True)
class Traffic:
    """Traffic and limits that a row states; the defaults are those of the public benchmark and of its recipes.

    Attributes
    ----------
    rate_req_s : requests a second of an open loop; 0 is the closed loop.
    arrivals : of the open loop.
    requests : how many are measured; 0: some for each client, as the recipe says.
    warmup_requests : sent before those, in the same way.
    shortest : shortest length over the nominal one; lengths are uniform in between.
    distinct_prompts : the client repeats this many prompts, which the engine's prefix cache then finds; 0 repeats none.
    max_sequences, token_budget : limits of the engine, instead of its defaults or the recipe's; 0 states none.
    quantiles : whether the row states more latencies than the means of TTFT and TPOT.
    """

    rate_req_s: float = 0.0
    arrivals: Arrivals = "poisson"
    requests: int = 0
    warmup_requests: int = 0
    shortest: float = 0.8
    distinct_prompts: int = 0
    max_sequences: int = 0
    token_budget: int = 0
    quantiles: bool = False

    @classmethod
    def of(cls, record: Mapping[Any, Any]) -> Traffic:
        """Traffic of a line of a file, which `wrong` found nothing wrong with."""
        given = {key: record[key] for key in COLUMNS if _given(record, key)}
        counts = {key: int(float(given[key])) for key in _COUNTS if key in given}
        return cls(
            float(given.get("request_rate", 0.0)), given.get("arrivals", "poisson"), counts.pop("requests", 0),
            shortest=float(given.get("shortest_share", 0.8)),
            quantiles=any(f"{name}_ms" in given for name in SEEN), **counts,
        )  # fmt: skip


def wrong(record: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the traffic of a line: (column, message)."""
    for key in COLUMNS:
        if not _given(record, key):
            continue
        value = record[key]
        if key == "arrivals":
            if value not in get_args(Arrivals):
                yield key, f"must be {' or '.join(get_args(Arrivals))}, not {value!r}"
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not isfinite(number) or number <= 0 or (key in _COUNTS and number != int(number)):
            yield key, f"must be a {'whole ' if key in _COUNTS else ''}number above 0, not {value!r}"
        elif key == "shortest_share" and number > 1:
            yield key, f"must be at most 1, not {value!r}"
    if _given(record, "arrivals") and not _given(record, "request_rate"):
        yield "arrivals", "says nothing without request_rate: a closed loop sends when it has an answer"
    if _given(record, "request_rate") and not _given(record, "requests"):
        yield "requests", "is missing: how many requests did the open loop send?"


def _given(record: Mapping[Any, Any], key: str) -> bool:
    value = record.get(key)
    return value is not None and value == value and value != ""

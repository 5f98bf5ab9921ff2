"""Versions of engines: which are releases, and which release is later."""

from __future__ import annotations

import re


def is_release(version: str) -> bool:
    """Whether a version is a release's, not the name of a branch or image."""
    return bool(re.match(r"v?\d+\.\d", version))


def release_problem(version: str) -> str | None:
    """Why a version cannot be asked for; None if it can."""
    return None if is_release(version) else f"must be a version of the engine such as '0.25.0', not {version!r}"


def release_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Key by which versions sort: ``1.3.0rc5 < 1.3.0rc20 < 1.3.0 < 1.3.0.post1``; no text is before all."""
    parts = re.findall(r"\d+|[a-z]+", version.removeprefix("v"))
    key = [(3, int(p), "") if p.isdigit() else (2 if p == "post" else 0, 0, p) for p in parts]
    return (*key, (1, 0, "")) if key else ()

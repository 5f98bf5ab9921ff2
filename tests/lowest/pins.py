"""Print every dependency of the package at the lowest version that ``pyproject.toml`` allows."""

from __future__ import annotations

import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def pins() -> list[str]:
    """``name==version`` for each ``name>=version``.

    Raises
    ------
    ValueError
        A dependency without a lower bound: nobody could say which version is the lowest.
    """
    declared = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    if loose := [one for one in declared if ">=" not in one]:
        raise ValueError(f"no lower bound: {', '.join(loose)}; write name>=version")
    return [one.replace(">=", "==") for one in declared]


if __name__ == "__main__":
    print("\n".join(pins()))

"""Draw in a process of its own, started before there is anything to draw.

Importing matplotlib takes as long as a small sweep; on another core it is done by the time the sweep is.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


class Ahead:
    """A process that waits for one picture; as a context manager, so that none is left behind."""

    def __enter__(self) -> Ahead:
        self._child = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._child.kill()
        self._child.communicate()

    def draw(self, fronts: pd.DataFrame, path: Path, title: str, facts: Mapping[str, str]) -> None:
        """As `paretosim.report.figures.draw_frontiers`; drawn here should the other process fail."""
        try:
            self._child.communicate(pickle.dumps((fronts, path, title, facts)))
        except OSError:  # it is gone already
            self._child.wait()
        if self._child.returncode:
            from .figures import draw_frontiers

            draw_frontiers(fronts, path, title, facts)


def main() -> None:
    """Import, wait for what to draw, draw; nothing comes where the sweep failed."""
    import pandas as pd  # noqa: F401

    from .figures import draw_frontiers

    with suppress(EOFError):
        draw_frontiers(*pickle.load(sys.stdin.buffer))


if __name__ == "__main__":
    main()

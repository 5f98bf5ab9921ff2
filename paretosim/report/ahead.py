"""Draw in a process of its own, started before there is anything to draw.

Importing matplotlib takes as long as a small sweep; on another core it is done by the time the sweep is.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..designs.compare import Fronts

DRAWN = b"d"


class Ahead:
    """A process that waits for one picture; as a context manager, so that none is left behind."""

    def __enter__(self) -> Ahead:
        command = [sys.executable, "-m", __name__]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )  # fmt: skip
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._child.kill()
        self._child.communicate()

    def draw(self, fronts: Fronts, path: Path, title: str, facts: Mapping[str, str]) -> Callable[[], None]:
        """As `paretosim.report.figures.draw_frontiers`, at the same time as what comes next; returns what waits for it.

        The picture is drawn here should the other process fail.
        """
        assert self._child.stdin is not None and self._child.stdout is not None
        with suppress(BrokenPipeError):
            pickle.dump((fronts, path, title, facts), self._child.stdin)
            self._child.stdin.flush()
        answer = self._child.stdout

        def wait() -> None:
            if answer.read(1) != DRAWN:
                from .figures import draw_frontiers

                draw_frontiers(fronts, path, title, facts)

        return wait


def main() -> None:
    """Import, wait for what to draw, draw and say so; nothing comes where the sweep failed."""
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        import_module(name)
    from .figures import draw_frontiers

    with suppress(EOFError):
        draw_frontiers(*pickle.load(sys.stdin.buffer))
        sys.stdout.buffer.write(DRAWN)
        sys.stdout.flush()


if __name__ == "__main__":
    main()

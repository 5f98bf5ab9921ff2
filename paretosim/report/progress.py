"""Progress on stderr: a bar on a terminal, a line now and then elsewhere, nothing for what takes a moment."""

from __future__ import annotations

import sys
import time
from typing import Any

PATIENCE_S = 2.0
EVERY_S = 10.0


class Bar:
    """Callable with ``(done, total, what)``; use as a context manager so that a bar is closed."""

    def __init__(self, quiet: bool):
        self._quiet = quiet
        self._began = self._told = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Show where things stand."""
        now = time.monotonic()
        if self._quiet or now - self._began < PATIENCE_S:
            return
        if sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(total=total, file=sys.stderr, leave=False)
            self._bar.total = total
            self._bar.set_description(what, refresh=False)
            self._bar.update(done - self._bar.n)
        elif now - self._told >= EVERY_S:
            self._told = now
            print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)

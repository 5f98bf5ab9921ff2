"""What a notebook calls: `sweep`, and its answer as frames, pictures and files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .designs.run import Progress, SweepResult
from .designs.run import sweep as run_sweep
from .profiles.store import Store, default_roots
from .spec.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Sweep:
    """A sweep's answer.

    Attributes
    ----------
    result : everything that was computed.
    """

    result: SweepResult

    @property
    def frontier(self) -> pd.DataFrame:
        """One row a design that no other design of its mix beats; the columns of ``frontier.csv``."""
        return self.result.frontier

    @property
    def fronts(self) -> pd.DataFrame:
        """Fronts of every (mix, serving mode, GPU pair); `pareto` marks the frontier's rows."""
        return self.result.fronts

    @property
    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` holds."""
        return self.result.summary

    def plot(self, path: str | Path = "frontier.png") -> Path:
        """Draw the fronts of every mix into a PNG."""
        from .report.figures import draw_frontiers

        draw_frontiers(self.fronts, Path(path), self.result.scenario.name, self.result.facts())
        return Path(path)

    def write(self, out: str | Path) -> dict[str, Path]:
        """Write frontier, picture, interactive page and summary into a folder; returns where each is."""
        from .report.write import write_sweep

        return write_sweep(self.result, Path(out))

    def __str__(self) -> str:
        from .report.text import sweep_text

        return sweep_text(self.result)


def sweep(
    scenario: Scenario | str | Path,
    profiles: Iterable[str | Path] | Store = (),
    executor: str = "auto",
    progress: Progress | None = None,
) -> Sweep:
    """Score every design of a scenario.

    Parameters
    ----------
    scenario : a YAML file, or a scenario loaded with `load_scenario`.
    profiles : folders of your own profiles, searched before the shipped ones; or a store, which may also hold
        calibrations of your own (``Store(calibrations={})`` has none at all).
    executor : where tasks run.
    progress : called with (done, total, what).

    Raises
    ------
    InputError
        The scenario is wrong, its space is empty, or no design meets its targets.

    Examples
    --------
    >>> import paretosim as ps
    >>> answer = ps.sweep("scenarios/quickstart.yaml")
    >>> best = answer.frontier.iloc[0]
    """
    store = profiles if isinstance(profiles, Store) else Store(default_roots(map(Path, profiles)))
    return Sweep(run_sweep(scenario, store, executor, progress))

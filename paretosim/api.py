"""The Python interface: `sweep`, `simulate` and `estimate`, with results as frames, pictures and files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .designs.run import SweepOptions, SweepResult
from .designs.run import sweep as run_sweep
from .execution.task import ProgressCallback
from .profiles.store import Store, default_roots
from .spec.scenario import Scenario
from .spec.simulation import Simulation

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from .measured.estimate import Estimate
    from .sim.run import SimulationResult


@dataclass(frozen=True, repr=False)
class Sweep:
    """The result of a sweep.

    Attributes
    ----------
    result : all that was computed.
    store : where profiles came from.
    """

    result: SweepResult
    store: Store

    @property
    def frontier(self) -> pd.DataFrame:
        """One row per Pareto-optimal design of each mix; the columns of ``frontier.csv``."""
        return self.result.frontier

    @property
    def fronts(self) -> pd.DataFrame:
        """Fronts of every (mix, serving mode, GPU pair); `pareto` marks the frontier's rows."""
        return self.result.fronts

    @property
    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` holds."""
        return self.result.summary

    @property
    def figure(self) -> Figure:
        """The picture of the fronts, a new matplotlib figure that you may change."""
        from .report.figures import frontiers_figure

        return frontiers_figure(self.fronts, self.result.scenario.name, self.result.facts())

    def plot(self, path: str | Path = "frontier.png") -> Path:
        """Write `figure` as PNG, PDF or SVG, as the suffix of `path` says.

        Raises
        ------
        InputError
            The suffix is none of these.
        """
        from .report.figures import draw_frontiers

        draw_frontiers(self.fronts, Path(path), self.result.scenario.name, self.result.facts())
        return Path(path)

    def certify(self, progress: ProgressCallback | None = None, **options: Any) -> pd.DataFrame:
        """Replay the frontier, and designs just below it, request by request at several loads; ``certified.csv``.

        Parameters
        ----------
        options : as for `sweep`.
        progress : called with (done, total, what).
        """
        from .designs.certify import certify

        return certify(self.result, self.store, SweepOptions(**options), progress)

    def across_engines(self, progress: ProgressCallback | None = None, **options: Any) -> Sweep:
        """This answer, with the gain that is left where each way of serving takes the engine that serves it best.

        Other engines that cannot serve the scenario are left out; ``summary["across_engines"]`` says which, and why.

        Parameters
        ----------
        options : as for `sweep`.
        progress : called with (done, total, what).
        """
        from .designs.across_engines import gains_across_engines, sweep_other_engines

        others, refused = sweep_other_engines(self.result, self.store, SweepOptions(**options), progress)
        gains = gains_across_engines([self.result, *others])
        found = {"gains": {mix: gain.facts() for mix, gain in gains.items()}, "refused": refused}
        return replace(self, result=replace(self.result, summary=self.summary | {"across_engines": found}))

    def write(
        self, out: str | Path, keep_designs: bool = False, progress: ProgressCallback | None = None,
        certified: pd.DataFrame | None = None,
    ) -> dict[str, Path]:  # fmt: skip
        """Write frontier, picture, interactive page and summary into a folder; returns the path of each.

        Files of an earlier sweep in that folder are replaced; those that this one does not write are removed.

        Parameters
        ----------
        out : folder.
        keep_designs : also write ``designs.parquet``, one row per feasible design of each mix.
        progress : called with (done, total, what).
        certified : the table that `certify` returned, written too.
        """
        from .report.sweep_files import write_sweep

        return write_sweep(self.result, Path(out), keep_designs, progress, certified)

    def __str__(self) -> str:
        from .report.text import sweep_text

        return sweep_text(self.result)

    def __repr__(self) -> str:
        summary = self.summary
        found = len(self.result.front_table["mix"])
        return (
            f"<Sweep {summary['scenario']} ({summary['scenario_id']}): {found} of {summary['designs']:,} designs "
            "on the frontier>"
        )

    def _repr_html_(self) -> str:
        from .report.notebook import sweep_html

        return sweep_html(repr(self), self.frontier, self.figure)


def sweep(
    scenario: Scenario | str | Path,
    profiles: Iterable[str | Path] | Store = (),
    executor: str = "auto",
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Sweep:
    """Score every design of a scenario.

    Parameters
    ----------
    scenario : a YAML file, or a scenario loaded with `load_scenario`.
    profiles : folders with your profiles, searched before the shipped ones; or a store, which may also hold your
        calibrations (``Store(calibrations={})`` has none).
    executor : where tasks run: ``auto``, ``serial``, ``processes`` or ``ray``.
    options : the other fields of `paretosim.designs.run.SweepOptions`: jobs, ray_address, journal, resume, prune.
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
    store = _store(profiles)
    return Sweep(run_sweep(scenario, store, SweepOptions(executor, **options), progress), store)


@dataclass(frozen=True, repr=False)
class Simulated:
    """The result of a simulation.

    Attributes
    ----------
    result : all that happened; the steps of each engine are in ``result.outcome.engines``.
    """

    result: SimulationResult

    @property
    def requests(self) -> pd.DataFrame:
        """One row per request, by id; the columns of ``requests.csv``."""
        from .report.simulation import requests_frame

        return requests_frame(self.result)

    @property
    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` holds; NaN where a value is undefined."""
        return self.result.summary

    @property
    def series(self) -> pd.DataFrame:
        """What each pool did over time; the columns of ``series.csv``."""
        from .report.simulation import series_frame

        return series_frame(self.result)

    @property
    def links(self) -> pd.DataFrame:
        """Traffic of each engine's network cards; the columns of ``links.csv``, no row without a network."""
        from .report.simulation import links_frame

        return links_frame(self.result)

    @property
    def figure(self) -> Figure:
        """Queues, engines and latencies over time, a new matplotlib figure that you may change."""
        from .report.simulation_figure import simulation_figure

        return simulation_figure(self.result)

    def plot(self, path: str | Path = "simulation.png") -> Path:
        """Write `figure` as PNG, PDF or SVG, as the suffix of `path` says.

        Raises
        ------
        InputError
            The suffix is none of these.
        """
        from .report.simulation_figure import draw_simulation

        draw_simulation(self.result, Path(path))
        return Path(path)

    def write(self, out: str | Path, timeline: bool = False) -> dict[str, Path]:
        """Write requests, series, links, picture, summary and optionally a timeline; returns the path of each."""
        from .report.simulation import write_simulation

        return write_simulation(self.result, Path(out), timeline)

    def __str__(self) -> str:
        from .report.simulation import simulation_text

        return simulation_text(self.result)

    def __repr__(self) -> str:
        summary = self.summary
        return (
            f"<Simulated {summary['scenario']}, seed {summary['seed']}: {summary['completed']:,} of "
            f"{summary['requests']:,} requests in {summary['duration_s']:.4g} s>"
        )

    def _repr_html_(self) -> str:
        from .report.notebook import simulation_html

        return simulation_html(repr(self), self.summary, self.figure)


def simulate(
    scenario: Simulation | str | Path,
    seed: int | None = None,
    profiles: Iterable[str | Path] | Store = (),
    allow_plugins: bool = False,
    progress: ProgressCallback | None = None,
) -> Simulated:
    """Run one deployment under its traffic, request by request.

    Parameters
    ----------
    scenario : a YAML file with a ``deployment``, or one loaded with `load_simulation`.
    seed : of all random draws, 0 or more; default: the scenario's.
    profiles : as for `sweep`.
    allow_plugins : whether policies named ``module:Class`` may be imported.
    progress : called from time to time with (finished requests, all requests, what).

    Raises
    ------
    InputError
        The scenario is wrong; every problem at once.

    Examples
    --------
    >>> import paretosim as ps
    >>> answer = ps.simulate("scenarios/simulate_disaggregated.yaml", seed=1)
    >>> late = answer.requests.query("ttft_s > 1")
    """
    # Imported here because a sweep does not need the simulator.
    from .measured.attach_bands import bands_of_simulation
    from .sim.run import simulate as run_simulation

    store = _store(profiles)
    result = run_simulation(scenario, store, seed, allow_plugins, progress)
    return Simulated(replace(result, summary=result.summary | bands_of_simulation(result, store)))


def estimate(model: str, gpu: str, profiles: Iterable[str | Path] | Store = (), **asked: Any) -> Estimate:
    """Price one step of one engine as a sweep does, host time included: seconds by operator, memory by part.

    Parameters
    ----------
    model, gpu : names, or the path of a ``config.json`` for the model.
    profiles : as for `sweep`.
    asked : the other fields of `paretosim.measured.estimate.Question`; with ``isl`` the step is a prefill, with
        ``context`` a decode step.

    Raises
    ------
    InputError
        The question is wrong; every problem at once.

    Examples
    --------
    >>> import paretosim as ps
    >>> step = ps.estimate("meta-llama/Llama-3.1-70B", "b200_sxm", precision="fp8", tp=4, batch=16, context=4096)
    >>> step.operator_s["host"] < step.step_s
    True
    """
    from .measured.estimate import Question
    from .measured.estimate import estimate as run_estimate

    phase = {"phase": "decode" if asked.get("isl") is None else "prefill"}
    return run_estimate(Question(model=model, gpu=gpu, **phase | asked), _store(profiles))


def _store(profiles: Iterable[str | Path] | Store) -> Store:
    return profiles if isinstance(profiles, Store) else Store(default_roots(map(Path, profiles)))

"""A sweep's work as two kinds of independent tasks: evaluate a group of engines, score a range of designs.

Task boundaries follow from the space alone, never from the executor, so that a finished task can be reused. A work
object holds what its tasks share; work, tasks and answers can be sent to other processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

import numpy as np

from ..arrays import Arrays
from ..errors import InputError, ProfileError
from ..spec.parallelism import Parallelism
from ..spec.workload import Mix, Slo
from .compiled_engines import Engines, EngineSubset
from .engine_points import UNFILLED, Points, colocated_points, decode_points, prefill_points
from .front import Front
from .front_nd import ParetoSet
from .frontier_columns import MixPoints
from .objectives import Objectives
from .pair_scoring import ScoreResult, score_colocated, score_disaggregated
from .pool_pair import PairRange, PoolPair
from .space import WIDTHS, DesignSpace, Pool

ENGINES_A_TASK = 512
ROWS_A_TASK = 1 << 20
DESIGNS_A_TASK = 1 << 28
POOLS = ("colocated", "prefill", "decode")


@dataclass(frozen=True, slots=True)
class EvaluateTask:
    """A task: evaluate these layouts on one GPU type, in every pool that has them.

    Attributes
    ----------
    gpu, layouts : which engines.
    first : index of the first one among all engines of the sweep.
    """

    gpu: str
    layouts: tuple[Parallelism, ...]
    first: int

    @property
    def key(self) -> str:
        """Name of the task, unique within its scenario."""
        return f"engines {self.first}+{len(self.layouts)}"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An answer: points of a task's engines, by mix and pool.

    Attributes
    ----------
    points : by index of the mix and name of the pool.
    used : "gpu engine op" of the tables behind them.
    repairs : what was repaired in those tables.
    problems : why an engine has no cost, as ("hardware" or "model", message).
    """

    points: dict[tuple[int, str], Points]
    used: tuple[str, ...]
    repairs: tuple[str, ...]
    problems: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Evaluate:
    """Work: engine points under every mix; an engine is compiled once for all pools and mixes."""

    engines: Engines
    space: DesignSpace
    mixes: tuple[Mix, ...]
    prefix_hit_rate: float
    slo: Slo

    def tasks(self) -> list[EvaluateTask]:
        """Every legal engine of any pool, in groups of one GPU type."""
        found: dict[str, list[Parallelism]] = {}
        for name in pools(self.space):
            for gpu, layout, _ in self.engines.layouts(getattr(self.space, name)):
                found.setdefault(gpu, []).append(layout)
        tasks, first = [], 0
        for gpu, legal in found.items():
            layouts = tuple(dict.fromkeys(legal))
            for start in range(0, len(layouts), ENGINES_A_TASK):
                group = layouts[start : start + ENGINES_A_TASK]
                tasks.append(EvaluateTask(gpu, group, first))
                first += len(group)
        return tasks

    def __call__(self, task: EvaluateTask) -> Evaluated:
        """Compile and evaluate the engines of a task."""
        problems: dict[tuple[str, str], None] = {}
        for layout in task.layouts:
            try:
                self.engines.step_parts(task.gpu, layout)
            except InputError as error:
                key = "hardware" if isinstance(error, ProfileError) else "model"
                problems |= {(key, p.message): None for p in error.problems}
        if problems:
            return Evaluated({}, (), (), tuple(problems))
        found: dict[tuple[int, str], Points] = {}
        for name in pools(self.space):
            if task.gpu in (pool := getattr(self.space, name)).gpus:
                subset = self.engines_of(pool, task)
                found |= {(i, name): self._points(name, pool, mix, subset) for i, mix in enumerate(self.mixes)}
        kernels = self.engines.kernels[task.gpu]
        used = map(" ".join, kernels.used)
        answer = Evaluated(found, tuple(sorted(used)), tuple(sorted(map(str, kernels.repairs))))
        self.engines.forget()
        return answer

    def _points(self, name: str, pool: Pool, mix: Mix, subset: EngineSubset) -> Points:
        hit, slo = self.prefix_hit_rate, self.slo
        if name == "decode":
            return decode_points(self.engines, pool, mix, slo, subset)
        if name == "prefill":
            return prefill_points(self.engines, pool, mix, hit, slo, self.space.cpp_smoothing, subset)
        return colocated_points(self.engines, pool, mix, hit, slo, subset)

    @staticmethod
    def engines_of(pool: Pool, task: EvaluateTask) -> EngineSubset:
        """The engines of a task that are in the pool; their points follow one another."""
        axes = [(attrgetter(name), set(getattr(pool, name))) for name in WIDTHS]
        layouts = tuple(layout for layout in task.layouts if all(width(layout) in axis for width, axis in axes))
        return EngineSubset(task.gpu, layouts, np.arange(len(layouts)) * len(pool.cpp_chunk) * len(pool.batch))

    def gathered(
        self, tasks: Sequence[EvaluateTask], answers: Sequence[Evaluated], labels: Sequence[str]
    ) -> dict[str, MixPoints]:
        """Points of whole pools from the answers to all tasks, by label of the mix."""
        by_mix: dict[str, MixPoints] = {}
        slices = {
            name: {(gpu, layout): points for gpu, layout, points in getattr(self.space, name).engines()}
            for name in pools(self.space)
        }
        for i, (mix, label) in enumerate(zip(self.mixes, labels, strict=True)):
            of_pool: dict[str, Points | None] = dict.fromkeys(POOLS)
            for name, at in slices.items():
                parts = (
                    ([at[task.gpu, lay] for lay in task.layouts if (task.gpu, lay) in at], answer.points[i, name])
                    for task, answer in zip(tasks, answers, strict=True) if (i, name) in answer.points
                )  # fmt: skip
                of_pool[name] = Points.gathered(len(getattr(self.space, name)), parts)
            by_mix[label] = MixPoints(label, mix.isl, mix.osl, **of_pool)
        return by_mix

    @staticmethod
    def packed(answer: Evaluated) -> Arrays:
        """An answer as arrays."""
        out: Arrays = {"used": np.array(answer.used, str), "repairs": np.array(answer.repairs, str)}
        for (mix, name), points in answer.points.items():
            out |= {f"{mix} {name} {field}": getattr(points, field) for field in UNFILLED}
            out[f"{mix} {name} evaluations"] = np.array(points.evaluations)
        return out

    @staticmethod
    def unpacked(arrays: Arrays) -> Evaluated:
        """An answer from its arrays."""
        named: dict[tuple[int, str], dict[str, np.ndarray]] = {}
        for key, value in arrays.items():
            if key not in ("used", "repairs"):
                mix, name, field = key.split()
                named.setdefault((int(mix), name), {})[field] = value
        points = {}
        for mix_and_pool, values in named.items():
            evaluations = int(values.pop("evaluations"))
            points[mix_and_pool] = Points(**values, evaluations=evaluations)
        return Evaluated(points, tuple(map(str, arrays["used"])), tuple(map(str, arrays["repairs"])))


def pools(space: DesignSpace) -> Iterator[str]:
    """Pools that the serving modes of a space need."""
    if "colocated" in space.serving:
        yield "colocated"
    if "disaggregated" in space.serving:
        yield from ("prefill", "decode")


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """A task: score the designs of one mix, serving mode, pair of GPU types and range of prefill points."""

    mix: str
    serving: str
    pair_range: PairRange

    @property
    def group(self) -> tuple[str, str, int, int]:
        """Mix, serving mode and GPU pair; every group has its own front."""
        return self.mix, self.serving, self.pair_range.prefill_gpu, self.pair_range.decode_gpu

    @property
    def key(self) -> str:
        """Name of the task, unique within its scenario."""
        at = self.pair_range
        return f"{self.mix} {self.serving} {at.prefill_gpu} {at.decode_gpu} {at.first}-{at.last}"


@dataclass(frozen=True)
class Score:
    """Work: score the cross product of evaluated pools."""

    space: DesignSpace
    points: Mapping[str, MixPoints]
    objectives: Objectives
    prune: bool

    def tasks(self, designs_a_task: int = DESIGNS_A_TASK) -> list[ScoreTask]:
        """Every group of designs, cut so that no task takes more than seconds."""
        space, tasks = self.space, []
        for mix in self.points:
            if "colocated" in space.serving:
                tasks += [ScoreTask(mix, "colocated", PairRange(-1, g, 0, 0)) for g in range(len(space.colocated.gpus))]
            if "disaggregated" in space.serving:
                for p in range(len(space.prefill.gpus)):
                    for d in range(len(space.decode.gpus)):
                        tasks += [ScoreTask(mix, "disaggregated", cut) for cut in self._cut(p, d, designs_a_task)]
        return tasks

    def _cut(self, p: int, d: int, designs_a_task: int) -> Iterator[PairRange]:
        space = self.space
        size, decode = len(space.prefill) // len(space.prefill.gpus), len(space.decode) // len(space.decode.gpus)
        if space.ratios is not None:
            each = decode * len(space.ratios)
        else:
            each = decode * len(space.decode_workers) * len(space.prefill_workers)
        rows = ROWS_A_TASK // max(1, len(space.prefill_workers))
        # A pruned point costs one row; an unpruned one costs all its designs.
        step = max(1, rows if self.prune and space.ratios is None else min(rows, designs_a_task // each))
        for first in range(p * size, (p + 1) * size, step):
            yield PairRange(p, d, first, min(first + step, (p + 1) * size))

    def __call__(self, task: ScoreTask) -> ScoreResult:
        """Count the designs of a task and extract their front."""
        mix = self.points[task.mix]
        if task.serving == "colocated":
            assert mix.colocated is not None
            return score_colocated(self.space, mix.colocated, mix.osl, task.pair_range.decode_gpu, self.objectives)
        assert mix.prefill is not None
        assert mix.decode is not None
        return score_disaggregated(
            PoolPair(self.space, mix.prefill, mix.decode, mix.osl, self.objectives, task.pair_range), self.prune
        )

    @staticmethod
    def packed(answer: ScoreResult) -> Arrays:
        """An answer as arrays."""
        front = {f.name: getattr(answer.front, f.name) for f in fields(answer.front)}
        return {"designs": np.array(answer.designs), "feasible": np.array(answer.feasible), **front}

    @staticmethod
    def unpacked(arrays: Arrays) -> ScoreResult:
        """An answer from its arrays."""
        kept = {k: v for k, v in arrays.items() if k not in ("designs", "feasible")}
        front = ParetoSet(**kept) if "values" in kept else Front(**kept)
        return ScoreResult(int(arrays["designs"]), int(arrays["feasible"]), front)

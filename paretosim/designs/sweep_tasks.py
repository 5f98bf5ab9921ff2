"""What is a sweep's work? Two kinds of independent tasks: evaluate some engines, score some designs.

Where tasks begin and end follows from the space alone, never from who runs them, so that a finished one can be used
again. A work object holds what all its tasks share; it, a task and an answer can travel to another process.
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
from .compiled_engines import Engines, Some
from .engine_points import ARRAYS, Points, colocated_points, decode_points, prefill_points
from .front import Front
from .front_nd import FrontOfMany
from .frontier_columns import MixPoints
from .objectives import Goal
from .pair_scoring import Cross, Pair, Scored, score_colocated, score_disaggregated
from .space import WIDTHS, DesignSpace, Pool

ENGINES_A_TASK = 512
ROWS_A_TASK = 1 << 20
DESIGNS_A_TASK = 1 << 28
POOLS = ("colocated", "prefill", "decode")


@dataclass(frozen=True, slots=True)
class SomeEngines:
    """A task: evaluate these layouts on one GPU type, in every pool that has them.

    Attributes
    ----------
    gpu, layouts : which engines.
    first : place of the first one among all.
    """

    gpu: str
    layouts: tuple[Parallelism, ...]
    first: int

    @property
    def key(self) -> str:
        """Names the task among those of its scenario."""
        return f"engines {self.first}+{len(self.layouts)}"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An answer: points of some engines, by mix and pool.

    Attributes
    ----------
    points : by place of the mix and name of the pool.
    used : "gpu engine op" of the tables behind them.
    repairs : what was mended in those tables.
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

    def tasks(self) -> list[SomeEngines]:
        """Every legal engine of any pool, a few of one GPU type at a time."""
        found: dict[str, list[Parallelism]] = {}
        for name in pools(self.space):
            for gpu, layout, _ in self.engines.layouts(getattr(self.space, name)):
                found.setdefault(gpu, []).append(layout)
        tasks, first = [], 0
        for gpu, all_of_it in found.items():
            layouts = tuple(dict.fromkeys(all_of_it))
            for start in range(0, len(layouts), ENGINES_A_TASK):
                some = layouts[start : start + ENGINES_A_TASK]
                tasks.append(SomeEngines(gpu, some, first))
                first += len(some)
        return tasks

    def __call__(self, task: SomeEngines) -> Evaluated:
        """Compile and evaluate."""
        problems: dict[tuple[str, str], None] = {}
        for layout in task.layouts:
            try:
                self.engines.made(task.gpu, layout)
            except InputError as error:
                key = "hardware" if isinstance(error, ProfileError) else "model"
                problems |= {(key, p.message): None for p in error.problems}
        if problems:
            return Evaluated({}, (), (), tuple(problems))
        found: dict[tuple[int, str], Points] = {}
        for name in pools(self.space):
            if task.gpu in (pool := getattr(self.space, name)).gpus:
                mine = self.engines_of(pool, task)
                found |= {(i, name): self._points(name, pool, mix, mine) for i, mix in enumerate(self.mixes)}
        kernels = self.engines.kernels[task.gpu]
        used = (f"{task.gpu} {engine} {op}" for engine, op in kernels.used)
        answer = Evaluated(found, tuple(sorted(used)), tuple(sorted(map(str, kernels.repairs))))
        self.engines.forget()
        return answer

    def _points(self, name: str, pool: Pool, mix: Mix, some: Some) -> Points:
        hit, slo = self.prefix_hit_rate, self.slo
        if name == "decode":
            return decode_points(self.engines, pool, mix, slo, some)
        if name == "prefill":
            return prefill_points(self.engines, pool, mix, hit, slo, self.space.cpp_smoothing, some)
        return colocated_points(self.engines, pool, mix, hit, slo, some)

    @staticmethod
    def engines_of(pool: Pool, task: SomeEngines) -> Some:
        """Those of a task's engines that a pool has, their points one after the other."""
        axes = [(attrgetter(name), set(getattr(pool, name))) for name in WIDTHS]
        mine = tuple(layout for layout in task.layouts if all(width(layout) in axis for width, axis in axes))
        return Some(task.gpu, mine, np.arange(len(mine)) * len(pool.cpp_chunk) * len(pool.batch))

    def gathered(
        self, tasks: Sequence[SomeEngines], answers: Sequence[Evaluated], labels: Sequence[str]
    ) -> dict[str, MixPoints]:
        """Points of whole pools from the answers to all tasks, by label of the mix."""
        whole: dict[str, MixPoints] = {}
        where = {
            name: {(gpu, layout): at for gpu, layout, at in getattr(self.space, name).engines()}
            for name in pools(self.space)
        }
        for place, (mix, label) in enumerate(zip(self.mixes, labels, strict=True)):
            sides: dict[str, Points | None] = dict.fromkeys(POOLS)
            for name, at in where.items():
                pool = getattr(self.space, name)
                parts = (
                    ([at[task.gpu, lay] for lay in task.layouts if (task.gpu, lay) in at], answer.points[place, name])
                    for task, answer in zip(tasks, answers, strict=True) if (place, name) in answer.points
                )  # fmt: skip
                sides[name] = Points.gathered(len(pool), parts)
            whole[label] = MixPoints(label, mix.isl, mix.osl, **sides)
        return whole

    @staticmethod
    def packed(answer: Evaluated) -> Arrays:
        """An answer as arrays."""
        out: Arrays = {"used": np.array(answer.used, str), "repairs": np.array(answer.repairs, str)}
        for (place, name), points in answer.points.items():
            out |= {f"{place} {name} {field}": getattr(points, field) for field in ARRAYS}
            out[f"{place} {name} evaluations"] = np.array(points.evaluations)
        return out

    @staticmethod
    def unpacked(arrays: Arrays) -> Evaluated:
        """Back from arrays."""
        named: dict[tuple[int, str], dict[str, np.ndarray]] = {}
        for key, value in arrays.items():
            if key not in ("used", "repairs"):
                place, name, field = key.split()
                named.setdefault((int(place), name), {})[field] = value
        points = {}
        for where, got in named.items():
            spent = int(got.pop("evaluations"))
            points[where] = Points(**got, evaluations=spent)
        return Evaluated(points, tuple(map(str, arrays["used"])), tuple(map(str, arrays["repairs"])))


def pools(space: DesignSpace) -> Iterator[str]:
    """Pools that the serving modes of a space need."""
    if "colocated" in space.serving:
        yield "colocated"
    if "disaggregated" in space.serving:
        yield from ("prefill", "decode")


@dataclass(frozen=True, slots=True)
class SomeDesigns:
    """A task: score the designs of one mix, mode, pair of GPU types and range of prefill points."""

    mix: str
    serving: str
    pair: Pair

    @property
    def group(self) -> tuple[str, str, int, int]:
        """Mix, mode and GPU pair, each of which has a front of its own."""
        return self.mix, self.serving, self.pair.prefill_gpu, self.pair.decode_gpu

    @property
    def key(self) -> str:
        """Names the task among those of its scenario."""
        pair = self.pair
        return f"{self.mix} {self.serving} {pair.prefill_gpu} {pair.decode_gpu} {pair.first}-{pair.last}"


@dataclass(frozen=True)
class Score:
    """Work: the cross product of pools that were evaluated before."""

    space: DesignSpace
    points: Mapping[str, MixPoints]
    goal: Goal
    prune: bool

    def tasks(self, designs_a_task: int = DESIGNS_A_TASK) -> list[SomeDesigns]:
        """Every group of designs, cut where one task would take more than seconds."""
        space, tasks = self.space, []
        for mix in self.points:
            if "colocated" in space.serving:
                tasks += [SomeDesigns(mix, "colocated", Pair(-1, g, 0, 0)) for g in range(len(space.colocated.gpus))]
            if "disaggregated" in space.serving:
                for p in range(len(space.prefill.gpus)):
                    for d in range(len(space.decode.gpus)):
                        tasks += [SomeDesigns(mix, "disaggregated", pair) for pair in self._cut(p, d, designs_a_task)]
        return tasks

    def _cut(self, p: int, d: int, designs_a_task: int) -> Iterator[Pair]:
        space = self.space
        size, decode = len(space.prefill) // len(space.prefill.gpus), len(space.decode) // len(space.decode.gpus)
        if space.ratios is not None:
            each = decode * len(space.ratios)
        else:
            each = decode * len(space.decode_workers) * len(space.prefill_workers)
        rows = ROWS_A_TASK // max(1, len(space.prefill_workers))
        # Pruned, a point costs a row; in full, all its designs.
        some = max(1, rows if self.prune and space.ratios is None else min(rows, designs_a_task // each))
        for first in range(p * size, (p + 1) * size, some):
            yield Pair(p, d, first, min(first + some, (p + 1) * size))

    def __call__(self, task: SomeDesigns) -> Scored:
        """Count and extract the front."""
        mix = self.points[task.mix]
        if task.serving == "colocated":
            assert mix.colocated is not None
            return score_colocated(self.space, mix.colocated, mix.osl, task.pair.decode_gpu, self.goal)
        assert mix.prefill is not None
        assert mix.decode is not None
        return score_disaggregated(
            Cross(self.space, mix.prefill, mix.decode, mix.osl, self.goal, task.pair), self.prune
        )

    @staticmethod
    def packed(answer: Scored) -> Arrays:
        """An answer as arrays."""
        front = {f.name: getattr(answer.front, f.name) for f in fields(answer.front)}
        return {"designs": np.array(answer.designs), "feasible": np.array(answer.feasible), **front}

    @staticmethod
    def unpacked(arrays: Arrays) -> Scored:
        """Back from arrays."""
        kept = {k: v for k, v in arrays.items() if k not in ("designs", "feasible")}
        front = FrontOfMany(**kept) if "values" in kept else Front(**kept)
        return Scored(int(arrays["designs"]), int(arrays["feasible"]), front)

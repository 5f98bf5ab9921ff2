"""Which tables answer for an operator of one engine on one GPU, and what was mended or borrowed for that?

A `Search` reads the tables of one operator and notes what it read and did; its outcome, a `Located`, carries the notes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ...errors import NotMeasured
from ...profiles.comparisons import Comparison
from ...profiles.hygiene import Repair
from ...profiles.mending import Mended
from ...profiles.schema import COMPARED_IN_FAMILY
from ...profiles.sidecar import Provenance
from ...profiles.store import Store, Table
from ...spec.engine import EngineSpec
from ...spec.hardware import GpuSpec

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Located(Generic[Answer]):
    """Outcome of a search.

    Attributes
    ----------
    answer : the times, or why there are none.
    repairs : repairs and loans, in order.
    used : provenance of the tables that were read.
    """

    answer: Answer | NotMeasured
    repairs: tuple[Repair, ...]
    used: tuple[Provenance, ...]

    @property
    def times(self) -> Answer:
        """The answer.

        Raises
        ------
        NotMeasured
            There is none.
        """
        if isinstance(self.answer, NotMeasured):
            raise NotMeasured(self.answer.problems)
        return self.answer


@dataclass(frozen=True, slots=True)
class KernelTables:
    """Tables of one engine on one GPU, and of its siblings there.

    Attributes
    ----------
    store : holds the tables.
    gpu, engine : whose tables.
    """

    store: Store
    gpu: GpuSpec
    engine: EngineSpec

    @property
    def engines(self) -> tuple[str, ...]:
        """This engine, then its siblings."""
        return self.engine.name, *self.engine.siblings

    def has(self, engine: str, op: str) -> bool:
        """Whether an engine or library has a table of an operator on this GPU."""
        return self.store.has(self.gpu.name, engine, op)

    def words(self, op: str, column: str) -> Iterator[set[str]]:
        """Distinct values of a column in the engine's table of an operator, then in each sibling's."""
        tables = (self.store.table(self.gpu.name, engine, op) for engine in self.engines if self.has(engine, op))
        return (set(table.distinct(column)) for table in tables)

    def path(self, engine: str, op: str) -> str:
        """Name of a table in reports."""
        return f"{self.gpu.name}/{engine}/{op}"


class Search:
    """One search for the tables of an operator.

    Parameters
    ----------
    tables : which may answer.
    """

    def __init__(self, tables: KernelTables):
        self.tables = tables
        self._repairs: list[Repair] = []
        self._used: list[Provenance] = []

    def table(self, engine: str, op: str) -> Table:
        """Load a table.

        Raises
        ------
        ProfileError
            It is missing or cannot be trusted.
        """
        table = self.tables.store.table(self.tables.gpu.name, engine, op)
        self._used.append(table.provenance)
        return table

    def lowered(self, rule: Comparison, rows: Table, others: Sequence[Table], lane: str) -> Table:
        """Rows of a lane lowered by a comparison, which is noted. See `Comparison.lowered`."""
        rows, repairs = rule.lowered(rows, others, lane)
        self.note(*repairs)
        return rows

    def siblings(self, engine: str, op: str) -> Iterator[Table]:
        """Tables of an operator of all engines but one on this GPU, in their order."""
        for other in self.tables.engines:
            if other != engine and self.tables.has(other, op):
                yield self.table(other, op)

    def family(self, engine: str, op: str) -> list[Table]:
        """The engine's table of an operator on the GPU of the family that is no faster than this one."""
        store, kin = self.tables.store, self.tables.gpu.no_slower_than
        if op not in COMPARED_IN_FAMILY or not kin or not store.has(kin, engine, op):
            return []
        table = store.table(kin, engine, op)
        self._used.append(table.provenance)
        return [table]

    def candidates(self, op: str) -> Iterator[tuple[str, Table]]:
        """Yield engine and table of an operator, loaded lazily: this engine's first, then its siblings'.

        After an engine's table comes what it were without its first release, and so on, for lanes that are set aside.
        """
        engines = [engine for engine in self.tables.engines if self.tables.has(engine, op)]
        for engine in engines:
            for table in self.tables.store.tables(self.tables.gpu.name, engine, op):
                self._used.append(table.provenance)
                yield engine, table
        if not engines:
            self.table(self.tables.engine.name, op)  # raises, and names what is there

    def note(self, *repairs: Repair | None) -> None:
        """Record repairs."""
        self._repairs += filter(None, repairs)

    def borrow(self, engine: str, op: str, lane: str, rows: int, note: str, alike: bool = True) -> None:
        """Record rows that stand in for what was asked: a sibling's, or of a lane or layer that is not `alike`.

        Parameters
        ----------
        engine, op, lane : whose rows answer, of which table and lane.
        rows : how many.
        note : why they stand in.
        alike : whether the rows are of the lane and layer that was asked for.
        """
        if engine != self.tables.engine.name or not alike:
            self.note(Repair("borrowed", self.tables.path(engine, op), lane, rows, note))

    def mended(self, engine: str, op: str, lane: str, mended: Mended) -> None:
        """Record the points of a lane that were changed.

        Parameters
        ----------
        engine, op, lane : which table and lane.
        mended : how many points, by rule.
        """
        self.note(*mended.repairs(self.tables.path(engine, op), lane))

    def found(self, answer: Answer) -> Located[Answer]:
        """End the search with an answer, or with the reason why there is none."""
        return Located(answer, tuple(self._repairs), tuple(self._used))

    def not_found(self, why: str) -> Located[Answer]:
        """End the search without an answer."""
        return Located(NotMeasured(why), tuple(self._repairs), tuple(self._used))

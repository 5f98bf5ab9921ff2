"""Find GPUs, engines and tables on disk, and load the ones whose provenance holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import NotMeasured, ProfileError, did_you_mean
from ..spec.calibration import NONE, Calibration
from ..spec.engine import CALIBRATION, EngineSpec, load_engine
from ..spec.hardware import GpuSpec, load_gpu, with_facts
from ..spec.release import is_release, release_key
from .releases import EARLIEST, joined, preferred
from .schema import COMPARED_IN_FAMILY, SCHEMAS, OpSchema
from .sidecar import SUFFIX, Provenance, file_sha256, read_sidecar, sidecar_bytes
from .table import Table as Table
from .table import load_table, words_of

ENGINES_FOLDER = "engines"
ENVIRONMENT = "PARETOSIM_PROFILES"


def default_roots(extra: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Where profiles are looked for, first hit wins: given folders, ``$PARETOSIM_PROFILES``, our own.

    Raises
    ------
    ProfileError
        A given folder does not exist.
    """
    roots = [Path(p) for p in extra]
    roots += [Path(p) for p in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if p]
    if missing := [str(p) for p in roots if not p.is_dir()]:
        raise ProfileError(f"profile folder not found: {', '.join(missing)}")
    package = Path(__file__).resolve().parents[1]
    # Inside a wheel the tables travel in the package; in a clone they lie at the top level.
    own = [p for p in (package / "hwprofiles", package.parent / "hwprofiles") if p.is_dir()]
    return (*roots, *own[:1])


@dataclass(frozen=True)
class Store:
    """Read-only view over one or more profile folders; loads each table once.

    Attributes
    ----------
    roots : folders laid out as ``<gpu>/gpu.yaml``, ``<gpu>/<engine>/<op>.parquet``,
        ``<gpu>/<engine>/<release>/<op>.parquet`` and ``engines/<engine>.yaml``; for a table, the first root that has
        it, in any release, wins.
    calibrations : by engine, in place of those beside the engines' files; None leaves these, an engine that is
        missing has none.
    facts : what is to replace facts of ``gpu.yaml``, by GPU.
    asked : engine and release whose tables come first; None: every engine's newest. See `at`.
    """

    roots: tuple[Path, ...] = field(default_factory=default_roots)
    calibrations: Mapping[str, Calibration] | None = None
    facts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    asked: tuple[str, str] | None = None
    _files: dict[Path, Table] = field(default_factory=dict, repr=False, compare=False)
    _joined: dict[tuple[Path, ...], Table] = field(default_factory=dict, repr=False, compare=False)
    _carried: dict[tuple[str, str, str], dict[str, Path]] = field(default_factory=dict, repr=False, compare=False)
    _contents: dict[Path, tuple[bytes, bytes]] = field(default_factory=dict, repr=False, compare=False)
    _known: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False, compare=False)

    def gpus(self) -> tuple[str, ...]:
        """Names of all GPUs."""
        return tuple(sorted({p.parent.name for root in self.roots for p in root.glob("*/gpu.yaml")}))

    def engine_names(self) -> tuple[str, ...]:
        """Names of all engines that are described."""
        found = {p for root in self.roots for p in root.glob(f"{ENGINES_FOLDER}/*.yaml")}
        return tuple(sorted({p.stem for p in found if not p.name.endswith(CALIBRATION)}))

    def engines(self, gpu: str) -> tuple[str, ...]:
        """Engines (and libraries such as ``nccl``) that have tables on a GPU."""
        tables = [(root / gpu, p) for root in self.roots for p in (root / gpu).glob("**/*.parquet")]
        return tuple(sorted({table.relative_to(folder).parts[0] for folder, table in tables}))

    def operators(self, gpu: str, engine: str) -> tuple[str, ...]:
        """Operators that have a table, in the schema's order."""
        have = {p.stem for root in self.roots for p in (root / gpu / engine).glob("*.parquet")}
        have |= {p.stem for root in self.roots for p in (root / gpu / engine).glob("*/*.parquet")}
        return tuple(op for op in SCHEMAS if op in have)

    def releases(self, gpu: str, engine: str) -> tuple[str, ...]:
        """Releases of an engine that have tables of their own, oldest first."""
        found = {p.parent.name for root in self.roots for p in root.glob(f"{gpu}/{engine}/*/*.parquet")}
        return tuple(sorted(found, key=release_key))

    def at(self, engine: str, version: str | None) -> Store:
        """This store for a release of an engine; loaded tables are shared.

        Each lane then comes from the newest release not later than that one, else from the earliest that timed it.
        Siblings answer with their newest tables if no later release of the engine is known, else with their earliest.

        Parameters
        ----------
        engine : whose release.
        version : a release, or the name of a build that is none, which gets the earliest tables; None: the newest.
        """
        if version is None:
            return self
        known = self._known.get(engine) or self.releases("*", engine)
        key = release_key(version) if is_release(version) else ()
        earlier = [release for release in known if release_key(release) <= key]
        return self if earlier == list(known) else replace(self, asked=(engine, earlier[-1] if earlier else EARLIEST))

    def gpu(self, name: str) -> GpuSpec:
        """Datasheet facts of a GPU.

        Raises
        ------
        ProfileError
            No such folder.
        """
        if (path := self._find(f"{name}/gpu.yaml")) is None:
            known = self.gpus()
            raise ProfileError(f"no GPU {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
        return with_facts(load_gpu(path), self.facts.get(name, {}))

    def supposing(self, facts: Mapping[str, Mapping[str, float]]) -> Store:
        """This store, had GPUs other facts (keys and units of ``gpu.yaml``); loaded tables are shared."""
        return replace(self, facts=facts)

    def engine(self, name: str) -> EngineSpec:
        """Facts of a serving engine.

        Raises
        ------
        ProfileError
            No such file.
        """
        if (path := self._find(f"{ENGINES_FOLDER}/{name}.yaml")) is None:
            known = self.engine_names()
            raise ProfileError(f"no engine {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
        engine = load_engine(path)
        found = engine.calibration if self.calibrations is None else self.calibrations.get(name, NONE)
        return replace(engine, calibration=found.with_graphs(engine.graph_tokens))

    def has(self, gpu: str, engine: str, op: str) -> bool:
        """Whether a table exists."""
        return bool(self._of_releases(gpu, engine, op))

    def table(self, gpu: str, engine: str, op: str) -> Table:
        """Load a table, its provenance checked: of the release that is asked for, other releases fill what it lacks.

        Raises
        ------
        ProfileError
            It is missing, has no valid sidecar, or its columns are not the schema's.
        """
        if (table := next(self.tables(gpu, engine, op), None)) is None:
            have = ", ".join(self.operators(gpu, engine)) or "none"
            raise NotMeasured(f"no {op} table for {gpu} under {engine}; tables there: {have}")
        return table

    def tables(self, gpu: str, engine: str, op: str) -> Iterator[Table]:
        """Yield `table`, then what it were without its first release, and so on: for lanes that cannot be used.

        Raises
        ------
        ProfileError
            A table has no valid sidecar, or its columns are not the schema's.
        """
        paths = tuple(self._of_releases(gpu, engine, op).values())
        for first in range(len(paths)):
            key = paths[first:]
            if key not in self._joined:
                self._joined[key] = joined(list(self._needed(key, SCHEMAS[op])))
            yield self._joined[key]

    def provenances(self, gpu: str, engine: str, op: str) -> list[Provenance]:
        """Where a table's files come from, the preferred release first, without loading them."""
        found = []
        for path in self._of_releases(gpu, engine, op).values():
            found.append(self._files[path].provenance if path in self._files else read_sidecar(path))
        return found

    def fingerprint(self, gpu: str, engines: Iterable[str]) -> tuple[str, ...]:
        """Path and sidecar hash of every table on a GPU for these engines, and for libraries that are no engine.

        A sidecar holds the hash of its table, so equal fingerprints are equal measurements, none of which is loaded.
        The release that is asked for comes last.
        """
        found = []
        for name, engine, op in self._askable(gpu, engines):
            for release, table in sorted(self._on_disk(name, engine, op).items()):
                sidecar, where = table.with_name(op + SUFFIX), "/".join(filter(None, (name, engine, release, op)))
                found.append(f"{where} {file_sha256(sidecar) if sidecar.exists() else ''}")
        return (*found, *self.asked) if self.asked else tuple(found)

    def carry(self, gpu: str, engines: Iterable[str]) -> None:
        """Hold the files of those tables, so that a copy of this store answers on a machine without the folders."""
        for name, engine, op in self._askable(gpu, engines):
            self._carried[name, engine, op] = paths = self._on_disk(name, engine, op)
            self._contents.update((path, (path.read_bytes(), sidecar_bytes(path))) for path in paths.values())
            self._known[engine] = self.releases("*", engine)

    def _askable(self, gpu: str, engines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        others, kin = set(self.engine_names()) - set(engines), self.gpu(gpu).no_slower_than
        for name in filter(None, (gpu, kin)):
            for engine in self.engines(name):
                if engine not in others:
                    of = (op for op in self.operators(name, engine) if name == gpu or op in COMPARED_IN_FAMILY)
                    yield from ((name, engine, op) for op in of)

    def _of_releases(self, gpu: str, engine: str, op: str) -> dict[str, Path]:
        """Files of a table by release, the preferred one first."""
        found = self._carried.get((gpu, engine, op)) or self._on_disk(gpu, engine, op)
        whose, release = self.asked or (None, None)
        asked = None if whose is None else release if engine == whose else EARLIEST
        return {release: found[release] for release in preferred(found, asked)}

    def _on_disk(self, gpu: str, engine: str, op: str) -> dict[str, Path]:
        for folder in (root / gpu / engine for root in self.roots):
            paths = [*folder.glob(f"{op}.parquet"), *folder.glob(f"*/{op}.parquet")]
            if paths:
                return {EARLIEST if path.parent == folder else path.parent.name: path for path in paths}
        return {}

    def _needed(self, paths: tuple[Path, ...], schema: OpSchema) -> Iterator[Table]:
        """Tables of several releases, but for those that could only add what an earlier one has."""
        seen: set[str] = set()
        for path in paths:
            content, sidecar = self._contents.get(path) or (path.read_bytes(), None)
            words = words_of(path, content, schema.whole) if schema.whole and len(paths) > 1 else {str(path)}
            if words <= seen:
                continue
            seen |= words
            if path not in self._files:
                self._files[path] = load_table(path, schema, content, sidecar)
            yield self._files[path]

    def _find(self, relative: str) -> Path | None:
        return next((root / relative for root in self.roots if (root / relative).exists()), None)

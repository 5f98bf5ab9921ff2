"""Files of a wheel of kernel timings: where they lie, and the table and sidecar that they become."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ...errors import ProfileError
from ..schema import OpSchema
from ..sidecar import Provenance, canonical, file_sha256, write_table
from .wheel_tables import GPUS, Source, to_schema

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package of kernel timings.

    Attributes
    ----------
    name, module : on PyPI, and as Python imports what holds the tables.
    known : the version that this importer was written for.
    """

    name: str
    module: str
    known: str

    def version(self, systems: Path) -> str:
        """Version of the wheel these files came from, by the ``dist-info`` folder beside the package."""
        prefix = self.name.replace("-", "_") + "-"
        for info in systems.parent.parent.glob(f"{prefix}*.dist-info"):
            return info.name.removeprefix(prefix).removesuffix(".dist-info")
        return "of unstated version"


def wheel_systems(wheel: Wheel, given: Path | None) -> Path:
    """A wheel's ``systems`` folder: the one given, or the installed package's.

    Raises
    ------
    ProfileError
        Not found; says how to get it.
    """
    if given is None:
        spec = importlib.util.find_spec(wheel.module)
        if spec is None or spec.origin is None:
            raise ProfileError(f"{wheel.name} is not installed; pip install {wheel.name}=={wheel.known}, or --from")
        given = Path(spec.origin).parent / "systems"
    if not (given / "data").is_dir():
        raise ProfileError(f"{given}: no 'data' folder; --from takes the 'systems' folder of {wheel.name}")
    return given


def files_of(systems: Path, wheel_gpu: str) -> dict[tuple[str, str], list[Path]]:
    """Files of one GPU by engine and the wheel's operator, one for each version."""
    found: dict[tuple[str, str], list[Path]] = {}
    for path in sorted((systems / "data" / wheel_gpu).glob("*/*/*/*_perf.parquet")):
        found.setdefault((path.parts[-3], path.stem.removesuffix("_perf")), []).append(path)
    return dict(sorted(found.items()))


def current_versions(systems: Path, wheel_gpu: str) -> dict[str, str]:
    """The version of each engine that the wheel calls current on a GPU."""
    slots = yaml.safe_load((systems / "query_versions.yaml").read_text())
    chosen = {**slots["defaults"], **slots["overrides"].get(wheel_gpu, {})}
    return {engine: slot["current"] for engine, slot in chosen.items()}


@dataclass
class Part:
    """One file of a wheel.

    Attributes
    ----------
    path : of the file, in a folder named after the engine's version.
    rows : measured on this GPU.
    frame : those rows under our names and units.
    """

    path: Path
    rows: int
    frame: pd.DataFrame


@dataclass
class WheelGpu:
    """One GPU's files in a wheel.

    Attributes
    ----------
    wheel, systems : which wheel, and its folder of systems.
    name : the wheel's name of the GPU, a key of `GPUS`.
    device : what the GPU calls itself, as the first file says.
    """

    wheel: Wheel
    systems: Path
    name: str
    device: str = ""

    def part(self, path: Path, source: Source) -> Part:
        """Read one file."""
        import pandas as pd

        raw = pd.read_parquet(path)
        if "device" in raw:
            # Some files carry a few rows of another GPU; they are not this GPU's measurements.
            self.device = self.device or str(raw["device"].mode()[0])
            raw = raw[raw["device"] == self.device]
        return Part(path, len(raw), to_schema(raw, source, path.parent.name))

    def write(
        self, out: Path, engine: str, schema: OpSchema, parts: list[Part], kept: list[pd.DataFrame], release: str = ""
    ) -> Path:
        """Write one table with its sidecar; returns its path.

        Parameters
        ----------
        out : folder of profiles to write into.
        engine, schema : whose table, and of which operator.
        parts : files that were read.
        kept : their rows that stay.
        release : to which the table belongs, if it has a folder of its own.
        """
        import pandas as pd

        frame = canonical(pd.concat(kept, ignore_index=True), schema)
        rows = frame["engine_version"].value_counts()
        files = [_source_file(p, self.systems, int(rows.get(p.path.parent.name, 0))) for p in parts]
        files = [f for f in files if f["rows_kept"]]
        dates = sorted({str(f["collected_at"]) for f in files} - {"unstated"})
        provenance = Provenance(
            op=schema.op,
            gpu=GPUS[self.name],
            engine=engine,
            release=release,
            device=self.device,
            engine_versions={str(k): int(v) for k, v in rows.sort_index().items()},
            kernels={str(k): int(v) for k, v in frame["kernel"].value_counts().sort_index().items()},
            status="measured",
            source=f"{self.wheel.name} {self.wheel.version(self.systems)} (PyPI), NVIDIA CORPORATION & AFFILIATES",
            licence="Apache-2.0",
            method="the wheel's collector: CUDA-graph replay, 3 warm-ups, 6 timed runs, one value per shape",
            date=" .. ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "unstated",
            files=files,
            rows=len(frame),
        )
        return write_table(out / GPUS[self.name] / engine / release, frame, schema, provenance)


def _source_file(part: Part, systems: Path, kept: int) -> dict[str, object]:
    meta_path = part.path.parent / "collection_meta.yaml"
    meta = yaml.safe_load(meta_path.read_text()) if meta_path.exists() else {}
    table = (meta.get("tables") or {}).get(part.path.stem) or {}
    return {
        "file": str(part.path.relative_to(systems)),
        "sha256": file_sha256(part.path),
        "rows": part.rows,
        "rows_kept": kept,
        "provenance": str(meta.get("provenance", "unstated")),
        "collected_at": str(table.get("collected_at") or _last_collected(table)),
    }


def _last_collected(table: dict[str, Any]) -> str:
    return max((str(c.get("collected_at", "")) for c in table.get("collections") or ()), default="") or "unstated"

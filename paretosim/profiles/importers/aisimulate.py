"""Repack what the PyPI wheel ``aisimulate`` timed of later releases: one table per operator and release.

A table of an operator under a version that is later than the one the wheel calls current goes into
``<gpu>/<engine>/<release>/``. The current version's tables, and older ones, are those of ``aiconfigurator-core``, but
for what `EVERY_RELEASE` names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...spec.release import is_release, release_key
from ..schema import SCHEMAS
from ..sidecar import read_sidecar
from .wheel import Wheel, WheelGpu, current_versions, files_of
from .wheel_tables import GPUS, SOURCES

WHEEL = Wheel("aisimulate", "aisimulate_core", "0.13.0.dev202610270000000085")


EVERY_RELEASE = {("sglang", "custom_allreduce")}
"""Engine and operator of which all releases are kept. Before 0.5.14 this one took 1.2 to 1.9 times as long for small
messages; those of vLLM and TensorRT-LLM differ by 1 % (1.2.0rc5: 13 % on Hopper), older tables of no other operator are
complete."""


def import_gpu(systems: Path, wheel_gpu: str, out: Path, progress: Callable[[str], None]) -> list[Path]:
    """Repack every known table of later releases of one GPU; returns the files written.

    Parameters
    ----------
    systems : folder of the wheel's systems.
    wheel_gpu : the wheel's name of the GPU, a key of `GPUS`.
    out : folder of profiles to write into.
    progress : called with a line for each table.
    """
    gpu, current, written = WheelGpu(WHEEL, systems, wheel_gpu), current_versions(systems, wheel_gpu), []
    for (engine, wheel_op), paths in files_of(systems, wheel_gpu).items():
        if engine not in current:  # a library, not an engine: it has versions of its own, and one table
            continue
        for path in paths:
            release = path.parent.name
            later = is_release(release) and release_key(release) > release_key(current[engine])
            every = (engine, wheel_op) in EVERY_RELEASE
            if not (later or (every and is_release(release))):
                continue
            if wheel_op not in SOURCES:
                progress(f"{GPUS[wheel_gpu]}/{engine}/{release}: {wheel_op} is not known here, left out")
                continue
            schema = SCHEMAS[SOURCES[wheel_op].op]
            if not every and _is_there(
                out / GPUS[wheel_gpu] / engine / f"{schema.op}.parquet", path.relative_to(systems)
            ):
                continue
            part = gpu.part(path, SOURCES[wheel_op])
            written.append(gpu.write(out, engine, schema, [part], [part.frame], release))
            progress(f"{GPUS[wheel_gpu]}/{engine}/{release}/{schema.op}: {len(part.frame):,} rows")
    return written


def _is_there(table: Path, file: Path) -> bool:
    """Whether the table without a release holds every row of a file: the only one of its operator in another wheel."""
    files = read_sidecar(table).files if table.exists() else []
    return any(f["file"] == str(file) and f["rows_kept"] == f["rows"] for f in files)

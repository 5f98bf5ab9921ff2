"""Repack the kernel timings of the PyPI wheel ``aiconfigurator-core``: one table per operator, of whatever version.

Where several engine versions measured one lane, the version that the wheel itself calls current wins, then the
newest; versions are never mixed inside a lane.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...spec.release import release_key
from ..schema import SCHEMAS, OpSchema
from .wheel import Part, Wheel, WheelGpu, current_versions, files_of
from .wheel_tables import GPUS, SOURCES

if TYPE_CHECKING:
    import pandas as pd

WHEEL = Wheel("aiconfigurator-core", "aiconfigurator_core", "0.12.0")


def newest_lanes(frames: list[pd.DataFrame], schema: OpSchema) -> list[pd.DataFrame]:
    """Rows of tables of several versions, given in order of preference, that stay: each lane comes from one version.

    The kernel's name is not part of the lane here: versions rename kernels, and the newer one is meant.
    """
    import pandas as pd

    lane = [c for c in schema.lane if c != "kernel"]
    kept: list[pd.DataFrame] = []
    for frame in frames:
        if kept:
            seen = pd.concat([k[lane] for k in kept]).drop_duplicates()
            fresh = frame.merge(seen, on=lane, how="left", indicator=True)["_merge"].eq("left_only").to_numpy()
            frame = frame[fresh]
        if len(frame):
            kept.append(frame)
    return kept


def import_gpu(systems: Path, wheel_gpu: str, out: Path, progress: Callable[[str], None]) -> list[Path]:
    """Repack every known table of one GPU into ``out/<gpu>/<engine>/``; returns the files written.

    Parameters
    ----------
    systems : folder of the wheel's systems.
    wheel_gpu : the wheel's name of the GPU, a key of `GPUS`.
    out : folder of profiles to write into.
    progress : called with a line for each table.
    """
    gpu, current = WheelGpu(WHEEL, systems, wheel_gpu), current_versions(systems, wheel_gpu)
    collected: dict[tuple[str, str], list[Part]] = {}
    for (engine, wheel_op), paths in files_of(systems, wheel_gpu).items():
        if wheel_op not in SOURCES:
            progress(f"{GPUS[wheel_gpu]}/{engine}: {wheel_op} is not known here, left out")
            continue
        source = SOURCES[wheel_op]
        paths.sort(key=lambda p: (p.parent.name == current.get(engine), release_key(p.parent.name)), reverse=True)
        collected.setdefault((engine, source.op), []).extend(gpu.part(path, source) for path in paths)
    written = []
    for (engine, op), parts in sorted(collected.items()):
        kept = newest_lanes([part.frame for part in parts], SCHEMAS[op])
        written.append(gpu.write(out, engine, SCHEMAS[op], parts, kept))
        progress(f"{GPUS[wheel_gpu]}/{engine}/{op}: {sum(map(len, kept)):,} rows")
    return written

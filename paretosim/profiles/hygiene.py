"""Table hygiene: detect measurements that cannot be what a deployed kernel costs, and mend them by name.

Every rule is named, says what it found, and is reported by `profile show` and in each estimate's provenance.
The traps were found by comparing tables with measured serving (see docs/hygiene.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats
from .log_grid import LogGrid, least_from_here
from .store import Table

# Rule `launch_floor`: over small GEMMs (m <= 16) time is weight traffic plus a launch of a few microseconds. A lane
# whose time hardly moves while its weights span two decades, and that starts far above any launch, timed the host.
FLOOR_MAX_M = 16
FLOOR_SPREAD = 2.0
FLOOR_WEIGHT_SPREAD = 50.0
FLOOR_SECONDS = 30e-6

# Rule `host_gaps`: an attention block whose least work takes this much longer than a sibling's, and whose larger work
# is about as many microseconds longer, was timed with gaps between its kernels that a deployed CUDA graph has not.
GAPS_FACTOR = 1.5
GAPS_MAX_BATCH = 4

# Rule `pad_up`: a kernel's input can be padded to more work, so it never costs more than that. Dips up to this
# factor are wave quantisation and noise and are kept as measured; above it a kernel was badly picked, or the clock
# was disturbed.
PAD_UP_FACTOR = 1.15

# Rule `prompt_floor`: the host's time scatters; what takes less than this many times its least says nothing of kernels.
# Of 1.5, 2, 2.5 and 3 the least with which sparse prompts of GB300 under vLLM, held out, come within 25 % (p90).
PROMPT_FLOOR_REACH = 2.5

# Rule `split_up`: work can be done in parts, so twice of it never costs more than twice. A factor of that much and more
# is a kernel that fell off a cliff (no CUDA graph, another algorithm).
SPLIT_UP_FACTOR = 2.0

# Rule `untuned`: 4-bit products are run by kernels that an engine tunes to each shape when it starts; a collector that
# does not times the default. A constant is no such thing but a second kernel (vLLM's `fp8_block` on Blackwell takes 5
# to 9 us more than DeepGEMM alone, in two releases timed apart), so the lighter half of the products does not count.
TUNED_LANES = ("nvfp4",)
UNTUNED_FACTOR = 1.5
UNTUNED_MAX_M = 64


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing mended.

    Attributes
    ----------
    rule : ``launch_floor``, ``untuned``, ``host_gaps``, ``static_scale``, ``faster_than_roofline``, ``pad_up``,
        ``split_up``, ``balanced_load``, ``fastest_kernel``, ``own_kernels``, ``borrowed``, ``derived``, and those of
        `paretosim.profiles.comparisons`.
    table : ``gpu/engine/op``.
    lane : which part of it.
    rows : rows replaced, lowered or set aside.
    note : what was seen and what was done, for a person.
    """

    rule: str
    table: str
    lane: str
    rows: int
    note: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.table} {self.lane}: {self.note}"


def launch_floor_s(table: Table) -> float | None:
    """Seconds of the launch floor that one dtype of a GEMM table recorded instead of kernels, or None.

    Every kernel that runs small GEMMs must show the floor: dispatchers change kernels with the shape.

    Parameters
    ----------
    table : rows of one ``dtype``.
    """
    small = table.columns["m"] <= FLOOR_MAX_M
    if not small.any():
        return None
    seconds = table.columns["latency_s"][small].astype(np.float64)
    weights = (table.columns["n"][small] * table.columns["k"][small]).astype(np.float64)
    kernel = table.columns["kernel"][small]
    for name in set(kernel):
        mine = kernel == name
        low, high = np.quantile(seconds[mine], [0.1, 0.9])
        light, heavy = np.quantile(weights[mine], [0.1, 0.9])
        if low < FLOOR_SECONDS or high / low > FLOOR_SPREAD or heavy / light < FLOOR_WEIGHT_SPREAD:
            return None
    return float(np.quantile(seconds, 0.1))


def gemm_fault(table: Table, lane: str, others: Iterable[Table]) -> tuple[str, str] | None:
    """Rule and reason for which a GEMM lane is set aside, or None.

    Parameters
    ----------
    table : rows of the lane.
    others : the same lane of other engines, read only if it matters.
    """
    if (floor := launch_floor_s(table)) is not None:
        return "launch_floor", f"{floor * 1e6:.0f} us whatever the shape: the host's launch, not the kernel"
    if lane not in TUNED_LANES:
        return None
    slow = times_the_fastest(table, [rows for rows in others if len(rows) and launch_floor_s(rows) is None])
    if slow > UNTUNED_FACTOR:
        return "untuned", f"small products cost {slow:.1f} times a sibling's: nobody tuned the kernel to them"
    return None


def times_the_fastest(table: Table, others: list[Table]) -> float:
    """How many times the fastest of other engines' small products (m <= 64) cost here; NaN if none.

    The median over the heavier half of those that both timed.

    Parameters
    ----------
    table, others : rows of one GEMM lane.
    """
    (shapes, seconds), *rest = (_small_products(which) for which in (table, *others))
    fastest = np.full(len(shapes), np.inf)
    for theirs, took in rest:
        _, mine, place = np.intersect1d(shapes, theirs, assume_unique=True, return_indices=True)
        fastest[mine] = np.minimum(fastest[mine], took[place])
    both = np.isfinite(fastest)
    if not both.any():
        return np.nan
    weights = (shapes[both] >> 24 & _LOW) * (shapes[both] & _LOW)
    return float(np.median((seconds / fastest)[both][weights >= np.median(weights)]))


_LOW = (1 << 24) - 1


def _small_products(table: Table) -> tuple[NDArray[np.int64], Floats]:
    """Shapes of small products, packed and sorted, and the least seconds of each."""
    c = table.columns
    small = c["m"] <= UNTUNED_MAX_M
    m, n, k = (c[axis][small].astype(np.int64) for axis in ("m", "n", "k"))
    shapes, place = np.unique((m << 48) | (n << 24) | k, return_inverse=True)
    seconds = np.full(len(shapes), np.inf)
    np.minimum.at(seconds, place, c["latency_s"][small])
    return shapes, seconds


def gaps_s(table: Table, other: Table) -> float:
    """Seconds that the blocks of a table take longer than a sibling's whatever their batch; 0 if they do not.

    Parameters
    ----------
    table, other : decode rows of one kind of block and lane; where several kernels were timed, the fastest counts.
    """
    mine, theirs = _fastest_points(table), _fastest_points(other)
    both = [(key[1], mine[key], theirs[key]) for key in sorted(mine.keys() & theirs.keys())]
    if not both:
        return 0.0
    batch, own, sibling = np.array(both).T
    few, many = batch <= GAPS_MAX_BATCH, batch >= 16 * GAPS_MAX_BATCH
    if not few.any() or not many.any() or np.median(own[few] / sibling[few]) < GAPS_FACTOR:
        return 0.0
    gap = float(np.median(own[few] - sibling[few]))
    return gap if 0.5 * gap <= np.median(own[many] - sibling[many]) <= 3 * gap else 0.0


def _fastest_points(table: Table) -> dict[tuple[int, int, int], float]:
    """Least seconds by heads, batch and context."""
    c = table.columns
    found: dict[tuple[int, int, int], float] = {}
    for heads, batch, context, seconds in zip(
        *(c[name].tolist() for name in ("heads", "batch", "context", "latency_s")), strict=True
    ):
        key = (heads, batch, context)
        found[key] = min(found.get(key, np.inf), seconds)
    return found


def without_host_floor(table: Table, lane: str) -> tuple[Table, list[Repair]]:
    """Rule ``launch_floor`` for experts: leave out prefill rows that cost less than twice their shape's floor.

    Tables of wide expert parallelism time decode kernels inside a CUDA graph and prefill kernels outside one. The
    latter take 400 us however few their tokens, which the former do in a tenth; only where a prefill kernel costs a
    multiple of that floor did it, not the host, take the time.

    Parameters
    ----------
    table : rows of one dtype and load, with a column ``phase``.
    """
    c = table.columns
    prefill = c["phase"] == "prefill"
    shape = np.stack([c[n] for n in ("hidden", "inter", "top_k", "experts", "moe_tp", "moe_ep")], axis=1)
    keep = np.ones(len(table), bool)
    for one in np.unique(shape[prefill], axis=0):
        mine = (shape == one).all(axis=1)
        others, seconds = mine & ~prefill, c["latency_s"]
        floor = seconds[mine & prefill].min()
        if floor >= FLOOR_SECONDS and others.any() and floor > FLOOR_SPREAD * seconds[others].min():
            keep &= ~(mine & prefill & (seconds < FLOOR_SPREAD * floor))
    if keep.all():
        return table, []
    kept = table.only(keep)
    note = f"{int((~keep).sum())} prefill rows within twice the host's floor; set aside"
    return kept, [Repair("launch_floor", table.path, lane, int((~keep).sum()), note)]


def pad_up(seconds: Floats, axes: tuple[int, ...]) -> tuple[Floats, NDArray[np.bool_]]:
    """Lower points that cost over `PAD_UP_FACTOR` times one with more work to that one's time.

    Parameters
    ----------
    seconds : grid, NaN where nothing was measured.
    axes : those along which work grows with the index.

    Returns
    -------
    repaired, lowered
        ``lowered`` is True where a point was changed.
    """
    reach = np.where(np.isnan(seconds), np.inf, seconds)
    for axis in axes:
        reach = least_from_here(reach, axis)
    lowered = seconds > PAD_UP_FACTOR * reach
    return np.where(lowered, reach, seconds), lowered


def split_up(seconds: Floats, units: Floats, axis: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Lower points that cost over `SPLIT_UP_FACTOR` times the same work in smaller parts to these parts' time.

    Parameters
    ----------
    seconds : grid, NaN where nothing was measured.
    units : work along the axis, increasing, positive, shape (n,).
    axis : whose points can be put together from smaller ones.

    Returns
    -------
    repaired, lowered
        ``lowered`` is True where a point was changed.
    """
    work = units.reshape([-1 if along == axis else 1 for along in range(seconds.ndim)])
    parts = work * np.fmin.accumulate(seconds / work, axis=axis)
    lowered = seconds > SPLIT_UP_FACTOR * parts
    return np.where(lowered, parts, seconds), lowered


def above_floor(seconds: Floats, roofline_s: Floats, floor_s: float) -> Floats:
    """Rule ``prompt_floor``: lower points within reach of the host's floor to what the points above it say.

    Those keep the efficiency of the nearest point above, if that is less than what was timed.

    Parameters
    ----------
    seconds, roofline_s : grids; NaN where nothing was measured.
    floor_s : what the host takes at least [s].
    """
    held = np.where(seconds < PROMPT_FLOOR_REACH * floor_s, np.nan, roofline_s / seconds)
    if not np.isfinite(held).any():
        return seconds
    return np.minimum(seconds, roofline_s / LogGrid.of((), held).filled)


def fastest_kernel(table: Table, lane: str) -> tuple[Table, Repair | None]:
    """Where several kernels timed one shape, keep the fastest: an engine's dispatcher picks it.

    Kernels are compared shape by shape, so one that alone covers a shape stays.

    Parameters
    ----------
    lane : what the report calls these rows.
    """
    schema = table.schema
    keys = [c for c in (*schema.lane, *schema.axes) if c != "kernel"]
    codes = [_codes(table.columns[c]) for c in keys if c in schema.lane]
    codes += [table.columns[c] for c in schema.axes]
    value = table.columns[schema.values[0]]
    order = np.lexsort((value, *reversed(codes)))
    stacked = np.stack([c[order] for c in codes])
    first = np.ones(len(order), bool)
    first[1:] = (stacked[:, 1:] != stacked[:, :-1]).any(axis=0)
    if first.all():
        return table, None
    keep = np.sort(order[first])
    kept = table.only(keep)
    dropped = len(table) - len(kept)
    by_kernel = {k: int((kept.columns["kernel"] == k).sum()) for k in kept.distinct("kernel")}
    share = ", ".join(f"{name} {rows:,}" for name, rows in by_kernel.items())
    note = f"several kernels timed the same shapes; the fastest stays ({share} rows)"
    return kept, Repair("fastest_kernel", table.path, lane, dropped, note)


def _codes(words: np.ndarray) -> NDArray[np.int64]:
    """Numbers for words, of which a table has few; numbers stay."""
    if words.dtype.kind in "iu":
        return words
    listed = words.tolist()
    place = {word: i for i, word in enumerate(set(listed))}
    return np.array([place[word] for word in listed]) if len(place) > 1 else np.zeros(len(words), np.int64)

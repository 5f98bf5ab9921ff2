"""Turn a design, given by its index or as a row of ``frontier.csv``, into a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InputError, Problem
from ..spec.deployment import Deployment, EngineGroup, Pool
from ..spec.parallelism import Parallelism
from ..spec.scheduling import DecodeOnly, PromptBatches, Scheduling, mixing_of, read_mixing
from .frontier_columns import MixPoints
from .pool_pair import workers_of
from .space import WIDTHS, DesignSpace

if TYPE_CHECKING:
    import pandas as pd


def deployment_of_design(space: DesignSpace, points: MixPoints, index: int) -> Deployment:
    """The deployment of one design.

    Parameters
    ----------
    points : of the mix that it serves; they decide the scheduler setting of colocated engines, and matched counts.
    """
    serving = str(space.mode(index))
    axis_indices = space.axis_indices(serving, [index])
    first = [int(values[0]) for values in axis_indices]
    if serving == "colocated":
        point, worker = first
        found = points.colocated
        assert found is not None
        mixing = mixing_of(int(found.mixing_kind[point]), int(found.mixing_size[point]))
        assert mixing is not None
        return Deployment(_pool(space.colocated.columns(point), space.decode_workers[worker], mixing))
    if space.ratios is None:
        p, worker_p, d, worker_d = first
        prefill_count, decode_count = space.prefill_workers[worker_p], space.decode_workers[worker_d]
    else:
        assert points.prefill is not None
        assert points.decode is not None
        p, d, _ = first
        counts = workers_of(space, points.prefill, points.decode, *axis_indices)
        prefill_count, decode_count = int(counts[0][0]), int(counts[1][0])
    prefill = space.prefill.columns(p)
    return Deployment(
        _pool(space.decode.columns(d), decode_count, DecodeOnly()),
        _pool(prefill, prefill_count, PromptBatches(int(prefill["cpp_chunk"]))),
    )


def deployment_of_row(row: Mapping[str, Any] | pd.Series[Any]) -> Deployment:
    """The deployment of one row of ``frontier.csv``, or of any table with its columns.

    Raises
    ------
    InputError
        A column is missing, or its value is invalid.
    """
    try:
        decode = {name: row[f"decode_{name}"] for name in ("gpu", "batch", *WIDTHS) if f"decode_{name}" in row}
        if row["serving"] == "colocated":
            return Deployment(_pool(decode, row["decode_workers"], read_mixing(str(row["scheduler"]))))
        names = ("gpu", "batch", "cpp_chunk", *WIDTHS)
        prefill = {name: row[f"prefill_{name}"] for name in names if f"prefill_{name}" in row}
        batches = PromptBatches(int(prefill.get("cpp_chunk", 0)))
        return Deployment(
            _pool(decode, row["decode_workers"], DecodeOnly()), _pool(prefill, row["prefill_workers"], batches)
        )  # fmt: skip
    except KeyError as error:
        raise InputError(
            Problem(str(error.args[0]), "is missing: a design needs the columns of frontier.csv")
        ) from None
    except (TypeError, ValueError) as error:
        raise InputError(Problem("", f"design {row.get('design_id', '')} cannot be read: {error}")) from None


def _pool(engine: Mapping[str, Any], count: Any, scheduling: Scheduling) -> Pool:
    """A pool of equal engines, from the columns of its axes without the pool's prefix."""
    layout = Parallelism(**{name: int(engine[name]) for name in WIDTHS if name in engine})
    return Pool((EngineGroup(str(engine["gpu"]), layout, int(count)),), scheduling, int(engine["batch"]))

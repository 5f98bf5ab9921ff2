"""Collectives between the GPUs of this host (NCCL), or between two processes on a CPU (gloo)."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import ParetosimError
from ...units import MIB
from .bench import DTYPE_BYTES, Bench, Measured, Row
from .capture_shapes import Grid, powers_of_two
from .timing import Call, Graph, Policy, time_on_cpu, time_on_cuda

# The format in which the imported NCCL tables hold every operation; the bytes count, not the format.
_DTYPE = "fp16"
_OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "alltoall")
# Twice filling this lasts about a millisecond at HBM rates: time for the host to enqueue a run's calls.
_HEAD_START_BYTES = 1024 * MIB


def widths(device: str) -> tuple[int, ...]:
    """Group sizes that can be measured here: powers of two up to the number of GPUs; empty for one GPU."""
    if device == "cpu":
        return (2,)
    import torch

    count = torch.cuda.device_count()
    return powers_of_two(2, count) if count >= 2 else ()


def measure(bench: Bench, grid: Grid) -> Measured:
    """Table ``collectives``.

    ``message_bytes`` is the whole array, as nccl-tests count it (their doc/PERFORMANCE.md): what each
    rank holds after an all-gather, before a reduce-scatter, and sends in an all-to-all.

    Raises
    ------
    ParetosimError
        A rank failed.
    """
    rows: list[Row] = []
    if bench.device == "cuda":
        import torch

        torch.cuda.empty_cache()  # the ranks are processes of their own and need this one's idle memory
    for width in widths(bench.device):
        with tempfile.TemporaryDirectory() as folder:
            _spawn(width, bench.device, grid.collective_bytes, bench.policy, Path(folder))
            rows += json.loads((Path(folder) / "rows.json").read_text())
        bench.progress(f"collectives: {width} ranks done")
    how = "each run 5 or 20 calls launched one by one, slowest rank, message is the whole array as in nccl-tests"
    return Measured(rows, how)


def _spawn(width: int, device: str, sizes: tuple[int, ...], policy: Policy, folder: Path) -> None:
    """Run `_rank` in ``width`` processes and wait; none outlives this call."""
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

    context = spawn(_rank, args=(width, device, sizes, policy, folder), nprocs=width, join=False)
    try:
        while not context.join():
            pass
    except (ProcessRaisedException, ProcessExitedException) as error:
        raise ParetosimError(f"collectives: {str(error).strip().splitlines()[-1]}") from error
    finally:
        for process in context.processes:
            if process.is_alive():
                process.terminate()


def _rank(rank: int, width: int, device: str, sizes: tuple[int, ...], policy: Policy, folder: Path) -> None:
    """One process of the group; rank 0 writes the rows."""
    import torch
    import torch.distributed as dist

    here = torch.device(device, rank) if device == "cuda" else torch.device("cpu")
    rendezvous = f"file://{folder / 'rendezvous'}"
    if device == "cuda":
        torch.cuda.set_device(here)
        dist.init_process_group("nccl", init_method=rendezvous, rank=rank, world_size=width, device_id=here)
    else:
        torch.set_num_threads(1)  # the ranks share this machine's cores
        # All ranks are on this host; its name need not resolve to an address gloo can bind.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=width)
    latencies = torch.tensor(
        [_time(op, size, width, here, policy) for op in _OPERATIONS for size in sizes],
        dtype=torch.float64,
        device=here,
    )
    dist.all_reduce(latencies, dist.ReduceOp.MAX)
    if rank == 0:
        _write(folder / "rows.json", dist.get_backend(), width, sizes, latencies.tolist())
    dist.destroy_process_group()


def _write(path: Path, kernel: str, width: int, sizes: tuple[int, ...], latencies_s: list[float]) -> None:
    keys = [(op, size) for op in _OPERATIONS for size in sizes]
    rows = [
        {"kernel": kernel, "operation": op, "dtype": _DTYPE, "gpus": width, "message_bytes": size, "latency_s": t}
        for (op, size), t in zip(keys, latencies_s, strict=True)
    ]
    path.write_text(json.dumps(rows))


def _time(operation: str, message_bytes: int, width: int, here: Any, policy: Policy) -> float:
    """Seconds of one collective on this rank."""
    import torch
    import torch.distributed as dist

    count = message_bytes // DTYPE_BYTES[_DTYPE]
    whole, other, part = (
        torch.zeros(length, dtype=torch.float16, device=here) for length in (count, count, count // width)
    )
    # torch renamed two of them and warns at the old names.
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
    call: Call = {
        "all_reduce": partial(dist.all_reduce, whole),
        "all_gather": partial(gather, whole, part),
        "reduce_scatter": partial(scatter, part, whole),
        "alltoall": partial(dist.all_to_all_single, other, whole),
    }[operation]
    # Every rank must make the same number of calls, so that number cannot follow each rank's own clock.
    repeats = 20 if message_bytes <= MIB else 5
    if here.type == "cpu":
        return time_on_cpu([call], policy, repeats=repeats, before_run=dist.barrier).latency_s
    scratch = torch.empty(_HEAD_START_BYTES, dtype=torch.uint8, device=here)

    def line_up() -> None:
        dist.barrier()
        scratch.zero_()
        scratch.zero_()

    # No CUDA graph: whether torch's process groups survive a replay depends on the version
    # (sgl-project/sglang#33775), and nccl-tests, which made the imported tables, launches call by call too.
    stream = torch.cuda.Stream()
    return time_on_cuda([call], policy, stream, repeats=repeats, before_run=line_up, graph=Graph.NEVER).latency_s

"""Arguments that several commands share: executor, output folder and checkpoint folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..execution.executor import ExecutionOptions

RUNS = Path("runs")


def execution_options(args: argparse.Namespace) -> ExecutionOptions:
    """``--executor``, ``--jobs``, ``--ray-address`` and ``--resume``; the checkpoint lies beside the output folder."""
    journal = (args.out.parent if args.out else RUNS) / ".journal"
    return ExecutionOptions(args.executor, args.jobs, args.ray_address, journal, args.resume)

"""The profiles that a command asks: their folders, and what stands in for an engine's own calibration."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError
from ..profiles.store import Store, default_roots
from ..spec.calibration import load_calibration


def store_of(args: argparse.Namespace) -> Store:
    """Profiles as ``--profiles``, ``--calibration`` and ``--uncalibrated`` say.

    Raises
    ------
    InputError
        A calibration that cannot be read, or two of one engine.
    """
    roots = default_roots(args.profiles)
    if args.uncalibrated and args.calibration:
        raise InputError("give either --calibration or --uncalibrated")
    if args.uncalibrated:
        return Store(roots, {})
    if not args.calibration:
        return Store(roots)
    shipped = Store(roots)
    calibrations = {name: shipped.engine(name).calibration for name in shipped.engine_names()}
    given: dict[str, Path] = {}
    for path in args.calibration:
        engine, found = load_calibration(path)
        if engine in given:
            raise InputError(
                f"--calibration: {given[engine]} and {path} are both of {engine}; calibrate on the rows of both"
            )
        given[engine], calibrations[engine] = path, found
    return Store(roots, calibrations)

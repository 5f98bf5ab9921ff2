"""The profiles that a command asks: their folders, and what stands in for an engine's own calibration."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ..errors import InputError
from ..profiles.store import Store, default_roots
from ..spec.calibration import Calibration, load_calibration


def store_of(args: argparse.Namespace) -> Store:
    """Profiles as ``--profiles``, ``--calibration`` and ``--uncalibrated`` say.

    Raises
    ------
    InputError
        A calibration that cannot be read.
    """
    roots = default_roots(args.profiles)
    if args.uncalibrated and args.calibration:
        raise InputError("give either --calibration or --uncalibrated")
    if args.uncalibrated:
        return Store(roots, {})
    if not args.calibration:
        return Store(roots)
    shipped = Store(roots)
    calibrations: Mapping[str, Calibration] = {
        **{name: shipped.engine(name).calibration for name in shipped.engine_names()},
        **dict(map(load_calibration, args.calibration)),
    }
    return Store(roots, calibrations)

"""Find a study by name or path, and load it."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, did_you_mean
from .study import Study


def shipped() -> dict[str, Path]:
    """Studies that come with the package, by name."""
    package = Path(__file__).resolve().parents[1]
    # Inside a wheel they travel in the package; in a clone they lie with the scenarios.
    folders = (package / "scenarios" / "studies", package.parent / "scenarios" / "studies")
    found = next((folder for folder in folders if folder.is_dir()), folders[0])
    return {path.stem: path for path in sorted(found.glob("*.yaml"))}


def load_study(name: str) -> Study:
    """A study by its name, or from the path of a file.

    Raises
    ------
    InputError
        No such study; or every problem of the file at once, each as ``file:line:col: key: what is wrong``.
    """
    from .schema_study import checked_study  # pydantic takes 0.1 s to import

    known = shipped()
    if name in known:
        return checked_study(known[name])
    if name.endswith((".yaml", ".yml")):
        return checked_study(Path(name))
    raise InputError(f"no study {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}, or the path of a file")

"""The errors a user can meet, and the exit code each one ends with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the input: where it stands, which key, what and how to mend it.

    Attributes
    ----------
    key : dotted path of the key, e.g. ``space.tp.2``; empty when the whole file is meant.
    message : what is wrong and, where one is known, the remedy.
    location : ``file:line:col``, or empty when the input did not come from a file.
    """

    key: str
    message: str
    location: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.location, self.key, self.message) if part)


class ParetosimError(Exception):
    """Anything paretosim gives up on; the command line prints it in one line and exits with 1."""

    exit_code = 1


class InputError(ParetosimError):
    """The input is wrong. Carries every problem found, one line each; exit code 2."""

    exit_code = 2

    def __init__(self, problems: Problem | str | Iterable[Problem]):
        if isinstance(problems, str):
            problems = Problem("", problems)
        if isinstance(problems, Problem):
            problems = (problems,)
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class ProfileError(InputError):
    """A table, sidecar or GPU folder that the question needs is missing or cannot be trusted."""


class NotMeasured(ProfileError):
    """Nobody measured what is asked for; the tables that are there can be trusted."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint such as ``" (did you mean 'isl'?)"``, or an empty string when nothing is close."""
    near = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""

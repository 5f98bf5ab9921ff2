"""Join measured rows to the launch recipes of the public benchmark, one recipe a line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem, did_you_mean
from ..profiles.store import Store
from ..spec.precision import CACHE_FORMATS, FORMATS
from .rows import MODE_LABELS, Row

FILE = Path("recipes") / "inferencex.csv"
"""Where recipes lie in a folder of profiles."""
Deployed = tuple[str, str, str, str, str, bool]
"""Engine, model, GPU, weights, mode and speculation, which every recipe states."""


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("no whole number")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("no number") from None


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("no true or false")
    return text == "true"


def _one_of(*known: str) -> Callable[[str], str]:
    def kind(text: str) -> str:
        if text not in known:
            raise ValueError(f"none of {', '.join(known)}{did_you_mean(text, known)}")
        return text

    return kind


def _counts(text: str) -> frozenset[int]:
    return frozenset(_whole(part) for part in text.split())


@dataclass(frozen=True, slots=True)
class Switch:
    """A setting that the launch script itself changes with the clients: ``10;16:30`` is 10, and 30 from 16 clients on.

    Attributes
    ----------
    below, above : the setting, with fewer clients than `clients` and from there on; None: the engine's default.
    clients : where the script changes it.
    """

    below: Any
    clients: int
    above: Any

    @classmethod
    def read(cls, text: str, kind: Callable[[str], Any]) -> Any:
        """The switch, or the setting itself where the cell holds no ``;``."""
        below, mark, rest = text.partition(";")
        if not mark:
            return kind(text)
        clients, _, above = rest.partition(":")
        return cls(kind(below) if below else None, _whole(clients), kind(above) if above else None)

    def at(self, clients: int) -> Any:
        """The setting under so many clients."""
        return self.above if clients >= self.clients else self.below


DEPLOYED: dict[str, Callable[[str], Any]] = {
    "engine": str, "model": str, "gpu": str, "weights": _one_of(*FORMATS), "mode": _one_of(*MODE_LABELS.values()),
    "speculative": _flag,
}  # fmt: skip
CONDITIONS: dict[str, Callable[[str], Any]] = {
    "version": str, "clients": _counts, **dict.fromkeys(("isl", "osl", "prefill_workers", "prefill_tp",
    "prefill_attn_dp", "prefill_moe_ep", "workers", "tp", "attn_dp", "moe_ep"), _whole),
}  # fmt: skip
"""Columns that narrow the rows of a recipe; an empty one does not.

``clients`` are the counts for which the benchmark's configuration names this launch file; they are given only where it
runs the same engines with several files, which differ in the places of a decode engine."""
SPREADS = ("attention_dp", "all")
"""Engines that spread their experts over all GPUs though their label cuts them: those with attention DP, or all."""
SETTINGS: dict[str, Callable[[str], Any]] = {
    "token_budget": _whole, "budget_beside_prompt_and_clients": _whole, "max_sequences": _whole, "poll": _whole,
    "wait_steps": _whole, "wait_share": _number, "rank_wait_steps": _whole, "prompt_graph_tokens": _whole,
    "kv_cache": _one_of(*CACHE_FORMATS), "spread_experts": _one_of(*SPREADS), "tensor_parallel": _flag,
    "draft_tokens": _whole, "acceptance": _number, "verified_us": _number, "prompts_per_slot": _whole,
    "prefill_tokens": _whole, "decode_max_sequences": _whole, "eplb": _flag,
}  # fmt: skip
"""Columns of launch settings; an empty one means the engine's default, and each may be a `Switch`."""
SOURCE = ("assumed", "source", "commit", "read")


@dataclass(frozen=True, slots=True)
class Recipe:
    """One launch configuration, and which rows it served.

    Attributes
    ----------
    deployed, conditions : what a row must equal; its version only begins with ``version``.
    settings : settings of the launch command, or switches between two.
    assumed : which settings are assumptions, or were chosen on measured rows.
    source, commit, read : where the recipe is published, and when it was read.
    where : file and line.
    """

    deployed: Deployed
    conditions: Mapping[str, Any]
    settings: Mapping[str, Any]
    assumed: str
    source: str
    commit: str
    read: str
    where: str

    def serves(self, facts: Mapping[str, Any]) -> bool:
        """Whether the recipe launched a row with these `row_facts`."""
        return all(
            facts["clients"] in value if name == "clients"
            else facts["version"].startswith(value) if name == "version"
            else facts[name] == value
            for name, value in self.conditions.items()
        )  # fmt: skip


@dataclass(frozen=True)
class Recipes:
    """Recipes by what they deploy; the order of the file does not matter."""

    by_deployed: Mapping[Deployed, Sequence[Recipe]] = field(default_factory=dict)

    @classmethod
    def of(cls, recipes: Sequence[Recipe]) -> Recipes:
        """Group recipes, given in any order."""
        found: dict[Deployed, list[Recipe]] = {}
        for recipe in recipes:
            found.setdefault(recipe.deployed, []).append(recipe)
        return cls(found)

    def settings(self, row: Row) -> Mapping[str, Any] | None:
        """Launch settings of a row's recipe; None where it has none, and the engine's defaults hold."""
        recipe = self.recipe(row)
        if recipe is None:
            return None
        said = {k: v.at(row.concurrency) if isinstance(v, Switch) else v for k, v in recipe.settings.items()}
        return {name: value for name, value in said.items() if value is not None}

    def recipe(self, row: Row) -> Recipe | None:
        """The recipe that launched a row, or None.

        Raises
        ------
        InputError
            Two recipes serve the row.
        """
        deployed = (row.engine, row.model, row.gpu, row.weights, row.mode, row.speculative)
        candidates = self.by_deployed.get(deployed, ())
        facts = row_facts(row) if candidates else {}
        served = [recipe for recipe in candidates if recipe.serves(facts)]
        if len(served) > 1:
            locations = " and ".join(recipe.where for recipe in served)
            raise InputError(Problem("", f"both serve row {row.index + 2}: tell them apart", locations))
        return served[0] if served else None


NONE = Recipes()
"""No recipe: every row is launched with its engine's defaults, as for a user without recipes."""


def row_facts(row: Row) -> dict[str, Any]:
    """Facts of a row that conditions of recipes refer to."""
    first, last = row.pools[0], row.pools[-1]
    return {
        "version": row.version, "isl": row.isl, "osl": row.osl, "clients": row.concurrency,
        "prefill_workers": first.workers, "prefill_tp": first.tp, "prefill_attn_dp": first.attn_dp,
        "prefill_moe_ep": first.moe_ep, "workers": last.workers, "tp": last.tp, "attn_dp": last.attn_dp,
        "moe_ep": last.moe_ep,
    }  # fmt: skip


def read_recipes(path: Path) -> Recipes:
    """Recipes of a file.

    Raises
    ------
    InputError
        A column or a value is unknown, or a recipe has no source.
    """
    columns = (*DEPLOYED, *CONDITIONS, *SETTINGS, *SOURCE)
    with path.open(newline="") as lines:
        reader = csv.DictReader(lines)
        header = reader.fieldnames or ()
        problems = [
            Problem(name, f"unknown column{did_you_mean(name, columns)}", f"{path}:1")
            for name in header if name not in columns
        ]  # fmt: skip
        problems += [Problem(name, "the column is missing", f"{path}:1") for name in columns if name not in header]
        if problems:
            raise InputError(problems)
        found = [_recipe(record, f"{path}:{reader.line_num}", problems) for record in reader]
    if problems:
        raise InputError(problems)
    return Recipes.of(found)


def shipped_recipes(store: Store) -> Recipes:
    """Recipes among the store's profiles; the first folder that has some."""
    path = next((root / FILE for root in store.roots if (root / FILE).exists()), None)
    return NONE if path is None else read_recipes(path)


def _recipe(record: Mapping[str, str], where: str, problems: list[Problem]) -> Recipe:
    def values(kinds: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
        found = {}
        for name, kind in kinds.items():
            if text := record[name]:
                try:
                    found[name] = Switch.read(text, kind) if kinds is SETTINGS else kind(text)
                except ValueError as error:
                    problems.append(Problem(name, f"{text!r} is {error}", where))
        return found

    deployed = values(DEPLOYED)
    problems += [Problem(name, "is missing", where) for name in (*DEPLOYED, "source", "read") if not record[name]]
    named = tuple(deployed.get(name, "") for name in DEPLOYED)
    said = {name: record[name] for name in SOURCE}
    return Recipe(named, values(CONDITIONS), values(SETTINGS), where=where, **said)

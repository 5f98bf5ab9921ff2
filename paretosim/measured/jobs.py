"""Run many rows on several cores: rows that share compiled steps go to one worker, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from ..errors import InputError
from ..profiles.store import Store
from .launch import PROMPTS_PER_SLOT
from .recipes import Recipes
from .replay import Replay, Replayer
from .rows import Row

Progress = Callable[[int, int, str], None]
Answer = Replay | str
"""What a row delivers, or why it has no answer."""
_SLICE = 40_000  # requests of a task: short enough that workers end together


def replay_all(
    rows: Sequence[Row], store: Store, jobs: int = 1, prompts_per_slot: int | None = None,
    recipes: Recipes | None = None, progress: Progress | None = None,
) -> list[Answer]:  # fmt: skip
    """Answers for each row, in their order.

    Parameters
    ----------
    jobs : processes; 1 runs here.
    prompts_per_slot : of the client, in place of what the launch scripts say.
    recipes : of launches, in place of those among the profiles.
    """
    tasks = _tasks(rows)
    answers: dict[int, Answer] = {}

    def keep(found: list[tuple[int, Answer]]) -> None:
        answers.update(found)
        if progress is not None:
            progress(len(answers), len(rows), "rows")

    if jobs == 1 or len(tasks) == 1:
        for task in tasks:
            keep(_work(task, store, prompts_per_slot, recipes))
    else:
        with ProcessPoolExecutor(jobs) as pool:
            waiting = [pool.submit(_work, task, store, prompts_per_slot, recipes) for task in tasks]
            try:
                for ready in as_completed(waiting):
                    keep(ready.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return [answers[place] for place in range(len(rows))]


def _tasks(rows: Sequence[Row]) -> list[list[tuple[int, Row]]]:
    """Rows of one kind together, large groups cut, the longest tasks first."""
    groups: dict[tuple[Any, ...], list[tuple[int, Row]]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(row.group, []).append((place, row))
    tasks: list[list[tuple[int, Row]]] = []
    for group in groups.values():
        size = 0
        task: list[tuple[int, Row]] = []
        for place, row in sorted(group, key=lambda pair: -pair[1].concurrency):
            if task and size + row.concurrency * PROMPTS_PER_SLOT > _SLICE:
                tasks.append(task)
                task, size = [], 0
            task.append((place, row))
            size += row.concurrency * PROMPTS_PER_SLOT
        tasks.append(task)
    return sorted(tasks, key=lambda task: -sum(row.concurrency for _, row in task))


def _work(
    task: list[tuple[int, Row]], store: Store, prompts_per_slot: int | None, recipes: Recipes | None
) -> list[tuple[int, Answer]]:
    replayer = Replayer(store, prompts_per_slot, recipes)
    found: list[tuple[int, Answer]] = []
    for place, row in task:
        try:
            found.append((place, replayer.run(row)))
        except InputError as error:
            found.append((place, str(error)))
    return found

"""Prompts that wait for company: attention-data-parallel ranks compute prompts together, or wait for each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

from .scheduling import AdmittingEngine


@dataclass(slots=True)
class RankWait:
    """While every rank decodes, prompts wait until each rank has one to compute, or a count of steps ends.

    A step lasts as long as on the rank with most to do, so that one prompt costs what a prompt a rank costs. A request
    belongs to the rank that has the fewest when it comes, and the count runs on from the last step that took prompts
    (TensorRT-LLM, ``PyExecutor._balance_adp_requests``).

    Attributes
    ----------
    since : number of the first step that is counted.
    """

    since: int = 0
    _rank: dict[int, int] = field(default_factory=dict)  # of each request that is here

    def steps_left(self, engine: AdmittingEngine, most: int, max_sequences: int) -> int:
        """Decode steps for which prompts still wait, 0 where they go ahead.

        Parameters
        ----------
        engine : the engine.
        most : steps after which prompts go ahead; 0 and 1 do not wait.
        max_sequences : most sequences of the engine.
        """
        ranks, free = engine.steps.ranks, max_sequences - len(engine.running) - len(engine.prompts)
        if most < 2 or ranks == 1 or free <= 0:
            return 0
        self._assign(engine, ranks)
        if engine.prompts or len(engine.running) < ranks:
            return 0
        if len({self._rank[request] for request in islice(engine.waiting, free)}) == ranks:
            return 0
        return most - 1 - (engine.count - self.since) % most

    def taken(self, engine: AdmittingEngine) -> None:
        """The step that begins takes a prompt."""
        self.since = engine.count + 1

    def _assign(self, engine: AdmittingEngine, ranks: int) -> None:
        """Give requests without a rank the one with the fewest requests, and forget those that have left."""
        old = self._rank
        if all(request in old for request in engine.waiting):
            return
        here = [*engine.running, *engine.prompts, *engine.waiting]
        self._rank = {request: old[request] for request in here if request in old}
        held = [0] * ranks
        for rank in self._rank.values():
            held[rank] += 1
        for request in here:
            if request not in old:
                self._rank[request] = rank = held.index(min(held))
                held[rank] += 1

"""KV blocks of one engine: taken at admission, and then as running sequences grow, until none is free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil


class KvMemory:
    """Blocks of one engine, all ranks together.

    A request takes its prompt's blocks and those of a share of its output when it is admitted; beyond that it takes a
    block when its context needs one. With a share of one nothing ever runs out after admission.

    Attributes
    ----------
    capacity : blocks.
    block_tokens : tokens of one.
    output_share : share of the output set aside at admission, in 0..1.
    taken : blocks taken at admission, summed.
    shared : blocks among them that several requests share, beyond the first use of each.
    """

    __slots__ = ("_held", "block_tokens", "capacity", "output_share", "shared", "taken")

    def __init__(self, capacity: int, block_tokens: int, output_share: float):
        self.capacity, self.block_tokens, self.output_share = capacity, block_tokens, output_share
        self.taken = self.shared = 0
        self._held: dict[int, int] = {}

    @property
    def room(self) -> int:
        """Blocks that running sequences can grow into."""
        return self.capacity - self.taken + self.shared

    def blocks(self, tokens: float) -> int:
        """Blocks that hold `tokens` tokens."""
        return ceil(tokens / self.block_tokens)

    def wanted(self, prompt: int, output: int) -> int:
        """Blocks that a request takes at admission."""
        return self.blocks(prompt + ceil(self.output_share * output))

    def ever_fits(self, prompt: int, output: int) -> bool:
        """Whether an empty engine could serve it to its end."""
        return self.blocks(prompt + output) <= self.capacity

    def admit(self, request: int, wanted: int, at_most: float, grown: Callable[[], int]) -> bool:
        """Take blocks for a request; False if too few are free.

        Parameters
        ----------
        request : id of the request.
        wanted : blocks to take.
        at_most : upper bound of the blocks in use beyond `taken`; if those fit, they are not counted.
        grown : counts them, which is slow for large batches.
        """
        free = self.room - wanted
        if at_most > free and grown() > free:
            return False
        self._held[request] = wanted
        self.taken += wanted
        return True

    def release(self, request: int) -> None:
        """Free all blocks of a request."""
        self.taken -= self._held.pop(request)

    def grown(self, contexts: Mapping[int, float], more: float = 0) -> int:
        """Blocks in use beyond `taken` when each running sequence has `more` tokens than now."""
        held, size = self._held, self.block_tokens
        total = 0
        for request, context in contexts.items():
            over = ceil((context + more) / size) - held[request]
            if over > 0:
                total += over
        return total

    def grown_at_most(self, gained: float, sequences: int) -> float:
        """Upper bound of `grown`: `gained` tokens since admission, over all `sequences`."""
        return gained / self.block_tokens + sequences if self.output_share < 1 else 0.0

    def steps_until_full(self, contexts: Mapping[int, float], growth: float, most: int) -> int:
        """Steps, up to `most`, for which every running sequence still finds its blocks; 0 if not even for one.

        A step stores the newest token of each context, and what it generates is stored by the next one (vLLM v1).
        """
        room = self.room
        if self.grown(contexts, growth * (most - 1)) <= room:
            return most
        low, high = 0, most
        while high - low > 1:
            middle = (low + high) // 2
            if self.grown(contexts, growth * (middle - 1)) <= room:
                low = middle
            else:
                high = middle
        return low

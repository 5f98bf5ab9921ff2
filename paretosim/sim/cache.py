"""What an engine asks of a cache of computed prompts."""

from __future__ import annotations

from typing import Protocol


class PromptCache(Protocol):
    """Blocks of computed prompts of one engine, and tiers below its memory."""

    def cached(self, request: int) -> int:
        """Tokens of a request's prompt that are here, without touching anything (for routers)."""
        ...

    def begin(self, request: int, now_s: float) -> tuple[int, float]:
        """A prompt begins: tokens that need not be computed, and seconds of loading them from lower tiers."""
        ...

    def computed(self, request: int) -> None:
        """A prompt is complete; its blocks can be shared from now on."""
        ...

    def release(self, request: int) -> None:
        """A request is gone; its blocks stay until something else needs the room."""
        ...

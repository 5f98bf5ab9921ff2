"""Over how many GPUs is an engine cut, in each parallel dimension?"""

from __future__ import annotations

from typing import Any


class Widths:
    """What follows from the widths of a layout, numbers or arrays over layouts."""

    __slots__ = ()
    tp: Any
    pp: Any
    cp: Any
    attn_dp: Any
    moe_ep: Any

    @property
    def width(self) -> Any:
        """GPUs of one stage."""
        return self.tp * self.cp * self.attn_dp

    @property
    def token_groups(self) -> Any:
        """Groups of ``tp`` GPUs of one stage that hold different tokens."""
        return self.cp * self.attn_dp

    @property
    def moe_tp(self) -> Any:
        """GPUs that share one expert."""
        return self.width // self.moe_ep

    @property
    def gpus(self) -> Any:
        """GPUs of one engine."""
        return self.width * self.pp

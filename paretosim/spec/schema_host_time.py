"""What may ``host_time`` of a scenario hold? A price for every term of `paretosim.spec.host_time`, in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, create_model

from .host_time import HostTime, by_term
from .schema_values import Keys, NotNegative

if TYPE_CHECKING:
    _Prices = Keys
else:
    _Prices = create_model("_Prices", __base__=Keys, **by_term(lambda term: (NotNegative, 0.0)))


class HostTimeKeys(_Prices):
    """Host time of a step, in seconds; replaces the engine's own."""

    graph_tokens: Annotated[int, Field(ge=0)] = 0

    def host(self) -> HostTime:
        """As the package speaks of it."""
        prices_s: dict[str, Any] = by_term(lambda term: getattr(self, term.name))
        return HostTime.of(prices_s, self.graph_tokens)

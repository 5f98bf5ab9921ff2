"""What does an engine's host add to the kernels of a step? One list of terms, each with its price.

A term is a field of `HostTime`. The price of a step in a sweep (`paretosim.cost.steps.calibrated`) and in a simulation
(`paretosim.sim.steps`), the regressors of the fit (`paretosim.measured.regressors`), the parameters of a calibration
and the keys of a scenario's ``host_time`` follow from that list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeVar

Per = Literal["step", "layer", "sequence", "token", "launch"]
"""What a price is paid for: a step, a layer of the model, a running sequence or a new prompt token (both shared by
attention-data-parallel ranks), or an operation that the host launches while the GPU works (a step takes its kernels or
its launches, whichever is longer)."""
Steps = Literal["all", "decode", "prompt"]
"""Which steps pay: all, decode steps (without prompts) or prompt steps."""
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class HostTerm:
    """One term of the host time of a step.

    Attributes
    ----------
    name : its field of `HostTime` is ``<name>_s``, its parameter ``<name>_us``, its key in a scenario ``<name>``.
    per : what the price is paid for.
    steps : which steps pay it.
    high_us : largest price that is physically plausible [µs].
    """

    name: str
    per: Per
    steps: Steps
    high_us: float

    def paid(self, prompts: bool) -> bool:
        """Whether steps with (or without) prompts pay it."""
        return self.steps == "all" or (self.steps == "prompt") == prompts


def _term(per: Per, steps: Steps, high_us: float) -> Any:
    return field(default=0.0, metadata={"term": (per, steps, high_us)})


class HostLaw(NamedTuple):
    """Host time of steps with prompts, or of those without, in one layout: the terms summed up, all stages together.

    Attributes
    ----------
    fixed_s : of each step [s].
    sequence_s, token_s : of each running sequence and each new prompt token, shared by the ranks [s].
    launches_s : least time of a step that is no CUDA graph [s].
    graph_tokens : see `HostTime`.
    ranks : attention-data-parallel ranks, each with its own host process; an array for several layouts.
    """

    fixed_s: float
    sequence_s: float
    token_s: float
    launches_s: Any
    graph_tokens: int
    ranks: Any

    def added_s(self, sequences: Any, tokens: Any) -> Any:
        """What nothing hides in a step of running sequences and new prompt tokens, numbers or arrays [s]."""
        return self.fixed_s + (self.sequence_s * sequences + self.token_s * tokens) / self.ranks

    def launching_s(self, sequences: Any, tokens: Any) -> Any:
        """Least time of such a step, whatever its kernels take [s]."""
        return self.launches_s * ((sequences + tokens) / self.ranks > self.graph_tokens)


@dataclass(frozen=True, slots=True)
class HostTime:
    """Prices of the host's work [s].

    Attributes
    ----------
    step_s : scheduling, sampling, launches that nothing hides.
    decode_layer_s : gaps between the kernels of a layer in a step without prompts.
    launch_s : one operation of a step with prompts; `paretosim.cost.operators.layer.Part.launches` counts them.
    sequence_s : a running sequence of a rank.
    token_s : a prompt token of a rank.
    graph_tokens : up to which a step with prompts is one CUDA graph, which costs no launches [token of a rank].
    """

    step_s: float = _term("step", "all", 3000.0)
    decode_layer_s: float = _term("layer", "decode", 40.0)
    launch_s: float = _term("launch", "prompt", 200.0)
    sequence_s: float = _term("sequence", "all", 40.0)
    token_s: float = _term("token", "all", 12.0)
    graph_tokens: int = 0

    @classmethod
    def of(cls, prices_s: Mapping[str, float], graph_tokens: int = 0) -> HostTime:
        """From prices by a term's name [s]; what is missing costs nothing."""
        return cls(**{f"{name}_s": price for name, price in prices_s.items()}, graph_tokens=graph_tokens)

    def price_s(self, term: HostTerm) -> float:
        """Price of a term [s]."""
        price: float = getattr(self, f"{term.name}_s")
        return price

    def law(self, prompts: bool, layers: int, launches: Any, ranks: Any) -> HostLaw:
        """Host time of steps with (or without) prompts.

        Parameters
        ----------
        layers : of the model, all stages together.
        launches : operations of a step with prompts, all stages together; an array for several layouts.
        ranks : see `HostLaw`.
        """
        prices = [(term.per, self.price_s(term)) for term in HOST_TERMS if term.paid(prompts)]

        def total(kind: Per) -> float:
            return sum(price for per, price in prices if per == kind)

        fixed_s = total("step") + total("layer") * layers
        return HostLaw(fixed_s, total("sequence"), total("token"), total("launch") * launches, self.graph_tokens, ranks)


def _terms(kind: type) -> Iterable[HostTerm]:
    for each in fields(kind):
        if "term" in each.metadata:
            yield HostTerm(each.name.removesuffix("_s"), *each.metadata["term"])


HOST_TERMS: tuple[HostTerm, ...] = tuple(_terms(HostTime))
"""Every term of the host time of a step."""


def by_term(value: Callable[[HostTerm], Value]) -> dict[str, Value]:
    """A value for each term, by its name."""
    return {term.name: value(term) for term in HOST_TERMS}

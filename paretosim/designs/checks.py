"""What can be wrong with a scenario beyond its grammar: names, layouts and memory, checked before any scoring."""

from __future__ import annotations

from collections.abc import Iterator

from ..cost.stage import check_lanes
from ..errors import InputError, Problem, did_you_mean
from ..profiles.store import Store
from ..spec.model import ModelSpec, load_model
from ..spec.parallelism import Parallelism, illegal_experts, illegal_pp, illegal_tp
from ..spec.scenario import Scenario
from ..units import GIB
from .points import Engines
from .space import DesignSpace


def check_names(scenario: Scenario, store: Store) -> ModelSpec:
    """The model, once every name of the scenario is known and every layout divides it.

    Raises
    ------
    InputError
        Every problem at once, each located in the scenario.
    """
    problems: list[Problem] = []
    known = store.gpus()
    for gpu in scenario.hardware.names:
        if gpu not in known:
            message = f"no GPU {gpu!r}{did_you_mean(gpu, known)}; known: {', '.join(known)}"
            problems.append(scenario.problem(("hardware",), message))
    if scenario.engine not in store.engine_names():
        names = store.engine_names()
        message = f"no engine {scenario.engine!r}{did_you_mean(scenario.engine, names)}; known: {', '.join(names)}"
        problems.append(scenario.problem(("engine",), message))
    model = None
    try:
        model = load_model(scenario.model, scenario.folder)
    except InputError as error:
        problems += [p if p.where else scenario.problem(("model",), p.message) for p in error.problems]
    if model is not None and scenario.engine in store.engine_names():
        try:
            check_lanes(model, scenario.precision, store.engine(scenario.engine))
        except InputError as error:
            problems += [scenario.problem(("precision",), p.message) for p in error.problems]
    if model is not None:
        for axis, why in (("tp", illegal_tp), ("pp", illegal_pp)):
            for width in getattr(scenario.space, axis):
                if (reason := why(width, model)) is not None:
                    problems.append(scenario.problem(("space", axis), reason))
        problems += _useless_widths(scenario, model)
        domains = {g: store.gpu(g).gpus_per_domain for g in scenario.hardware.names if g in known}
        for tp in scenario.space.tp:
            if domains and all(tp > size and tp % size for size in domains.values()):
                most = ", ".join(f"{gpu} has {size}" for gpu, size in domains.items())
                problems.append(
                    scenario.problem(
                        ("space", "tp"), f"{tp} is neither within nor a multiple of any link domain: {most}"
                    )
                )
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    assert model is not None
    return model


def _useless_widths(scenario: Scenario, model: ModelSpec) -> Iterator[Problem]:
    """Widths of attention data parallelism and of expert spreading that no layout of the space can take."""
    space = scenario.space
    layouts = [Parallelism(tp, attn_dp=dp, moe_ep=ep) for tp in space.tp for dp in space.attn_dp for ep in space.moe_ep]
    reasons = {layout: illegal_experts(layout, model) for layout in layouts}
    for key, name, values in (("attn_dp", "attn_dp", space.attn_dp), ("ep", "moe_ep", space.moe_ep)):
        for value in values:
            why = [reason for layout, reason in reasons.items() if getattr(layout, name) == value]
            if all(why):
                yield scenario.problem(("space", key), f"no layout can have {value}: {why[-1]}")


def check_memory(scenario: Scenario, engines: Engines, space: DesignSpace) -> None:
    """At least one layout must hold the weights and one request of each mix.

    Raises
    ------
    InputError
        None does; names the roomiest layout and what it lacks. Or no layout is within ``max_gpus``.
    """
    layouts = {(gpu, lay) for pool in (space.colocated, space.prefill, space.decode)
               for gpu, lay, _ in engines.layouts(pool)}  # fmt: skip
    small = [(gpu, layout) for gpu, layout in layouts if layout.gpus <= space.max_gpus]
    if not small:
        smallest = min((layout.gpus for _, layout in layouts), default=0)
        message = f"the space is empty: max_gpus is {space.max_gpus:g}, the smallest engine has {smallest} GPUs"
        raise InputError(scenario.problem(("space", "max_gpus"), message))
    problems = []
    for mix in scenario.workload.mixes:
        rooms = {(gpu, layout): _room(engines, gpu, layout, mix.isl + mix.osl) for gpu, layout in sorted(small)}
        gpu, layout = max(rooms, key=lambda where: rooms[where])
        if (room := rooms[gpu, layout]) < 0:
            memory = engines.memory(gpu, layout)
            message = (
                f"{engines.model.name} in {scenario.precision.weights} fits no GPU of the space: the roomiest layout, "
                f"{layout} on {gpu}, has {memory.hbm_bytes / GIB:.0f} GiB a GPU, of which weights take "
                f"{memory.weight_bytes / GIB:.1f} and buffers "
                f"{memory.buffer_bytes / GIB:.1f}, and lacks {-room / GIB:.1f} GiB for one request of "
                f"{mix.isl}/{mix.osl}; widen tp or pp, or lower the precision"
            )
            problems.append(scenario.problem(("model",), message))
    if problems:
        raise InputError(problems)


def _room(engines: Engines, gpu: str, layout: Parallelism, tokens: int) -> float:
    memory = engines.memory(gpu, layout)
    budget = min(engines.kernels[gpu].engine.token_budget, tokens)
    return float(memory.kv_capacity_bytes(budget, 1) - memory.kv_bytes(tokens))

"""Check a scenario beyond its schema before anything is scored: names, layouts, formats and memory."""

from __future__ import annotations

from collections.abc import Iterator

from ..cost.kernels.supported_formats import format_problems
from ..cost.operators.expert_loads import has_expert_exchange
from ..cost.operators.stage import check_lanes
from ..cost.operators.unused_settings import unused_settings
from ..errors import InputError, Problem, did_you_mean
from ..profiles.store import Store
from ..spec.context_length import too_long
from ..spec.engine import EngineSpec
from ..spec.model import ModelSpec, load_model
from ..spec.parallelism import Layouts, Parallelism, illegal_cp, illegal_experts, illegal_pp, illegal_tp
from ..spec.scenario import Scenario
from ..spec.served_formats import decided, wrong_word
from ..units import GIB
from .blend import BLEND
from .compiled_engines import Engines
from .space import DesignSpace


def check_names(scenario: Scenario, store: Store) -> ModelSpec:
    """Check the names and the axes of a scenario, and load its model.

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
    names = store.engine_names()
    engine = store.engine(scenario.engine) if scenario.engine in names else None
    if engine is None:
        message = f"no engine {scenario.engine!r}{did_you_mean(scenario.engine, names)}; known: {', '.join(names)}"
        problems.append(scenario.problem(("engine",), message))
    problems += _mix_problems(scenario)
    model = None
    try:
        model = load_model(scenario.model, scenario.folder)
    except InputError as error:
        problems += [p if p.location else scenario.problem(("model",), p.message) for p in error.problems]
    if model is not None and engine is not None:
        if (wrong := wrong_word(scenario.precision, model)) is not None:
            problems.append(scenario.problem(("precision",), wrong))
        try:
            check_lanes(model, decided(scenario.precision, model, engine.kv_cache), engine)
        except InputError as error:
            problems += [scenario.problem(("precision",), p.message) for p in error.problems]
    if model is not None:
        for axis, why in (("tp", illegal_tp), ("pp", illegal_pp)):
            for width in getattr(scenario.space, axis) if scenario.space.legal_for != "measured" else ():
                if (reason := why(width, model)) is not None:
                    problems.append(scenario.problem(("space", axis), reason))
        problems += _too_long(scenario, model)
        problems += _useless_widths(scenario, model, engine)
        problems += [scenario.problem(key, why) for key, why in unused_settings(scenario.settings, model)]
        if scenario.settings.expert_balancer and max(scenario.space.moe_ep) == 1:
            message = "changes nothing: no layout of the space spreads experts"
            problems.append(scenario.problem(("moe", "balancer"), message))
        if scenario.settings.two_batch_overlap and not any(map(has_expert_exchange, _layouts(scenario))):
            message = "changes nothing: no layout of the space exchanges tokens; attn_dp and ep must both exceed 1"
            problems.append(scenario.problem(("two_batch_overlap",), message))
        problems += [
            scenario.problem(("space", "cp"), reason)
            for cp in scenario.space.cp
            if (reason := illegal_cp(Parallelism(cp=cp), model)) is not None
        ]
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


def _too_long(scenario: Scenario, model: ModelSpec) -> Iterator[Problem]:
    """Problems of mixes whose mean request exceeds the model's context."""
    for index, mix in enumerate(scenario.workload.mixes):
        if (why := too_long(model, mix.isl + mix.osl, scenario.max_context)) is not None:
            yield scenario.problem(("workload", "mixes", index), why)


def _useless_widths(scenario: Scenario, model: ModelSpec, engine: EngineSpec | None) -> Iterator[Problem]:
    """Problems of attention-DP and EP widths that no layout of the space can have."""
    space = scenario.space
    if space.legal_for == "measured":  # the measured layouts choose among the widths
        return
    redundant = scenario.settings.redundant_experts
    reasons = {layout: illegal_experts(layout, model, redundant) for layout in _layouts(scenario)}
    if engine is not None and space.legal_for != "any":
        reasons = {layout: reason or engine.cannot_run(layout) for layout, reason in reasons.items()}
    for key, name, values in (("attn_dp", "attn_dp", space.attn_dp), ("ep", "moe_ep", space.moe_ep)):
        for value in values:
            why = [reason for layout, reason in reasons.items() if getattr(layout, name) == value]
            if all(why):
                yield scenario.problem(("space", key), f"no layout can have {value}: {why[-1]}")


def _layouts(scenario: Scenario) -> list[Parallelism]:
    """Every single-stage layout of the space's axes."""
    space = scenario.space
    return [
        Parallelism(tp, cp=cp, attn_dp=dp, moe_ep=ep)
        for tp in space.tp for cp in space.cp for dp in space.attn_dp for ep in space.moe_ep
    ]  # fmt: skip


def check_formats(scenario: Scenario, engines: Engines) -> None:
    """Check that every GPU has kernels for the precision.

    Raises
    ------
    InputError
        A GPU has none; names the formats that it has.
    """
    problems = [
        scenario.problem(("precision",), why)
        for kernels in engines.kernels.values()
        for _, why in format_problems(engines.model, scenario.precision, kernels)
    ]
    if problems:
        raise InputError(problems)


def _mix_problems(scenario: Scenario) -> Iterator[Problem]:
    """Problems of the mixes: none is given, or one has the name of the blend."""
    mixes = scenario.workload.mixes
    if not mixes:
        yield scenario.problem(
            ("workload", "mixes"), "is required to sweep, which reads no trace: give typical lengths"
        )
    for i, mix in enumerate(mixes):
        if mix.label == BLEND and len(mixes) > 1:
            message = f"{BLEND!r} is what a sweep calls all mixes together: choose another name"
            yield scenario.problem(("workload", "mixes", i, "name"), message)


def check_memory(scenario: Scenario, engines: Engines, space: DesignSpace) -> None:
    """Check that at least one layout holds the weights and one request of each mix.

    Raises
    ------
    InputError
        None does (names the roomiest layout and what it lacks), no layout is legal, or every one exceeds ``max_gpus``.
    """
    found = {(gpu, lay) for pool in (space.colocated, space.prefill, space.decode)
             for gpu, lay, _ in engines.layouts(pool)}  # fmt: skip
    if not found:
        message = "the space is empty: none of its layouts is legal for the model and the engine on these GPUs"
        if scenario.space.legal_for == "measured":
            message += ", and measured (measured_layouts.csv of the profiles)"
        raise InputError(scenario.problem(("space",), message))
    small: dict[str, list[Parallelism]] = {}
    for gpu, layout in sorted(found):
        if layout.gpus <= space.max_gpus:
            small.setdefault(gpu, []).append(layout)
    if not small:
        smallest = min(layout.gpus for _, layout in found)
        message = f"the space is empty: max_gpus is {space.max_gpus:g}, the smallest engine has {smallest} GPUs"
        raise InputError(scenario.problem(("space", "max_gpus"), message))
    problems = []
    for mix in scenario.workload.mixes:
        roomiest = (_roomiest(engines, gpu, layouts, mix.isl + mix.osl) for gpu, layouts in small.items())
        room, gpu, layout = max(roomiest, key=lambda one: one[0])
        if room < 0:
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


def _roomiest(engines: Engines, gpu: str, layouts: list[Parallelism], tokens: int) -> tuple[float, str, Parallelism]:
    """Memory left after one request [byte] in the layout that leaves the most, its GPU, and that layout."""
    memory = engines.memory(gpu, Layouts.of(layouts))
    budget = min(engines.kernels[gpu].engine.token_budget, tokens)
    room = memory.kv_capacity_bytes(budget, 1) - memory.kv_bytes(tokens)
    most = int(room.argmax())
    return float(room[most]), gpu, layouts[most]

"""What does one engine step cost? Seconds by operator with the engine's host time, memory by part, an error band."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

from ..arrays import Timed
from ..cost.kernels.kernels import Kernels
from ..cost.kernels.supported_formats import format_problems
from ..cost.memory.memory import MemoryModel
from ..cost.operators.expert_loads import has_expert_exchange
from ..cost.operators.unused_settings import unused_settings
from ..cost.steps.calibrated import CalibratedStep
from ..cost.steps.compiler import compile_step
from ..errors import InputError, Problem, did_you_mean
from ..profiles.store import Store
from ..spec.context_length import too_long
from ..spec.model import ModelSpec, catalog_name, deployment_name, load_model, served_format
from ..spec.parallelism import LegalFor, Parallelism, illegal, illegal_cp, illegal_experts, illegal_pp
from ..spec.precision import CACHE_FORMATS, FORMATS, Precision, format_word
from ..spec.release import release_problem
from ..spec.served_formats import decided, formats_text, wrong_word
from ..spec.settings import EXPERT_LOADS, EngineSettings
from .conformal_bands import shipped_bands


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One step of one engine.

    Attributes
    ----------
    model, gpu, engine : names, or the path of a ``config.json`` for the model.
    release : of the engine, whose kernels are used; None: the newest.
    precision, kv_cache : formats of the weights and of the KV cache; None: the checkpoint's, and the engine's own.
    tp, pp, cp, attn_dp, ep, moe_tp : widths; of ``ep`` and ``moe_tp`` one may be left out.
    phase : ``prefill`` or ``decode``.
    batch : prompts, or running sequences.
    isl, prefix : tokens of a prompt, and how many of them a cache holds (prefill).
    context : tokens that each sequence attends to (decode).
    expert_load : ``balanced``, ``power_law``, ``log_linear`` or comma-separated shares; None: as measured.
    redundant_experts : slots of a layer for copies of experts.
    expert_balancer : whether experts are placed by their load (EPLB).
    two_batch_overlap, cache_expanded : as the settings of a scenario.
    draft_tokens, acceptance : of speculation; 0 and None: none.
    legal_for : whose layouts are allowed: the engine's own, or ``any`` that model and GPU allow.
    """

    model: str
    gpu: str
    engine: str = "trtllm"
    release: str | None = None
    precision: str | None = None
    kv_cache: str | None = None
    tp: int = 1
    pp: int = 1
    cp: int = 1
    attn_dp: int = 1
    ep: int | None = None
    moe_tp: int | None = None
    phase: str = "decode"
    batch: int = 1
    isl: int | None = None
    prefix: int = 0
    context: int | None = None
    expert_load: str | None = None
    redundant_experts: int = 0
    expert_balancer: bool = False
    two_batch_overlap: bool = False
    cache_expanded: bool = False
    draft_tokens: int = 0
    acceptance: float | None = None
    legal_for: LegalFor = "engine"

    @property
    def length(self) -> int:
        """Tokens of each sequence."""
        return (self.context if self.phase == "decode" else self.isl) or 0

    @property
    def asked_precision(self) -> Precision:
        """Formats as asked for; what is left open is the checkpoint's, or the engine's."""
        words = (word and format_word(word) for word in (self.precision, self.kv_cache))
        return Precision(*words)  # type: ignore[arg-type]  # checked with all other values

    @property
    def layout(self) -> Parallelism:
        """Widths of the engine."""
        width = self.tp * self.cp * self.attn_dp
        ep = self.ep or (max(1, width // self.moe_tp) if self.moe_tp else 1)
        return Parallelism(self.tp, self.pp, self.cp, self.attn_dp, ep)

    @property
    def settings(self) -> EngineSettings:
        """How the engine is run."""
        load = self.expert_load or ""
        return EngineSettings(
            expert_load=load if load in ("", *EXPERT_LOADS) else tuple(float(share) for share in load.split(",")),
            redundant_experts=self.redundant_experts,
            expert_balancer=self.expert_balancer,
            two_batch_overlap=self.two_batch_overlap,
            cache_expanded_latents=self.cache_expanded,
            draft_tokens=self.draft_tokens,
            acceptance=self.acceptance or 0.0,
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """The answer.

    Attributes
    ----------
    layout : widths of the engine.
    formats : of weights and KV cache, and who decided them.
    step_s : seconds of the step through all pipeline stages.
    tokens_per_step : tokens that it yields for each sequence.
    operators : by name, all stages together; they add up to `step_s`.
    memory_bytes : per GPU by part.
    hbm_bytes : what the GPU has.
    largest_batch : sequences of this length that fit beside the weights.
    repairs : what table hygiene changed in the tables used.
    notes : what a reader must know of facts that are assumed.
    band : factors on `step_s` between which four in five measured TPOT (decode) or TTFT (prefill) lie.
    """

    layout: Parallelism
    formats: str
    step_s: float
    tokens_per_step: float
    operators: dict[str, Timed]
    memory_bytes: dict[str, float]
    hbm_bytes: float
    largest_batch: int
    repairs: tuple[str, ...]
    notes: tuple[str, ...]
    band: tuple[float, float]

    @property
    def operator_s(self) -> dict[str, float]:
        """Seconds by operator; ``host`` is what the engine's own software adds to the kernels."""
        return {name: float(timed.seconds) for name, timed in self.operators.items()}

    @property
    def measured_share(self) -> float:
        """Share of the step's seconds inside measured grids."""
        return float(sum(t.seconds * t.measured for t in self.operators.values()) / self.step_s)


def estimate(question: Question, store: Store) -> Estimate:
    """Price one step as a sweep does.

    A decode batch runs as ``min(pp, batch)`` micro-batches, as the engine does; a prefill batch goes through in one.

    Raises
    ------
    InputError
        Every problem at once, under the names of the question's fields.
    """
    layout = question.layout
    model, kernels = _checked(question, layout, store)
    asked = question.asked_precision
    precision, settings = decided(asked, model, kernels.engine.kv_cache), question.settings
    _check_precision_and_settings(question, model, kernels, precision, settings)
    compiled = compile_step(model, precision, kernels, layout, settings)
    fitted = kernels.calibration.of_model(catalog_name(model.name))
    step = CalibratedStep.of(compiled, fitted, question.gpu, served_format(model, precision), model.layer_count)
    memory = MemoryModel.of(model, precision, kernels.engine, layout, kernels.gpu, settings)
    decode, length, batch = question.phase == "decode", question.length, question.batch
    in_step = batch / min(layout.pp, batch) if decode else batch
    parts = step.breakdown("decode" if decode else "prefill", in_step, length, question.prefix)
    operators = {name: Timed(t.seconds * layout.pp, t.measured) for name, t in parts.items()}
    busy = min(layout.attn_dp, max(1, int(in_step)))
    tokens = (in_step * settings.queries if decode else batch * (length - question.prefix)) / busy
    in_prefill = 0.0 if decode else ceil(batch / layout.attn_dp) * length
    deployment = deployment_name(question.gpu, model, precision)
    of = "tpot" if decode else "ttft"
    crosses = layout.gpus > kernels.gpu.gpus_per_domain
    return Estimate(
        layout=layout,
        formats=formats_text(asked, model, question.engine, kernels.engine.kv_cache),
        step_s=float(sum(t.seconds for t in operators.values())),
        tokens_per_step=step.tokens_per_step if decode else 1.0,
        operators=operators,
        memory_bytes=memory.parts(tokens, batch, length, in_prefill),
        hbm_bytes=memory.hbm_bytes,
        largest_batch=memory.largest_batch(tokens, length, in_prefill),
        repairs=tuple(dict.fromkeys(str(r) for r in kernels.repairs)),
        notes=(kernels.gpu.assumed_nic,) if crosses and kernels.gpu.assumed_nic else (),
        band=shipped_bands(store).band("colocated", question.engine, batch, of, deployment),
    )


def _checked(question: Question, layout: Parallelism, store: Store) -> tuple[ModelSpec, Kernels]:
    """Model and kernels, once all values and widths make sense."""
    problems = _value_problems(question, layout)
    model = kernels = None
    try:
        model = load_model(question.model)
    except InputError as error:
        problems += error.problems
    try:
        kernels = Kernels.of(store.at(question.engine, question.release), question.gpu, question.engine)
    except InputError as error:
        problems += error.problems
    redundant = question.redundant_experts
    if model and kernels and (why := illegal(layout, model, kernels.gpu, redundant)) is not None:
        others = {illegal_pp(layout.pp, model): "pp", illegal_cp(layout, model): "cp",
                  illegal_experts(layout, model, redundant): "ep"}  # fmt: skip
        problems.append(Problem(others.get(why, "tp"), why))
    elif kernels and question.legal_for == "engine" and (why := kernels.engine.cannot_run(layout)) is not None:
        problems.append(Problem("ep", why))
    if model and (why := too_long(model, question.length or 1)) is not None:
        problems.append(Problem("context" if question.phase == "decode" else "isl", why))
    if model and (why := wrong_word(question.asked_precision, model)) is not None:
        problems.append(Problem("precision", why))
    if problems or model is None or kernels is None:
        raise InputError(problems)
    return model, kernels


def _check_precision_and_settings(
    question: Question, model: ModelSpec, kernels: Kernels, precision: Precision, settings: EngineSettings
) -> None:
    keys = {("moe", "load"): "expert_load", ("moe", "redundant_experts"): "redundant_experts",
            ("moe", "balancer"): "expert_balancer", ("mla", "cache_expanded"): "cache_expanded",
            ("two_batch_overlap",): "two_batch_overlap", ("speculative", "draft_tokens"): "draft_tokens"}  # fmt: skip
    problems = [Problem(keys[key], why) for key, why in unused_settings(settings, model)]
    if settings.expert_balancer and not problems and question.layout.moe_ep == 1:
        problems.append(Problem("expert_balancer", "changes nothing: needs EP above 1"))
    if settings.two_batch_overlap and not problems and not has_expert_exchange(question.layout):
        problems.append(Problem("two_batch_overlap", "changes nothing: needs attention DP and EP above 1"))
    parts_of = {"weights": "precision", "kv_cache": "kv_cache"}
    problems += [Problem(parts_of[part], why) for part, why in format_problems(model, precision, kernels)]
    if problems:
        raise InputError(problems)


def _value_problems(question: Question, layout: Parallelism) -> list[Problem]:
    """What is wrong with the values by themselves."""
    problems = []
    if question.release is not None and (why := release_problem(question.release)) is not None:
        problems.append(Problem("release", why))
    asked: tuple[tuple[str, str | None, tuple[str, ...]], ...] = (
        ("precision", question.precision, FORMATS), ("kv_cache", question.kv_cache, CACHE_FORMATS),
    )  # fmt: skip
    for name, value, formats in asked:
        if value is not None and format_word(value) not in formats:
            words = f"{value!r} is not one of {', '.join(formats)}{did_you_mean(value, formats)}"
            problems.append(Problem(name, words))
    if question.moe_tp and question.moe_tp * layout.moe_ep != layout.width:
        words = f"{question.moe_tp} x EP {layout.moe_ep} must be the {layout.width} GPUs of a stage (TP x CP x DP)"
        problems.append(Problem("moe_tp", words))
    if question.expert_load and question.expert_load not in EXPERT_LOADS:
        try:
            shares = [float(share) for share in question.expert_load.split(",")]
        except ValueError:
            shares = []
        if not shares or min(shares) < 0 or not 0 < sum(shares) < inf:
            words = f"must be one of {', '.join(EXPERT_LOADS)}, or shares such as 3,1,1,1, not {question.expert_load!r}"
            problems.append(Problem("expert_load", words))
    if question.redundant_experts < 0:
        problems.append(Problem("redundant_experts", f"must be at least 0, not {question.redundant_experts}"))
    if question.draft_tokens and question.acceptance is None:
        problems.append(Problem("acceptance", "is needed with draft tokens"))
    if question.acceptance is not None and not question.draft_tokens:
        problems.append(Problem("acceptance", "says nothing without draft tokens"))
    return problems + _phase_problems(question)


def _phase_problems(question: Question) -> list[Problem]:
    """What a phase needs, and what says nothing of it."""
    if question.phase not in ("prefill", "decode"):
        return [Problem("phase", f"must be prefill or decode, not {question.phase!r}")]
    decode = question.phase == "decode"
    problems = []
    needed, foreign = ("context", "isl") if decode else ("isl", "context")
    if getattr(question, needed) is None:
        problems.append(Problem(needed, f"is needed for phase {question.phase}"))
    if getattr(question, foreign) is not None:
        problems.append(Problem(foreign, f"says nothing for phase {question.phase}"))
    if question.cp > 1 and decode:
        problems.append(Problem("cp", "cuts prompts; a decode engine has cp 1"))
    if question.prefix and decode:
        problems.append(Problem("prefix", "says nothing for phase decode"))
    if question.prefix < 0 or (question.isl is not None and question.prefix >= question.isl):
        problems.append(Problem("prefix", f"must be at least 0 and below isl, not {question.prefix}"))
    return problems

"""Which number formats can a GPU serve a model in? Those whose kernels this engine or a sibling measured there."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import NotMeasured
from ...spec.layers import DenseFfn
from ...spec.model import ModelSpec
from ...spec.precision import Precision, StoredFormats
from .kernels import Kernels


def format_problems(model: ModelSpec, precision: Precision, kernels: Kernels) -> list[tuple[str, str]]:
    """Every format that this GPU lacks, as (``weights`` or ``kv_cache``, one line that says what it has)."""
    weights, cache = weight_problem(model, precision, kernels), cache_problem(model, precision, kernels)
    problems = [("weights", weights)] if weights is not None else []
    own = kernels.engine.kv_cache.get(precision.of_checkpoint(model.checkpoints).experts)
    if cache is not None and not (problems and precision.kv_cache == own):
        problems.append(("kv_cache", cache))
    return problems


def weight_problem(model: ModelSpec, precision: Precision, kernels: Kernels) -> str | None:
    """Why this GPU cannot serve the model's weights in that precision, in one line that says what it has; or None.

    A format that the engine itself lacks is another problem (`paretosim.cost.operators.stage.check_lanes`).
    """
    wanted = precision.of_checkpoint(model.checkpoints)
    lacking: dict[str, list[str]] = {}
    for part, form in _matrix_parts(model, wanted):
        lane = kernels.engine.gemm_lanes.get(form)
        if lane is not None and not _has_gemm(kernels, lane):
            lacking.setdefault(form, []).append(part)
    if lacking:
        have = [form for form, lane in kernels.engine.gemm_lanes.items() if _has_gemm(kernels, lane)]
        missing = " or ".join(f"{form} {' and '.join(parts)}" for form, parts in lacking.items())
        return _sentence(kernels, missing, have)
    lanes = kernels.engine.moe_lanes
    asked = lanes.get(wanted.experts)
    if asked is None or not model.experts:
        return None
    # Table by table: where the engine's own has it, no sibling's is loaded.
    if any(not there.isdisjoint(asked) for there in kernels.measured.tables.words("moe", "dtype")):
        return None
    measured = set().union(*kernels.measured.tables.words("moe", "dtype"))
    have = [form for form, of in lanes.items() if measured.intersection(of)]
    return _sentence(kernels, f"{wanted.experts} experts", have)


def cache_problem(model: ModelSpec, precision: Precision, kernels: Kernels) -> str | None:
    """Why this GPU cannot attend over a cache in that format, or None; blocks take the nearest format measured."""
    if not any(g.attention.needs_cache_kernel for g in model.layers):
        return None
    if any(precision.kv_cache in there for there in kernels.measured.tables.words("attention_decode", "kv_dtype")):
        return None
    have: set[str] = set().union(*kernels.measured.tables.words("attention_decode", "kv_dtype"))
    if not have:
        return None
    return _sentence(kernels, f"attention over a KV cache in {precision.kv_cache}", sorted(have))


def _sentence(kernels: Kernels, missing: str, have: list[str]) -> str:
    known = ", ".join(have) or "none"
    return (
        f"{kernels.gpu.name} has no kernels for {missing} under {kernels.engine.name} or its siblings; it has {known}"
    )


def _matrix_parts(model: ModelSpec, stored: StoredFormats) -> Iterator[tuple[str, str]]:
    yield "attention projections", stored.projections
    if any(isinstance(g.ffn, DenseFfn) or g.ffn.shared_inter or g.ffn.latent for g in model.layers):
        yield "feed-forward blocks", stored.weights


def _has_gemm(kernels: Kernels, lane: str) -> bool:
    try:
        kernels.gemm(lane)
    except NotMeasured:
        return False
    return True

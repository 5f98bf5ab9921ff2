"""Which number formats does a checkpoint store its weights in, by ``quantization_config`` of its config.json?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ..errors import InputError, Problem, did_you_mean
from .precision import CacheFormat, Format

_LLAMA, _LATENT = ("q_proj", "k_proj", "v_proj", "o_proj"), ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "o_proj")
_GATED, _NUMBERED = ("gate_proj", "up_proj", "down_proj"), ("w1", "w2", "w3")
MODULES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "projections": tuple(tuple(f"self_attn.{name}" for name in names) for names in (_LLAMA, _LATENT)),
    "weights": tuple(
        tuple(f"mlp.{block}{name}" for name in _GATED) for block in ("", "shared_experts.", "shared_expert.")
    ),
    "experts": (
        tuple(f"mlp.experts.0.{name}" for name in _GATED),
        tuple(f"block_sparse_moe.experts.0.{name}" for name in _NUMBERED),
        ("mlp.experts",),
    ),
}
"""Names of a layer's modules in each family, by part of the model; the majority of modules decides for the part."""
_PREFIXES = ("model.", "language_model.model.", "model.language_model.", "language_model.")

Formats = Callable[[str], Format]
"""Stored format of a module, by its name."""


@dataclass(frozen=True, slots=True)
class CheckpointFormats:
    """How a checkpoint is stored.

    Attributes
    ----------
    name : what a scenario calls it.
    parts : format of the ``weights`` (feed-forward blocks) and, where they differ, of attention's ``projections`` and
        of the routed ``experts``.
    kv_cache : format for which it carries scales; None where it says nothing.
    """

    name: Format
    parts: Mapping[str, Format] = field(default_factory=dict)
    kv_cache: CacheFormat | None = None


PLAIN = CheckpointFormats("bf16")
_CALLED: Mapping[Format, Format] = {"fp8_block": "fp8", "mxfp4": "fp4"}
_ALGORITHMS: Mapping[str, Format] = {
    "FP8": "fp8", "FP8_PER_CHANNEL_PER_TOKEN": "fp8", "FP8_PB_WO": "fp8_block", "FP8_BLOCK_SCALES": "fp8_block",
    "NVFP4": "fp4", "NVFP4_AWQ": "fp4", "W4A16_NVFP4": "fp4", "MXFP4": "mxfp4", "W4A8_MXFP4_FP8": "mxfp4",
    "W4A16_AWQ": "int4", "W4A8_AWQ": "int4", "INT4_AWQ": "int4", "W8A16": "int8", "INT8_SQ": "int8", "W8A8_SQ": "int8",
}  # fmt: skip
"""``quant_algo`` of NVIDIA's ModelOpt (``tensorrt_llm/quantization/mode.py`` and vLLM's ``modelopt.py``)."""


def stored_formats(config: Mapping[str, Any], layers: int, file: str) -> CheckpointFormats:
    """Read the number formats of a checkpoint from its config.json; BF16 where it says nothing.

    A part of the model is in the format of most of its modules: exclusions of single layers change nothing.

    Parameters
    ----------
    config : the parsed file.
    layers : transformer layers.
    file : its path, for messages.

    Raises
    ------
    InputError
        A method, an algorithm or a width that is not known, by its key.
    """
    quantization = config.get("quantization_config") or config.get("text_config", {}).get("quantization_config")
    if not quantization:
        return PLAIN
    if not isinstance(quantization, Mapping):
        raise _wrong("", "must be an object", file)
    method = str(quantization.get("quant_method", "modelopt" if "quant_algo" in quantization else "")).lower()
    reader = _METHODS.get(method)
    if reader is None:
        known = ", ".join(_METHODS)
        hint = did_you_mean(method, _METHODS)
        raise _wrong("quant_method", f"{method!r} is not known{hint}; known: {known}. To compute in another format, "
                     "delete quantization_config and give a precision", file)  # fmt: skip
    of = reader(quantization, config, file)
    parts = {part: _most(families, layers, of) for part, families in MODULES.items()}
    if "num_experts" not in _expert_counts(config):
        parts["experts"] = parts["weights"]
    name = parts["experts"] if parts["experts"] != "bf16" else parts["weights"]
    name = name if name != "bf16" else parts["projections"]
    distinct = {part: form for part, form in parts.items() if part == "weights" or form != parts["weights"]}
    return CheckpointFormats(_CALLED.get(name, name), distinct if name != "bf16" else {}, _cache_of(quantization))


def _expert_counts(config: Mapping[str, Any]) -> set[str]:
    """``num_experts`` if the model has any, under whichever name."""
    text = config.get("text_config", config)
    names = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    return {"num_experts"} if any(text.get(name) for name in names) else set()


def _most(families: Sequence[Sequence[str]], layers: int, of: Formats) -> Format:
    """Format of most modules in the first family whose format differs from that of an unknown module."""
    default = of("model.layers.0.unknown")
    for modules in families:
        found = Counter(of(f"layers.{layer}.{module}") for layer in range(layers) for module in modules)
        form = found.most_common(1)[0][0]
        if form != default:
            return form
    return default


def _wrong(key: str, message: str, file: str) -> InputError:
    return InputError(Problem("quantization_config" + (f".{key}" if key else ""), message, file))


# -- names of modules --------------------------------------------------------------------------------------------------


def _names(module: str) -> Iterator[str]:
    """A module under the prefixes that families put before ``layers``."""
    yield module
    if module.startswith("layers."):
        for prefix in _PREFIXES:
            yield prefix + module


def _matches(pattern: str, module: str) -> bool:
    """Whether a pattern means a module: ``re:`` a regular expression, ``*`` a wildcard, else a run of name parts."""
    for name in _names(module):
        if pattern.startswith("re:"):
            if re.match(pattern[3:], name):
                return True
        elif "*" in pattern:
            if fnmatchcase(name, pattern) or fnmatchcase(name, pattern + ".*"):
                return True
        elif f".{pattern.strip('.')}." in f".{name}.":
            return True
    return False


def _except(form: Format, patterns: object) -> Formats:
    """One format for every module that no pattern excludes."""
    excluded = [p for p in patterns if isinstance(p, str)] if isinstance(patterns, list) else []
    return lambda module: "bf16" if any(_matches(p, module) for p in excluded) else form


def _excluded(quantization: Mapping[str, Any]) -> list[Any]:
    keys = ("modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules", "llm_int8_skip_modules")
    return [pattern for key in keys for pattern in quantization.get(key) or []]


# -- methods -----------------------------------------------------------------------------------------------------------


def _integer(quantization: Mapping[str, Any], config: Mapping[str, Any], file: str) -> Formats:
    """AWQ, GPTQ and AutoRound: weights of 4 or 8 bits."""
    bits = quantization.get("bits", quantization.get("w_bit"))
    if bits not in (4, 8):
        raise _wrong("bits", f"must be 4 or 8, not {bits!r}", file)
    # GPTQModel excludes modules as keys "-:regular expression" of `dynamic`.
    rules = quantization.get("dynamic") or {}
    negative = [f"re:{rule[2:]}" for rule in rules if isinstance(rule, str) and rule.startswith("-:")]
    return _except("int4" if bits == 4 else "int8", _excluded(quantization) + negative)


def _fp8(quantization: Mapping[str, Any], config: Mapping[str, Any], file: str) -> Formats:
    """DeepSeek's blocks or scales of whole tensors; DeepSeek-V4 keeps its experts in four bits."""
    of = _except("fp8_block" if quantization.get("weight_block_size") else "fp8", _excluded(quantization))
    experts: Format | None = "mxfp4" if config.get("expert_dtype") == "fp4" else None
    if algorithm := quantization.get("moe_quant_algo"):
        experts = _algorithm(algorithm, "moe_quant_algo", file)
    return of if experts is None else lambda module: experts if ".experts" in module else of(module)


def _mxfp4(quantization: Mapping[str, Any], config: Mapping[str, Any], file: str) -> Formats:
    """Experts alone (gpt-oss)."""
    return lambda module: "mxfp4" if ".experts" in module else "bf16"


def _bitsandbytes(quantization: Mapping[str, Any], config: Mapping[str, Any], file: str) -> Formats:
    four = quantization.get("load_in_4bit") or quantization.get("_load_in_4bit")
    return _except("int4" if four else "int8", _excluded(quantization))


def _modelopt(quantization: Mapping[str, Any], config: Mapping[str, Any], file: str) -> Formats:
    layers = quantization.get("quantized_layers")
    if isinstance(layers, Mapping):
        forms = {name: _algorithm(of.get("quant_algo"), "quantized_layers", file) for name, of in layers.items()}
        return lambda module: next((forms[name] for name in _names(module) if name in forms), "bf16")
    if "quant_algo" not in quantization and "config_groups" in quantization:
        return _compressed(quantization, config, file)
    return _except(_algorithm(quantization.get("quant_algo"), "quant_algo", file), _excluded(quantization))


def _algorithm(name: object, key: str, file: str) -> Format:
    found = _ALGORITHMS.get(str(name).upper())
    if found is None:
        raise _wrong(key, f"{name!r} is not known; known: {', '.join(_ALGORITHMS)}", file)
    return found


def _compressed(quantization: Mapping[str, Any], config: Mapping[str, Any], file: str) -> Formats:
    """compressed-tensors: groups of modules, each with its format."""
    groups: list[tuple[list[str], Format]] = []
    for name, group in (quantization.get("config_groups") or {}).items():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if not isinstance(weights, Mapping):
            continue
        key = (weights.get("type"), weights.get("num_bits"))
        if key not in _WIDTHS:
            what = f"{weights.get('type')!r} of {weights.get('num_bits')!r} bits"
            raise _wrong(f"config_groups.{name}.weights", f"{what} is not known", file)
        form = _WIDTHS[key]
        if form == "fp8" and (weights.get("strategy") == "block" or weights.get("block_structure")):
            form = "fp8_block"
        if form == "fp4" and weights.get("group_size") == 32:
            form = "mxfp4"
        groups.append(([t for t in group.get("targets") or ["Linear"] if isinstance(t, str)], form))
    excluded = _except("int8", _excluded(quantization))

    def of(module: str) -> Format:
        if excluded(module) == "bf16":
            return "bf16"
        return next((f for targets, f in groups if any(t == "Linear" or _matches(t, module) for t in targets)), "bf16")

    return of


_WIDTHS: Mapping[tuple[Any, Any], Format] = {
    ("float", 8): "fp8", ("float", 4): "fp4", ("int", 8): "int8", ("int", 4): "int4",
}  # fmt: skip
_METHODS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any], str], Formats]] = {
    "awq": _integer, "gptq": _integer, "auto-round": _integer, "fp8": _fp8,
    "fbgemm_fp8": lambda quantization, config, file: _except("fp8", _excluded(quantization)),
    "compressed-tensors": _compressed, "modelopt": _modelopt, "modelopt_fp4": _modelopt, "modelopt_mixed": _modelopt,
    "mxfp4": _mxfp4, "bitsandbytes": _bitsandbytes,
}  # fmt: skip
"""Readers by ``quant_method``."""


def _cache_of(quantization: Mapping[str, Any]) -> CacheFormat | None:
    """The cache format for which scales are stored: vLLM and SGLang follow both keys, TensorRT-LLM the second."""
    scheme = quantization.get("kv_cache_scheme")
    if isinstance(scheme, Mapping) and scheme.get("num_bits") == 8:
        return "fp8"
    return "fp8" if str(quantization.get("kv_cache_quant_algo")).upper() == "FP8" else None

"""Load a model by its name in the catalogue or by the path of a Hugging Face config.json."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem, did_you_mean
from .architecture import ModelSpec
from .context_length import longest_sequence
from .hf_config import read_config
from .precision import Precision
from .quantization import stored_formats

__all__ = ["ModelSpec", "catalog_name", "catalog_names", "deployment_name", "load_model", "served_format"]

_CATALOG = Path(__file__).parent / "catalog"


@cache
def _catalog() -> dict[str, Path]:
    """Catalogue file by every name it answers to, aliases included."""
    files = {}
    for path in _CATALOG.glob("*.json"):
        entry = _read_json(path)
        files.update(dict.fromkeys((entry["name"], *entry["aliases"]), path))
    return files


def catalog_names() -> list[str]:
    """The models of the catalogue, without their aliases."""
    return sorted({_read_json(path)["name"] for path in _catalog().values()})


@cache
def catalog_name(name: str) -> str:
    """The catalogue's name for a model that is asked for under an alias; any other name stays as it is."""
    file = _catalog().get(name)
    return _read_json(file)["name"] if file else name


def load_model(name_or_path: str | Path, relative_to: Path | None = None) -> ModelSpec:
    """Load a model by catalogue name (a Hugging Face id) or from a ``config.json``.

    Parameters
    ----------
    name_or_path : such as ``meta-llama/Llama-3.1-70B`` (case matters, aliases count); else a ``.json`` file or a
        folder with a ``config.json``.
    relative_to : folder that a relative path starts from, e.g. the scenario's; default the working directory.

    Raises
    ------
    InputError
        The name is not in the catalogue, the file cannot be read, or it has keys that are missing or not understood.
    """
    name = str(name_or_path)
    if file := _catalog().get(name):
        entry = _read_json(file)
        model = read_config(entry["config"], name, str(file))
        published = entry.get("checkpoints", {})
        return replace(
            model,
            checkpoints={
                called: {part: value for part, value in parts.items() if part not in ("source", "kv_cache")}
                for called, parts in published.items()
            },
            stored=entry.get("stored", {}).get(name, "bf16"),
            cache_scales={called: parts["kv_cache"] for called, parts in published.items() if "kv_cache" in parts},
        )
    path = (relative_to or Path()) / Path(name_or_path).expanduser()
    if (path / "config.json").is_file():
        path /= "config.json"
    elif path.suffix != ".json":
        hint, names = did_you_mean(name, _catalog()), ", ".join(catalog_names())
        raise InputError(f"unknown model '{name}'{hint}: give the path of its config.json or one of {names}")
    config = _read_json(path)
    model = read_config(config, name, str(path))
    stored = stored_formats(_with_quantization(config, path), model.layer_count, str(path))
    return replace(
        model,
        max_context=longest_sequence(config, model.max_context),
        checkpoints={stored.name: stored.parts} if stored.parts else {},
        stored=stored.name,
        cache_scales={stored.name: stored.kv_cache} if stored.kv_cache else {},
    )


def _with_quantization(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """The config with its formats, which older ModelOpt checkpoints keep in ``hf_quant_config.json``."""
    side_file = path.with_name("hf_quant_config.json")
    if "quantization_config" in config or not side_file.is_file():
        return config
    return config | {
        "quantization_config": {"quant_method": "modelopt"} | _read_json(side_file).get("quantization", {})
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(Problem("", f"cannot be read: {error.strerror}", str(path))) from None
    except ValueError as error:
        raise InputError(Problem("", f"is not JSON: {error}", str(path))) from None
    if not isinstance(config, dict):
        raise InputError(Problem("", "must be a JSON object", str(path)))
    return config


def served_format(model: ModelSpec, precision: Precision) -> str:
    """Format of most of a model's weights: of its experts, or of its feed-forward blocks if it has none."""
    stored = precision.of_checkpoint(model.checkpoints)
    return str(stored.experts if model.experts else stored.weights)


def deployment_name(gpu: str, model: ModelSpec, precision: Precision) -> str:
    """Name of a model on a GPU in a format, the same for every layout: ``gpu/format/model``."""
    return f"{gpu}/{served_format(model, precision)}/{catalog_name(model.name)}"

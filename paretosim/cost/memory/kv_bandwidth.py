"""Bytes per second that the KV hand-over between a prefill and a decode pool needs.

Equations 3 and 4 of "A Pragmatic Exploration of Prefill-Decode Disaggregation" (arXiv 2506.05508, there
equations 1 and 2). Only GPUs that hold a distinct share of the cache count: with tensor-parallel width above
the number of KV heads the rest hold copies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ...arrays import Floats, ScalarOrArray
from ...spec.model import ModelSpec
from ...spec.parallelism import Layouts, Parallelism
from ...spec.precision import Precision
from ...spec.settings import DEFAULT, EngineSettings


def request_kv_bytes(
    model: ModelSpec, precision: Precision, isl: ArrayLike, settings: EngineSettings = DEFAULT
) -> Floats:
    """KV cache of one prompt over all layers, that of layers that draft included, each element once [byte].

    Parameters
    ----------
    model, precision : what is served, and in which formats.
    isl : prompt lengths [token], array.
    settings : whether the engine drafts.
    """
    elements = np.asarray(model.kv_elements(np.asarray(isl)), dtype=np.float64)
    if settings.draft_tokens and model.mtp is not None:
        drafting = min(settings.draft_tokens, model.mtp_layers)
        elements = elements + drafting * np.asarray(model.mtp.attention.kv_elements(np.asarray(isl)))
    return elements * precision.kv_cache_bytes


def sharing_gpus(model: ModelSpec, layout: Parallelism | Layouts) -> ScalarOrArray:
    """GPUs of one engine that hold distinct parts of the cache; latents and shared keys are copied over ``tp``."""
    heads = [g.attention.cache_heads for g in model.layers if g.attention.kv_elements_per_token]
    return np.minimum(layout.tp, min(heads, default=1)) * layout.pp * layout.token_groups


def egress_bytes_per_s(request_bytes: ArrayLike, batch: ArrayLike, ttft_s: ArrayLike, gpus: ArrayLike) -> Floats:
    """Out of each prefill GPU [byte/s]: the batch's cache leaves within one prefill (equation 3).

    Parameters
    ----------
    request_bytes : cache of one prompt [byte].
    batch : prompts of one prefill.
    ttft_s : time of that prefill [s].
    gpus : of the prefill engine that hold distinct parts of the cache.
    """
    return np.asarray(request_bytes) * np.asarray(batch) / (np.asarray(ttft_s) * np.asarray(gpus))


def ingress_bytes_per_s(
    request_bytes: ArrayLike, batch: ArrayLike, tpot_s: ArrayLike, osl: ArrayLike, gpus: ArrayLike
) -> Floats:
    """Into each decode GPU [byte/s]: the batch is replaced once per output length (equation 4).

    Parameters
    ----------
    request_bytes : cache of one prompt [byte].
    batch : running sequences.
    tpot_s : time per output token [s].
    osl : output tokens of a request.
    gpus : of the decode engine that hold distinct parts of the cache.
    """
    return np.asarray(request_bytes) * np.asarray(batch) / (np.asarray(tpot_s) * np.asarray(osl) * np.asarray(gpus))

"""What does a person decide before a sweep? A checked scenario with its defaults filled in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from .parallelism import LegalFor
from .precision import Precision
from .settings import DEFAULT, EngineSettings
from .workload import Slo, Workload
from .yaml_marks import FromFile, KeyLocations

Serving = Literal["colocated", "disaggregated"]
Objective = Literal["throughput", "interactivity", "ttft", "cost", "power"]
PLAIN: tuple[Objective, ...] = ("throughput", "interactivity")


@dataclass(frozen=True, slots=True)
class Hardware:
    """Candidate GPUs; every pair of a prefill and a decode GPU is a design, mixed pairs too.

    Attributes
    ----------
    prefill, decode : GPU names that may serve each phase, in the order given.
    """

    prefill: tuple[str, ...]
    decode: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Every GPU named, once."""
        return tuple(dict.fromkeys(self.prefill + self.decode))

    @property
    def colocated(self) -> tuple[str, ...]:
        """GPUs that may serve both phases at once."""
        return tuple(gpu for gpu in self.decode if gpu in self.prefill)


@dataclass(frozen=True, slots=True)
class Space:
    """Which deployments are candidates. Every axis is sorted, without repeats.

    Attributes
    ----------
    serving : kinds of deployment, in the order given.
    tp, pp : tensor-parallel widths and pipeline stages of an engine.
    batch : concurrent sequences of one engine [request].
    attn_dp, moe_ep : attention-data-parallel ranks, and GPUs over which experts are spread (key ``ep``).
    prefill_workers, decode_workers : engines per deployment; a colocated one takes `decode_workers`.
        Both are empty when `ctx_gen_ratio` decides.
    ctx_gen_ratio : prefill GPUs / decode GPUs, or ``matched`` for the one ratio that balances the
        rates of each pair of engines; None when the workers are given.
    max_gpus : GPUs of one deployment at most; None is no limit.
    cp : context-parallel widths of a prefill engine.
    cpp_chunk : tokens of the chunks that a prefill engine with stages pipelines; 0 is no explicit chunk: prompts longer
        than the engine's token budget are split into budget-sized chunks.
    cpp_smoothing : how far chunks shrink as their prefix grows, 0 to 1
        (`paretosim.analytic.chunked_pipeline.chunk_bounds`).
    legal_for : whose layouts are designs; ``measured``: those of the engine that somebody measured, on any GPU.
    """

    serving: tuple[Serving, ...]
    tp: tuple[int, ...]
    pp: tuple[int, ...]
    batch: tuple[int, ...]
    prefill_workers: tuple[int, ...] = (1,)
    decode_workers: tuple[int, ...] = (1,)
    ctx_gen_ratio: tuple[float, ...] | Literal["matched"] | None = None
    max_gpus: int | None = None
    attn_dp: tuple[int, ...] = (1,)
    moe_ep: tuple[int, ...] = (1,)
    cp: tuple[int, ...] = (1,)
    cpp_chunk: tuple[int, ...] = (0,)
    cpp_smoothing: float = 0.0
    legal_for: LegalFor | Literal["measured"] = "engine"


@dataclass(frozen=True, slots=True)
class Scenario(FromFile):
    """One question to answer.

    Attributes
    ----------
    name : for people and folder names; decides nothing.
    model : catalogue name, or the path of a ``config.json`` relative to `folder`; as written.
    precision : number formats.
    engine : whose kernels and scheduler.
    hardware : candidate GPUs.
    usd_per_gpu_hour : prices that replace those of ``gpu.yaml``, by GPU [USD/h].
    workload, slo, space : traffic, targets, candidates.
    settings : how engines are run.
    max_context : tokens of a sequence at most, in place of the model's own limit; None is that one.
    release : of the engine, whose kernels are used; None: the newest.
    objectives : axes of the frontier, throughput and interactivity first.
    path : the file it came from.
    locations : finds ``file:line:col`` of a key.
    """

    name: str
    model: str
    precision: Precision
    engine: str
    hardware: Hardware
    usd_per_gpu_hour: Mapping[str, float]
    workload: Workload
    slo: Slo
    space: Space
    path: Path = field(compare=False)
    locations: KeyLocations = field(compare=False, repr=False)
    settings: EngineSettings = DEFAULT
    objectives: tuple[Objective, ...] = PLAIN
    max_context: int | None = None
    release: str | None = None

    def canonical(self) -> dict[str, Any]:
        """Everything that decides the answer, as JSON would hold it: equal questions give equal dicts.

        Name and file are left out. The order of GPUs, mixes and kinds of serving stays, for it numbers the designs.
        A model given as a path is only named here, not read: hash its file too.
        """
        decisive = [f.name for f in fields(self) if f.name not in ("name", "path", "locations")]
        return {name: plain(getattr(self, name)) for name in sorted(decisive)}


def plain(value: Any) -> Any:
    """A value as JSON would hold it, dataclasses as mappings."""
    if is_dataclass(value):
        return plain({f.name: getattr(value, f.name) for f in fields(value)})
    if isinstance(value, Mapping):
        return {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and math.isinf(value):
        return None  # JSON has no infinity; only an absent target is one
    return value

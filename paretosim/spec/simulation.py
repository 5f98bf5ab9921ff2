"""What is simulated? One deployment, its traffic and its targets, checked and with defaults filled in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .cluster import StepFormula
from .deployment import Deployment
from .host_time import HostTime
from .parallelism import LegalFor
from .precision import Precision
from .settings import DEFAULT, EngineSettings
from .workload import Slo, Workload
from .yaml_marks import FromFile, KeyLocations


@dataclass(frozen=True, slots=True)
class Simulation(FromFile):
    """One deployment under traffic.

    Attributes
    ----------
    name : for people and folder names; decides nothing.
    deployment : what serves.
    workload, slo : traffic, targets.
    step_time : formula for the time of a step; None asks the cost model for `model` on the pools' GPUs.
    model, precision, engine, settings : what is served, in which formats, by whose kernels, and how.
    host : host time of a step; None is the engine's calibrated one.
    max_context : tokens of a sequence at most, in place of the model's own limit; None is that one.
    path : the file it came from.
    locations : finds ``file:line:col`` of a key.
    legal_for : whose layouts may be deployed.
    release : of the engine, whose kernels are used; None: the newest.
    """

    name: str
    deployment: Deployment
    workload: Workload
    slo: Slo
    step_time: StepFormula | None
    model: str
    precision: Precision
    engine: str
    host: HostTime | None
    path: Path = field(compare=False)
    locations: KeyLocations = field(compare=False, repr=False)
    settings: EngineSettings = DEFAULT
    max_context: int | None = None
    legal_for: LegalFor = "engine"
    release: str | None = None

"""A new term of the host's time is one line: every reader of the list follows without another edit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.measured_rows import LLAMA, write_rows

LIST = Path("spec", "host_time.py")
LAST = '    token_s: float = _term("token", "all", 12.0)\n'
NEW = '    prompt_step_s: float = _term("step", "prompt", 9000.0)\n'
ROW = f"a,vllm,{LLAMA},h100_sxm,fp8,False,1024,64,8,4,1,,,,,100,12,benchmark_dashboard,False"
READERS = """
import sys
from dataclasses import replace
from pathlib import Path

from paretosim.cost.steps.calibrated import CalibratedStep
from paretosim.cost.steps.compiler import compile_step
from paretosim.cost.kernels.kernels import Kernels
from paretosim.measured.engine_fit import EngineFit, calibration_yaml, fit_of_calibration
from paretosim.measured.fit import FITTED
from paretosim.measured.engine_rows import fitted_latencies
from paretosim.measured.row_replay import Replayer
from paretosim.measured.rows import read_frame, rows_of
from paretosim.profiles.store import Store
from paretosim.sim.steps import CompiledSteps
from paretosim.spec.calibration import Calibration, load_calibration
from paretosim.spec.model import load_model
from paretosim.spec.parallelism import Parallelism
from paretosim.spec.precision import Precision
from paretosim.spec.schema_host_time import HostTimeKeys

near = lambda a, b: abs(a - b) < 1e-9 * abs(b)
store, layout, price_s = Store(), Parallelism(2, 2), 7e-3
found = Calibration.of({"prompt_step_us": 7000.0}, 1.0)

# The array reader and the scalar reader charge it, on steps with prompts only; a stage has its part.
model = load_model("meta-llama/Llama-3.1-8B")
step = compile_step(model, Precision.of("fp8"), Kernels.of(store, "h100_sxm", "vllm"), layout)
served = CalibratedStep.of(step, found, "h100_sxm", "fp8", model.layer_count)
assert near(float(served.prefill(1, 512).seconds), float(step.prefill(1, 512).seconds) + price_s / 2)
assert near(float(served.mixed(4, 900, 1, 512).seconds), float(step.mixed(4, 900, 1, 512).seconds) + price_s / 2)
assert float(served.decode(4, 900).seconds) == float(step.decode(4, 900).seconds)
plain, dearer = (CompiledSteps(step, model.layer_count, c.host) for c in (Calibration(), found))
assert near(dearer.stage_s([(0, 512)]), plain.stage_s([(0, 512)]) + price_s / 2)
assert near(dearer.mixed_s(4, 3600, [(0, 512)]), plain.mixed_s(4, 3600, [(0, 512)]) + price_s)
assert dearer.decode_time(4).step_s(3600) == plain.decode_time(4).step_s(3600)

# The fit has a regressor for it: its means are those that the simulator finds.
assert "prompt_step_us" in FITTED
row = rows_of(read_frame(Path(sys.argv[1])), "f")[0]
kernels, priced = (Replayer(replace(store, calibrations={"vllm": c})).run(row) for c in (Calibration(), found))
ttft, tpot = fitted_latencies([kernels], fit_of_calibration(found))
assert near(priced.ttft_s, ttft[0]) and near(priced.tpot_s, tpot[0]) and priced.ttft_s > kernels.ttft_s

# A calibration file holds it, and a scenario may give it.
path = Path(sys.argv[1]).with_name("vllm.yaml")
fit = replace(fit_of_calibration(found), intervals={"kernel_scale": (1.0, 1.0)})
path.write_text(calibration_yaml(EngineFit("vllm", fit, 0.0, 1, "0" * 64), "here"))
assert near(load_calibration(path)[1].host.prompt_step_s, price_s)
assert HostTimeKeys(prompt_step=price_s).host().prompt_step_s == price_s
print("every reader follows")
"""


def test_a_cost_parameter_is_added_in_one_place(tmp_path: Path) -> None:
    package = shutil.copytree(ROOT / "paretosim", tmp_path / "paretosim", ignore=shutil.ignore_patterns("__pycache__"))
    if (ROOT / "hwprofiles").is_dir():
        (tmp_path / "hwprofiles").symlink_to(ROOT / "hwprofiles")
    edited = package / LIST
    text = edited.read_text()
    assert text.count(LAST) == 1
    edited.write_text(text.replace(LAST, LAST + NEW))
    rows = write_rows(tmp_path, ROW)
    (tmp_path / "readers.py").write_text(READERS)
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "readers.py"), str(rows)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "every reader follows" in ran.stdout

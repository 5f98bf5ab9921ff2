"""What a calibration says of the rows that it was given."""

from __future__ import annotations

from paretosim.measured.engine_fit import EngineFit, fit_of_calibration
from paretosim.profiles.store import Store
from paretosim.report.calibration import engine_text


def test_it_names_the_deployments_and_says_whose_bands_do_not_narrow(store: Store) -> None:
    rows = {"h200_sxm/fp8/a/big": 4, "h200_sxm/fp8/a/small": 3, "h100_sxm/fp8/a/big": 2}
    fit = fit_of_calibration(store.engine("vllm").calibration)
    text = engine_text(EngineFit("vllm", fit, 0.0, 9, "0", rows)).splitlines()[-3:]
    assert text[0] == "  2 rows of h100_sxm/fp8/a/big"
    assert all(line.endswith("its bands do not narrow") for line in text[1:])

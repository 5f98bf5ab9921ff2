"""Arrival processes against their theory; bounds are about four standard errors under a fixed seed."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
import pytest
from scipy import stats

from paretosim.sim import arrival_processes as processes
from paretosim.sim.arrival_processes import arrival_times
from paretosim.spec.arrivals import Constant, Diurnal, Gamma, Mmpp, OpenLoop, Poisson

COUNT = 100_000
ALL = [
    Constant(3.0), Poisson(3.0), Gamma(3.0, 2.0), Gamma(3.0, 0.5), Mmpp((1.0, 9.0), (3.0, 2.0)),
    Mmpp((0.0, 5.0, 50.0), (10.0, 3.0, 1.0)), Diurnal(3.0, 0.8, 100.0), Diurnal(3.0, 1.0, 100_000.0),
]  # fmt: skip


def gaps(process: OpenLoop, seed: int = 0) -> np.ndarray:
    return np.diff(arrival_times(process, seed, COUNT), prepend=0.0)


@pytest.mark.parametrize("process", ALL, ids=str)
def test_times_never_fall_and_end_where_they_are_told(process: OpenLoop) -> None:
    counted = arrival_times(process, 0, 10_000)
    assert len(counted) == 10_000
    assert (np.diff(counted) >= 0).all()
    spanned = arrival_times(process, 0, None, counted[5000])
    assert spanned.tolist() == counted[:5000].tolist()


@pytest.mark.parametrize("process", ALL, ids=str)
def test_times_do_not_depend_on_how_many_are_drawn_at_once(process: OpenLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = arrival_times(process, 0, 3000)
    monkeypatch.setattr(processes, "_CHUNK", 7)
    assert arrival_times(process, 0, 3000) == pytest.approx(at_once, rel=1e-9)


def test_a_constant_rate_is_evenly_spaced_from_zero() -> None:
    assert arrival_times(Constant(4.0), 0, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert len(arrival_times(Constant(4.0), 0, None, 1.0)) == 4  # the fifth comes at the end, which is outside
    assert arrival_times(Constant(4.0), 0, 9000)[-1] == 8999 / 4


def test_gaps_of_a_poisson_process_are_exponential() -> None:
    assert stats.kstest(gaps(Poisson(3.0)), "expon", (0, 1 / 3)).pvalue > 0.001


@pytest.mark.parametrize("cv", [0.3, 1.0, 2.0, 4.0])
def test_gaps_of_a_gamma_process_have_its_rate_and_cv(cv: float) -> None:
    found = gaps(Gamma(3.0, cv))
    shape = cv**-2
    if cv <= 2:  # beyond, a tenth of the gaps is smaller than the rounding of the times
        assert stats.kstest(found, "gamma", (shape, 0, 1 / (3.0 * shape))).pvalue > 0.001
    assert found.mean() == pytest.approx(1 / 3, rel=4 * cv / sqrt(COUNT))
    # Delta method: var(cv_hat) = cv^2 ((kurtosis - 1) / 4 - skew cv + cv^2) / n, for a gamma 3 + 6 cv^2 and 2 cv
    error = cv * sqrt((0.5 + 1.5 * cv**2) - 2 * cv**2 + cv**2) / sqrt(COUNT)
    assert abs(found.std() / found.mean() - cv) < 4 * error


@pytest.mark.parametrize("process", [p for p in ALL if isinstance(p, Mmpp)], ids=str)
def test_bursts_have_the_mean_rate_of_their_states(process: Mmpp) -> None:
    counts = [len(arrival_times(process, seed, None, 1000.0)) for seed in range(300)]
    assert abs(np.mean(counts) / 1000 - process.rate_req_s) < 4 * np.std(counts) / 1000 / sqrt(300)


def test_counts_of_a_two_state_process_vary_as_theory_says() -> None:
    process, window_s, windows = Mmpp((1.0, 9.0), (3.0, 2.0)), 20.0, 10_000
    times = arrival_times(process, 0, None, window_s * windows)
    counts = np.bincount((times / window_s).astype(int), minlength=windows)
    # Index of dispersion of counts (Fischer and Meier-Hellstern 1993, "The MMPP cookbook")
    (r1, r2), (out1, out2) = process.rates_req_s, (1 / d for d in process.dwell_s)
    out = out1 + out2
    limit = 2 * out1 * out2 * (r1 - r2) ** 2 / (out**2 * (r1 * out2 + r2 * out1))
    theory = 1 + limit * (1 - (1 - exp(-out * window_s)) / (out * window_s))
    assert theory > 9  # where a Poisson process has 1
    assert counts.var() / counts.mean() == pytest.approx(theory, rel=4 * sqrt(2 / windows) * 1.2)


def test_a_burst_process_is_stationary_from_the_start() -> None:
    process = Mmpp((0.0, 10.0), (9.0, 1.0))
    early = [len(arrival_times(process, seed, None, 1.0)) for seed in range(4000)]
    assert abs(np.mean(early) - process.rate_req_s) < 4 * np.std(early) / sqrt(4000)


def test_a_day_has_its_sine() -> None:
    process, days, bins = Diurnal(5.0, 0.8, 240.0), 100, 24
    times = arrival_times(process, 0, None, 240.0 * days)
    found, edges = np.histogram(times % 240.0, bins, (0.0, 240.0))
    swing = process.amplitude * 240.0 / (2 * np.pi) * -np.diff(np.cos(2 * np.pi * edges / 240.0))
    expected = days * process.rate_req_s * (np.diff(edges) + swing)
    assert stats.chisquare(found, expected * found.sum() / expected.sum()).pvalue > 0.001
    assert abs(found.sum() - expected.sum()) < 4 * sqrt(expected.sum())


def test_an_amplitude_of_one_stops_at_night() -> None:
    times = arrival_times(Diurnal(50.0, 1.0, 100.0), 0, None, 1000.0) % 100.0
    assert ((times > 74) & (times < 76)).sum() < 0.01 * ((times > 24) & (times < 26)).sum()


@pytest.mark.parametrize("process", [p for p in ALL if not isinstance(p, Constant)], ids=str)
def test_another_seed_is_another_run(process: OpenLoop) -> None:
    assert arrival_times(process, 0, 100).tolist() != arrival_times(process, 1, 100).tolist()
    assert arrival_times(process, 1, 100).tolist() == arrival_times(process, 1, 100).tolist()

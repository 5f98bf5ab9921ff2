"""Policies are found by name, and get their options or a line that says what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from paretosim.errors import InputError
from paretosim.sim.policies import make, named
from paretosim.sim.routers import ROUTERS
from paretosim.sim.schedulers import SCHEDULERS, ChunkedPrefill
from paretosim.sim.transfer import MODES
from paretosim.spec.cluster import Policy


@dataclass
class Mine:
    """A policy of a user."""

    patience_s: float
    name: str = "x"
    eager: bool = False


MINE = "tests.unit.sim.test_policies:Mine"


def problems(policy: Policy, allow_plugins: bool = True) -> list[str]:
    with pytest.raises(InputError) as caught:
        make("scheduler", policy, SCHEDULERS, allow_plugins)
    return [f"{p.key}: {p.message}" if p.key else p.message for p in caught.value.problems]


def test_options_reach_the_policy() -> None:
    found = make("scheduler", Policy("chunked_prefill", {"token_budget": 7}), SCHEDULERS)
    assert found == ChunkedPrefill(token_budget=7)


def test_every_wrong_option_has_its_line() -> None:
    wrong = {"token_budgets": 7, "max_sequences": "many", "delay": -1, "max_prompts": True}
    said = problems(Policy("chunked_prefill", wrong))
    assert len(said) == 4
    assert "did you mean 'token_budget'" in said[0]
    assert [line.partition(":")[0] for line in said] == ["token_budgets", "max_sequences", "delay", "max_prompts"]


def test_an_option_without_a_default_must_be_given() -> None:
    assert problems(Policy(MINE)) == ["patience_s: tests.unit.sim.test_policies:Mine needs it"]
    assert make("scheduler", Policy(MINE, {"patience_s": 2}), SCHEDULERS, True) == Mine(2)


def test_a_scenario_cannot_run_code_by_itself() -> None:
    assert "--allow-plugins" in problems(Policy(MINE, {"patience_s": 1}), allow_plugins=False)[0]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("layerwize", "did you mean 'layerwise'"),
        ("nowhere:X", "cannot be imported"),
        ("json:Nothing", "has no class"),
        ("json:dumps", "has no class"),
    ],
)
def test_what_is_not_there_is_said_so(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        named("transfer mode", name, MODES, True)


@pytest.mark.parametrize("known", [SCHEDULERS, ROUTERS], ids=["schedulers", "routers"])
def test_every_shipped_policy_needs_no_option(known) -> None:
    for name in known:
        make("policy", Policy(name), known)

"""Policies are found by name, and get their options or a line that says what is wrong with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from paretosim.errors import InputError
from paretosim.sim.controllers import CONTROLLERS
from paretosim.sim.policies import make, named, option
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


@dataclass
class Bounded:
    """A policy of a user that says what its option may be."""

    share: float = option(0.5, at_most=1)


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


WRONG = [
    ("scheduler", SCHEDULERS, "chunked_prefill", {"max_sequences": 0}, "a whole number of at least 1, not 0"),
    ("scheduler", SCHEDULERS, "chunked_prefill", {"token_budget": 0}, "a whole number of at least 1, not 0"),
    ("scheduler", SCHEDULERS, "chunked_prefill", {"max_prompts": 0}, "a whole number of at least 1, not 0"),
    ("scheduler", SCHEDULERS, "chunked_prefill", {"max_prompts": 0.5}, "a whole number of at least 1, not 0.5"),
    ("scheduler", SCHEDULERS, "chunked_prefill", {"delay": 1_000_000}, "a whole number from 0 to 1, not 1000000"),
    ("scheduler", SCHEDULERS, "chunked_prefill", {"token_budget": 10**400}, "a whole number of at least 1"),
    ("scheduler", SCHEDULERS, "prefill_first", {"poll": 0}, "a whole number of at least 1, not 0"),
    ("scheduler", SCHEDULERS, "prefill_first", {"group": 0}, "a whole number of at least 1, not 0"),
    ("scheduler", SCHEDULERS, "prefill_first", {"token_budget": 0}, "a whole number of at least 1, not 0"),
    ("scheduler", SCHEDULERS, "in_flight", {"token_budget": 0}, "a whole number of at least 1, not 0"),
    ("scheduler", SCHEDULERS, "in_flight", {"wait_share": 1.5}, "a number from 0 to 1, not 1.5"),
    ("scheduler", SCHEDULERS, "fcfs", {"max_batch_tokens": 0}, "a whole number of at least 1, not 0"),
    ("scheduler", SCHEDULERS, "fcfs", {"max_batch": 0}, "a whole number of at least 1, not 0"),
    ("scheduler", SCHEDULERS, "fcfs", {"chunk_tokens": 0}, "a whole number of at least 1, not 0"),
    ("scheduler", SCHEDULERS, "fcfs", {"chunk_tokens": 0.5}, "a whole number of at least 1, not 0.5"),
    ("router", ROUTERS, "prefix_aware", {"load_penalty": math.inf}, "a number of at least 0, not inf"),
    ("router", ROUTERS, "prefix_aware", {"load_penalty": math.nan}, "a number of at least 0, not nan"),
    ("router", ROUTERS, "prefix_aware", {"load_penalty": 10**400}, "a number of at least 0"),
    ("controller", CONTROLLERS, "failures", {"mean_time_s": 0, "down_s": 0}, "a number of at least 0.001, not 0"),
    ("controller", CONTROLLERS, "failures", {"mean_time_s": 1e-300, "down_s": 0}, "a number of at least 0.001"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "known", "name", "options", "wanted"), WRONG)
def test_a_value_out_of_bounds_is_refused_at_its_option(kind, known, name, options, wanted) -> None:
    with pytest.raises(InputError) as caught:
        make(kind, Policy(name, options), known)
    [problem] = caught.value.problems
    assert problem.key == next(iter(options))
    assert f"must be {wanted}" in problem.message
    assert len(problem.message) < 120


def test_an_own_policy_may_declare_bounds() -> None:
    policy = "tests.unit.sim.test_policies:Bounded"
    assert problems(Policy(policy, {"share": 2})) == ["share: must be a number from 0 to 1, not 2"]
    assert make("scheduler", Policy(policy, {"share": 1}), SCHEDULERS, True).share == 1


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

"""Changes that look at nothing later raise no alarm, whatever the test.

All of them are planted together, but for those that leave few rows or train. `AUDIT_NIGHTLY=1`, as `make nightly` sets
it, adds each by itself and the tests that take long: days of each ticker's own, months alone, the process elsewhere,
and the controls of execution and of the provider.
"""

import os
from datetime import date
from functools import partial
from typing import Any

import pytest

from quant_assets.audit import surroundings
from quant_assets.audit.altered_runs import ALTERING
from quant_assets.audit.execution import audit_execution
from quant_assets.audit.findings import TestName, merged
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets.audit.providers import audit_provider
from quant_assets.audit.question import REPEATING
from quant_assets.profile import Profile
from quant_assets_tests.audit.innocents import INNOCENTS, Innocent, settings_of
from quant_assets_tests.audit.leaks_of_surroundings import compute_planted
from quant_assets_tests.audit.test_mutations import EVERY_TEST, SECTOR, small
from quant_assets_tests.graph import PROJECT

NIGHTLY = bool(os.environ.get("AUDIT_NIGHTLY"))
TESTS: tuple[TestName, ...] = (*ALTERING, *REPEATING) if NIGHTLY else EVERY_TEST


def test_there_are_twenty_innocent_changes() -> None:
    assert len(INNOCENTS) >= 20


#: Too few rows are left to see what the others do.
FEW = {"a sector with three members", "members by a rule on their name"}


def audited(monkeypatch: pytest.MonkeyPatch, *planted: Innocent) -> None:
    """Assert that changes raise no alarm together."""
    for each in planted:
        each.plant(monkeypatch)
    monkeypatch.setattr(surroundings, "compute", partial(compute_planted, tuple(each.name for each in planted)))
    monkeypatch.syspath_prepend(str(PROJECT))  # where the other process finds the changes too
    assets = tuple(dict.fromkeys(name for each in planted for name in each.assets))
    # A training looks back further than these months; where rows are not computed anew nothing would be compared.
    trains = any(each.trains for each in planted)
    settings = small("2022-12", **{name: group for each in planted for name, group in settings_of(each).items()})
    result = audit_lookahead(
        settings,
        sectors=[SECTOR],
        first="2023-10",
        last="2023-12",
        assets=assets,
        tests=("truncation", "perturbation", "order") if trains else TESTS,
        cuts=[date(2023, 12, 12) if trains else date(2023, 11, 15)],
    )
    if NIGHTLY and not trains:
        months: dict[str, Any] = {"sectors": [SECTOR], "first": "2023-10", "last": "2023-12"}
        result = merged([result, audit_execution(settings, **months), audit_provider(Profile(settings), **months)])
    assert [(found.test, found.asset, found.column, found.cause) for found in result.failures] == []
    compared = {name: sum(found.compared for found in result.comparisons if found.asset == name) for name in assets}
    assert min(compared.values()) > 0, compared


@pytest.mark.slow
def test_innocent_changes_together_raise_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first one last: what is reversed before a highest value of the month is taken would look ahead.
    planted = [each for each in reversed(INNOCENTS.values()) if not each.trains and each.name not in FEW]
    groups = [name for each in planted for name in each.settings]
    assert len(groups) == len(set(groups)), "each has its settings"
    audited(monkeypatch, *planted)


@pytest.mark.slow
@pytest.mark.parametrize(
    "each",
    [
        pytest.param(innocent, marks=() if NIGHTLY or name == "a sector with three members" else pytest.mark.nightly)
        for name, innocent in INNOCENTS.items()
    ],
    ids=lambda each: each.name,
)
def test_an_innocent_change_raises_no_alarm(each: Innocent, monkeypatch: pytest.MonkeyPatch) -> None:
    audited(monkeypatch, each)

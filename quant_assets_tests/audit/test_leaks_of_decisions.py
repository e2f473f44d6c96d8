"""Planted leaks of the decision engine: each is caught by the named test, and honest scores raise no alarm."""

from datetime import date

import pytest

from quant_assets.audit.findings import AuditResult, TestName
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets_tests.audit import leaks_of_decisions
from quant_assets_tests.audit.leaks import Leak, leaks_of
from quant_assets_tests.audit.test_mutations import found, small
from quant_assets_tests.graph import SMALL

pytestmark = pytest.mark.slow

PLANTED = leaks_of(leaks_of_decisions.__name__)
TESTS: tuple[TestName, ...] = ("truncation", "perturbation", "publication")
#: A model that is trained in September, on few rows.
TRAINED = {"training": SMALL["training"] | {"window_months": 6, "min_rows": 50, "folds": 2}}


def audited(cut: date, *tests: TestName) -> AuditResult:
    return audit_lookahead(
        small("2022-12", **TRAINED),
        sectors=["cons_staples"],
        first="2023-10",
        last="2023-12",
        assets=["scores"],
        tests=tests,
        cuts=[cut],
        reach=3,
        diagnosed=False,
    )


@pytest.mark.nightly
def test_scores_use_nothing_of_later() -> None:
    result = audited(date(2023, 11, 15), *TESTS)
    assert [(each.test, each.asset, each.column, each.cause) for each in result.failures] == []
    compared = {each.test for each in result.comparisons if each.asset == "scores" and each.compared}
    assert compared == set(TESTS)


# By day the first one, by the same test.
@pytest.mark.parametrize(
    "leak",
    [
        pytest.param(leak, marks=pytest.mark.nightly if number else (), id=leak.name)
        for number, leak in enumerate(PLANTED)
    ],
)
def test_a_leak_is_seen_by_altering_the_inputs(leak: Leak, monkeypatch: pytest.MonkeyPatch) -> None:
    leak.plant(monkeypatch)
    result = audited(leak.cut, leak.test)
    caught = found(result, leak.test, leak.asset)
    assert caught, f"{leak.test} saw nothing; notes: {result.notes}"
    assert all(each.cause and each.compared for each in caught)

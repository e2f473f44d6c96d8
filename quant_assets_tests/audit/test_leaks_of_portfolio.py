"""Planted leaks of the portfolio are seen; weights that follow from sessions or months before raise no alarm."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from quant_assets.audit.findings import AuditResult
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets.settings.loading import load_settings
from quant_assets_tests.audit import leaks_of_portfolio
from quant_assets_tests.audit.leaks import Leak, leaks_of
from quant_assets_tests.audit.leaks_of_portfolio import OF_HISTORY
from quant_assets_tests.graph import SMALL

pytestmark = pytest.mark.slow

SECTOR, START = "cons_staples", "2023-03"


PLANTED = leaks_of(leaks_of_portfolio.__name__)


def audited(leak: Leak, **asked: Any) -> AuditResult:
    untrained = SMALL["training"] | {"min_rows": 1_000_000}
    more = {**SMALL, "training": untrained, "labels": {"horizons": (20,)}, **leak.settings}
    settings = load_settings("demo", **more, as_of=date(2024, 12, 13), partitions={"start": START})
    given = {"sectors": [SECTOR], "first": leak.first, "last": leak.last, "assets": [leak.asset], "diagnosed": False}
    return audit_lookahead(settings, **{**given, "cuts": [leak.cut], "reach": leak.reach, **asked})


@pytest.mark.parametrize("leak", PLANTED, ids=lambda leak: leak.name)
def test_a_leak_is_seen(leak: Leak, monkeypatch: pytest.MonkeyPatch) -> None:
    leak.plant(monkeypatch)
    result = audited(leak, tests=[leak.test])
    caught = [each for each in result.comparisons if each.failed and each.test == leak.test]
    assert {each.asset for each in caught} == {leak.asset}
    assert all(each.cause and each.compared for each in caught)


@pytest.mark.nightly
def test_weights_that_follow_from_the_sessions_before_raise_no_alarm() -> None:
    weights = OF_HISTORY | {"covariance": OF_HISTORY["covariance"] | {"estimator": "dcc"}, "book": "130_30"}
    plain = replace(PLANTED[0], settings={"weights": weights})
    result = audited(plain, tests=["perturbation", "truncation"])
    assert result.passed
    assert {each.test for each in result.comparisons if each.compared} == {"perturbation", "truncation"}


@pytest.mark.nightly
def test_what_is_carried_on_from_the_month_before_raises_no_alarm() -> None:
    result = audited(PLANTED[1], tests=["perturbation", "truncation", "months"], assets=["weights", "track_record"])
    assert [each for each in result.comparisons if each.failed] == []
    compared = {(each.asset, each.test): each.compared for each in result.comparisons}
    assert min(compared.values()) > 0
    assert compared["weights", "perturbation"] > 2, "names of the month before are kept in part"

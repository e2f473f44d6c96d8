"""Planted leaks of weights and sleeves are seen, and weights that follow from the sessions before raise no alarm."""

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


def audited(weights: dict[str, Any], leak: Leak | None = None, asset: str = "weights", **asked: Any) -> AuditResult:
    untrained = SMALL["training"] | {"min_rows": 1_000_000}
    more = {**SMALL, "training": untrained, "labels": {"horizons": (20,)}, "weights": weights}
    settings = load_settings("demo", **more, as_of=date(2024, 12, 13), partitions={"start": START})
    given = {"sectors": [SECTOR], "first": "2023-10", "last": "2023-12", "assets": [asset], "diagnosed": False}
    return audit_lookahead(settings, **given, cuts=[leak.cut if leak else date(2023, 11, 15)], reach=3, **asked)


@pytest.mark.parametrize("leak", leaks_of(leaks_of_portfolio.__name__), ids=lambda leak: leak.name)
def test_a_leak_is_seen(leak: Leak, monkeypatch: pytest.MonkeyPatch) -> None:
    leak.plant(monkeypatch)
    result = audited(leak.settings.get("weights", {}), leak, leak.asset, tests=[leak.test])
    caught = [each for each in result.comparisons if each.failed and each.test == leak.test]
    assert {each.asset for each in caught} == {leak.asset}
    assert all(each.cause and each.compared for each in caught)


def test_weights_that_follow_from_the_sessions_before_raise_no_alarm() -> None:
    weights = OF_HISTORY | {"covariance": OF_HISTORY["covariance"] | {"estimator": "dcc"}, "book": "130_30"}
    result = audited(weights, tests=["perturbation", "truncation"])
    assert result.passed
    assert {each.test for each in result.comparisons if each.compared} == {"perturbation", "truncation"}

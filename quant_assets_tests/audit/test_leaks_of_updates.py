"""Planted leaks of updates between trainings are seen, and an update without one raises no alarm."""

from datetime import date
from typing import Any

import pytest

from quant_assets.audit.findings import AuditResult
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets.settings.loading import load_settings
from quant_assets_tests.audit import leaks_of_updates
from quant_assets_tests.audit.leaks import Leak, leaks_of
from quant_assets_tests.graph import SMALL

pytestmark = pytest.mark.slow

UPDATED: dict[str, Any] = {"linear": {"kind": "linear", "update": True}, "lightgbm": None}
PLANTED = leaks_of(leaks_of_updates.__name__)


def audited(leak: Leak) -> AuditResult:
    more = SMALL | {"models": SMALL["models"] | UPDATED, "weights": {"model": "linear"}, "labels": {"horizons": (20,)}}
    more |= {"partitions": {"start": leak.start}}
    return audit_lookahead(
        load_settings("demo", **more, as_of=date(2024, 12, 13)),
        sectors=[leak.sector],
        first=leak.first,
        last=leak.last,
        assets=[leak.asset],
        tests=[leak.test],
        cuts=[leak.cut],
        reach=leak.reach,
        diagnosed=False,
    )


@pytest.mark.parametrize("leak", PLANTED, ids=lambda leak: leak.name)
def test_a_leak_of_an_update_is_seen(leak: Leak, monkeypatch: pytest.MonkeyPatch) -> None:
    leak.plant(monkeypatch)
    result = audited(leak)
    caught = [each for each in result.comparisons if each.failed]
    assert {(each.asset, each.test) for each in caught} == {(leak.asset, leak.test)}, result.notes
    assert all(each.cause and each.compared for each in caught)


def test_an_update_without_a_leak_raises_no_alarm() -> None:
    result = audited(PLANTED[0])
    assert [each for each in result.comparisons if each.failed] == []
    compared = {each.column: each.compared for each in result.comparisons if each.asset == PLANTED[0].asset}
    assert sum(compared.values()) >= 2, "the training and the update"

"""The audit of what trading costs: each planted leak is found, and shorts alone raise no alarm."""

import pytest

from quant_assets.audit.findings import AuditResult
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets_tests.audit import leaks_of_trading
from quant_assets_tests.audit.leaks import Leak, leaks_of
from quant_assets_tests.audit.test_mutations import SECTOR, UNTRAINED, found, small

LEAKS = leaks_of(leaks_of_trading.__name__)


def audited(leak: Leak) -> AuditResult:
    return audit_lookahead(
        small(leak.start, backtest=leaks_of_trading.BACKTEST, **UNTRAINED),
        sectors=[SECTOR],
        first=leak.first,
        last=leak.last,
        assets=[leak.asset],
        tests=[leak.test],
        cuts=[leak.cut],
        reach=leak.reach,
        diagnosed=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_a_leak_of_what_trading_costs_is_seen(leak: Leak, monkeypatch: pytest.MonkeyPatch) -> None:
    leak.plant(monkeypatch)
    result = audited(leak)
    caught = found(result, leak.test, leak.asset)
    assert caught, f"{leak.test} saw nothing; notes: {result.notes}"
    assert all(each.cause and each.compared for each in caught)


@pytest.mark.slow
@pytest.mark.nightly
def test_shorts_and_their_costs_raise_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    leaks_of_trading.with_shorts(monkeypatch)
    result = audited(LEAKS[0])
    assert not [each for each in result.comparisons if each.failed]
    assert sum(each.compared for each in result.comparisons if each.asset == "backtest_costs") > 20

"""The audit of features of the economy: each planted leak is found, and the set alone raises no alarm."""

import pytest

from quant_assets.audit.findings import AuditResult
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets_tests.audit import leaks_of_macro
from quant_assets_tests.audit.leaks import Leak, leaks_of
from quant_assets_tests.audit.test_mutations import SECTOR, UNTRAINED, found, small

LEAKS = leaks_of(leaks_of_macro.__name__)


def audited(leak: Leak) -> AuditResult:
    return audit_lookahead(
        small(leak.start, **leak.settings, **UNTRAINED),
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
def test_a_leak_of_the_economy_is_seen_and_without_it_there_is_none(
    leak: Leak, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not [each for each in audited(leak).comparisons if each.failed]
    leak.plant(monkeypatch)
    caught = found(audited(leak), leak.test, leak.asset)
    assert caught
    assert {each.column for each in caught if (each.column or "").startswith("macro_")}

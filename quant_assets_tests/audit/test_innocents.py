"""Changes that look at nothing later raise no alarm, whatever the test."""

from datetime import date

import pytest

from quant_assets.audit.lookahead import audit_lookahead
from quant_assets_tests.audit.innocents import INNOCENTS, Innocent, settings_of
from quant_assets_tests.audit.test_mutations import EVERY_TEST, SECTOR, small


def test_there_are_twenty_innocent_changes() -> None:
    assert len(INNOCENTS) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("each", INNOCENTS.values(), ids=lambda each: each.name)
def test_an_innocent_change_raises_no_alarm(each: Innocent, monkeypatch: pytest.MonkeyPatch) -> None:
    each.plant(monkeypatch)
    # A training looks back further than these months; where rows are not computed anew nothing would be compared.
    tests = ("truncation", "perturbation", "order") if each.trains else EVERY_TEST
    result = audit_lookahead(
        small("2022-12", **settings_of(each)),
        sectors=[SECTOR],
        first="2023-10",
        last="2023-12",
        assets=each.assets,
        tests=tests,
        cuts=[date(2023, 12, 12) if each.trains else date(2023, 11, 15)],
    )
    assert [(found.test, found.asset, found.column, found.cause) for found in result.failures] == []
    compared = {
        name: sum(found.compared for found in result.comparisons if found.asset == name) for name in each.assets
    }
    assert min(compared.values()) > 0, compared

from datetime import date

import polars as pl
import pytest

from quant_assets.errors import HistoryError
from quant_assets.portfolio.allocation import total_portfolio
from quant_assets.schemas import DATASETS
from quant_assets.settings.results import PortfolioSettings
from quant_assets.settings.risk import ExposureSettings

MAY, JUNE = date(2016, 5, 31), date(2016, 6, 30)
EQUAL, INVERSE = PortfolioSettings(allocation="equal"), PortfolioSettings(allocation="inverse_volatility")


def weights(*rows: tuple[str, str, date, float]) -> pl.DataFrame:
    return pl.DataFrame(
        rows, schema={"sector": pl.String, "ticker": pl.String, "as_of": pl.Date, "weight": pl.Float64}, orient="row"
    )


def regimes(*rows: tuple[str, date, float | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"sector": pl.String, "as_of": pl.Date, "volatility": pl.Float64}, orient="row")


TWO = weights(("it", "X", JUNE, 0.75), ("it", "Y", JUNE, 0.25), ("energy", "Z", JUNE, 1.0))


def test_sectors_with_weights_share_equally() -> None:
    frame = total_portfolio(TWO, regimes(), [MAY, JUNE], EQUAL)
    assert frame.select("sector", "ticker", "weight", "sector_share").rows() == [
        ("energy", "Z", 0.5, 0.5),
        ("it", "X", 0.375, 0.5),
        ("it", "Y", 0.125, 0.5),
    ]
    assert frame.schema == DATASETS["portfolio_weights"].schema


def test_shares_inverse_to_realised_volatility() -> None:
    known = regimes(("it", JUNE, 0.3), ("energy", JUNE, 0.1), ("it", MAY, 9.0))
    frame = total_portfolio(TWO, known, [JUNE], INVERSE)
    assert dict(frame.select("sector", "sector_share").iter_rows()) == pytest.approx(
        {"energy": 0.75, "it": 0.25}, abs=1e-15
    )


def test_a_sector_without_volatility_counts_as_the_median() -> None:
    three = pl.concat([TWO, weights(("utilities", "U", JUNE, 1.0))])
    frame = total_portfolio(
        three, regimes(("it", JUNE, 0.2), ("energy", JUNE, 0.2), ("utilities", JUNE, None)), [JUNE], INVERSE
    )
    assert set(frame["sector_share"]) == {1 / 3}
    assert total_portfolio(three, regimes(), [JUNE], INVERSE)["weight"].sum() == pytest.approx(1.0, abs=1e-12)


def test_a_month_in_which_nothing_is_held_has_no_rows() -> None:
    assert total_portfolio(TWO.clear(), regimes(), [JUNE], EQUAL).is_empty()


def test_a_sector_decided_at_another_session_is_an_error() -> None:
    stale = pl.concat([TWO, weights(("utilities", "U", date(2016, 6, 20), 1.0))])
    with pytest.raises(HistoryError, match=r"utilities.*2016-06-20.*2016-06-30.*materialise"):
        total_portfolio(stale, regimes(), [JUNE], EQUAL)


def test_a_range_equals_its_months() -> None:
    both = pl.concat([TWO, TWO.with_columns(as_of=pl.lit(MAY), weight=pl.Series([0.6, 0.4, 1.0]))])
    known = regimes(("it", JUNE, 0.3), ("energy", JUNE, 0.17), ("it", MAY, 0.2), ("energy", MAY, 0.13))
    bulk = total_portfolio(both, known, [MAY, JUNE], INVERSE)
    singles = [
        total_portfolio(both.filter(pl.col("as_of") == m), known.filter(pl.col("as_of") == m), [m], INVERSE)
        for m in (MAY, JUNE)
    ]
    assert bulk.equals(pl.concat(singles))


def multipliers(*rows: tuple[str, date, float | None]) -> pl.DataFrame:
    schema = {"sector": pl.String, "as_of": pl.Date, "risk_multiplier": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(volatility=pl.lit(0.2))


def exposed(**settings: object) -> PortfolioSettings:
    return PortfolioSettings(exposure=ExposureSettings(**settings))


@pytest.mark.parametrize(
    ("multiplier", "settings", "exposure"),
    [
        (0.5, {}, 0.5),
        (1.0, {}, 1.0),
        (1.2, {}, 1.0),  # nothing is borrowed unless the setting lets it
        (1.2, {"most": 1.5}, 1.2),
        (None, {}, 1.0),
        (None, {"unknown": 0.25}, 0.25),
        (0.0, {}, 0.0),
    ],
)
def test_the_markets_multiplier_is_the_exposure_and_is_not_renormalised_away(multiplier, settings, exposure) -> None:
    market = multipliers(("", JUNE, multiplier), ("", MAY, 0.7)).drop("sector")
    frame = total_portfolio(TWO, regimes(), [JUNE], exposed(regime="market", **settings), market)
    assert frame["weight"].sum() == pytest.approx(exposure, abs=1e-15)
    plain = total_portfolio(TWO, regimes(), [JUNE], EQUAL)
    if exposure:
        assert frame["weight"].to_list() == [exposure * weight for weight in plain["weight"]]
        assert frame["sector_share"].to_list() == plain["sector_share"].to_list()
    else:
        assert frame.is_empty()


def test_each_sectors_own_multiplier_leaves_cash_that_no_other_takes_up() -> None:
    known = multipliers(("it", JUNE, 0.5), ("energy", JUNE, None))
    frame = total_portfolio(TWO, known, [JUNE], exposed(regime="sector", unknown=0.8))
    by_sector = dict(frame.group_by("sector").agg(pl.col("weight").sum()).iter_rows())
    assert by_sector == {"it": pytest.approx(0.25), "energy": pytest.approx(0.4)}


def test_without_regimes_the_total_portfolio_is_what_it_was() -> None:
    known = multipliers(("it", JUNE, 0.5), ("energy", JUNE, 0.5))
    assert total_portfolio(TWO, known, [JUNE], EQUAL, known.drop("sector")).equals(
        total_portfolio(TWO, regimes(), [JUNE], EQUAL)
    )


@pytest.mark.parametrize("regime", ["market", "sector"])
def test_a_regime_that_is_not_there_is_an_error_that_names_it(regime: str) -> None:
    may = multipliers(("it", MAY, 1.0), ("energy", MAY, 1.0))
    name = {"market": "market_regime", "sector": "regime_state"}[regime]
    with pytest.raises(HistoryError, match=f"sector 'energy' at 2016-06-30 follows {name}, which has no row"):
        total_portfolio(TWO, may, [JUNE], exposed(regime=regime), may)

"""Regressions on factors: statsmodels' figures, alpha annualised once, months that are whole, and what is refused."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.backtest.factor_models import MODELS, default_lags, explain, regress
from quant_assets.backtest.factor_returns import FactorReturns
from quant_assets.errors import SettingsError
from quant_assets.market.calendar import sessions

DAYS = sessions(date(2020, 1, 2), date(2022, 12, 30))


def autocorrelated(seed: int, count: int = 600, factors: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    given = 0.01 * rng.standard_t(5, (count, factors))
    noise = 0.01 * rng.normal(size=count)
    for place in range(1, count):
        noise[place] += 0.4 * noise[place - 1]
    noise *= 1.0 + 20.0 * np.abs(given[:, 0])  # heteroskedastic too
    return 0.0003 + given @ np.array([1.1, 0.4, -0.2, 0.1, 0.3, 0.2][:factors]) + noise, given


@pytest.mark.parametrize(("seed", "factors", "lags"), [(1, 1, 0), (2, 3, None), (3, 6, 12)])
def test_statsmodels_has_the_same_figures(seed: int, factors: int, lags: int | None) -> None:
    sm = pytest.importorskip("statsmodels.api")
    values, given = autocorrelated(seed, factors=factors)
    found = regress(values, given, lags)
    used = default_lags(len(values)) if lags is None else lags
    oracle = sm.OLS(values, sm.add_constant(given)).fit(
        cov_type="HAC", cov_kwds={"maxlags": used, "use_correction": True}
    )
    np.testing.assert_allclose(found.coefficients, oracle.params, rtol=1e-10)
    np.testing.assert_allclose(found.errors, oracle.bse, rtol=1e-9)
    np.testing.assert_allclose(found.t, oracle.tvalues, rtol=1e-9)
    np.testing.assert_allclose(found.p, oracle.pvalues, rtol=1e-6, atol=1e-12)
    assert found.r_squared == pytest.approx(oracle.rsquared)
    assert found.lags == used


def test_lags_by_hand() -> None:
    assert [default_lags(count) for count in (100, 252, 2520)] == [4, 4, 8]


def factors_of(names: tuple[str, ...], seed: int = 4, **more: float) -> FactorReturns:
    rng = np.random.default_rng(seed)
    columns = {name: 0.01 * rng.normal(size=len(DAYS)) for name in names}
    columns |= {name: np.full(len(DAYS), value) for name, value in more.items()}
    rows = pl.DataFrame({"period": pl.Series(DAYS, dtype=pl.Date), **columns})
    return FactorReturns("daily", rows, "made up")


def track_of(returns: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"date": pl.Series(DAYS, dtype=pl.Date), "net_return": returns})


def test_alpha_is_annualised_once_and_the_risk_free_rate_taken_off() -> None:
    given = factors_of(MODELS["ff3"], rf=0.0001)
    own = 0.0001 + 0.0002 + given.rows["mkt_rf"].to_numpy() * 1.3 - 0.5 * given.rows["hml"].to_numpy()
    found = explain(track_of(own), given, "ff3")
    assert found.alpha == pytest.approx(0.0002 * 252)
    assert found.fit.coefficients[1:] == pytest.approx([1.3, 0.0, -0.5])
    assert found.risk_free
    assert (found.first, found.last, found.fit.count) == (DAYS[0].item(), DAYS[-1].item(), len(DAYS))
    without = explain(track_of(own), factors_of(MODELS["ff3"]), "ff3")
    assert not without.risk_free
    assert without.alpha == pytest.approx(0.0003 * 252)


def test_monthly_factors_explain_compounded_returns_of_whole_months() -> None:
    rng = np.random.default_rng(5)
    daily = 0.01 * rng.normal(size=len(DAYS))
    frame = track_of(daily)
    months = (
        frame.group_by(period=pl.col("date").dt.month_start(), maintain_order=True)
        .agg(total=(1 + pl.col("net_return")).product() - 1)
        .with_columns(mkt_rf=pl.col("total") / 2.0)
    )
    given = FactorReturns("monthly", months.select("period", "mkt_rf"), "made up")
    found = explain(frame, given, "capm")
    assert found.fit.coefficients == pytest.approx([0.0, 2.0], abs=1e-12)
    assert (found.periods, found.fit.count) == (12, 36)
    cut = explain(frame.slice(3, len(frame) - 5), given, "capm")
    assert (cut.fit.count, cut.first, cut.last) == (34, date(2020, 2, 1), date(2022, 11, 1))


@pytest.mark.parametrize(
    ("model", "names", "words"),
    [
        ("ff9", MODELS["ff3"], "choose one of capm, ff3, carhart, ff5, ff5_mom"),
        ("ff5", MODELS["ff3"], "model ff5 needs rmw, cma, which made up does not have"),
    ],
)
def test_what_cannot_be_explained_is_refused(model: str, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        explain(track_of(np.zeros(len(DAYS))), factors_of(names), model)


def test_too_few_periods_and_factors_that_follow_from_others_are_refused() -> None:
    values, given = autocorrelated(6)
    with pytest.raises(SettingsError, match="20 periods are too few"):
        regress(values[:20], given[:20])
    with pytest.raises(SettingsError, match="combination of the others"):
        regress(values, np.column_stack([given, given.sum(axis=1)]))
    short = FactorReturns("daily", factors_of(("mkt_rf",)).rows.head(10), "made up")
    with pytest.raises(SettingsError, match="10 periods have both"):
        explain(track_of(np.zeros(len(DAYS))), short, "capm")

import numpy as np
import pytest
import talib


def test_average_true_range_is_talibs(compacted, bar_values, real_values) -> None:
    for source in (bar_values, real_values):
        for i, bars, at in compacted(source):
            expected = talib.ATR(bars.high, bars.low, bars.close, 14)
            defined = np.isfinite(expected)
            np.testing.assert_allclose(
                at("average_true_range_14")[defined], expected[defined], rtol=1e-9, err_msg=str(i)
            )
            np.testing.assert_allclose(at("atr_14")[defined], (expected / bars.close)[defined], rtol=1e-9)


def test_range_volatilities_are_their_formulas(compacted, bar_values, real_values) -> None:
    for source in (bar_values, real_values):
        for _, bars, at in compacted(source, full=True):
            t = len(bars.close) - 3
            for n in (20, 60):
                o, h, low, c = (getattr(bars, name)[t - n + 1 : t + 1] for name in ("open", "high", "low", "close"))
                before = bars.close[t - n : t]
                parkinson = np.sqrt(252 / (4 * np.log(2)) * np.mean(np.log(h / low) ** 2))
                assert at(f"parkinson_volatility_{n}")[t] == pytest.approx(parkinson, rel=1e-10)
                day = 0.5 * np.log(h / low) ** 2 - (2 * np.log(2) - 1) * np.log(c / o) ** 2
                assert at(f"garman_klass_volatility_{n}")[t] == pytest.approx(np.sqrt(252 * day.mean()), rel=1e-10)
                assert at(f"realised_volatility_{n}")[t] == pytest.approx(
                    np.log(c / before).std(ddof=1) * np.sqrt(252), rel=1e-10
                )
                if n == 20:
                    rogers = (np.log(h / c) * np.log(h / o) + np.log(low / c) * np.log(low / o)).mean()
                    assert at("rogers_satchell_volatility_20")[t] == pytest.approx(np.sqrt(252 * rogers), rel=1e-9)
                    k = 0.34 / (1.34 + 21 / 19)
                    yang = np.log(o / before).var(ddof=1) + k * np.log(c / o).var(ddof=1) + (1 - k) * rogers
                    assert at("yang_zhang_volatility_20")[t] == pytest.approx(np.sqrt(252 * yang), rel=1e-9)


def test_estimators_find_the_volatility_of_a_random_walk(drift_free) -> None:
    """A year of sessions of 400 steps each: range estimators read a little low because the path is not continuous."""
    for name in ("parkinson_volatility_60", "garman_klass_volatility_60", "rogers_satchell_volatility_20"):
        assert np.nanmean(drift_free(name)) == pytest.approx(0.20, rel=0.07), name


def test_shape_of_returns_by_hand(compacted, bar_values, bar_panel) -> None:
    _, bars, at = next(compacted(bar_values))
    t = 700
    r = bars.close[t - 119 : t + 1] / bars.close[t - 120 : t] - 1
    logs, last = np.log1p(r), r[-60:]
    assert at("downside_volatility_60")[t] == pytest.approx(
        np.sqrt(252 * np.mean(np.minimum(logs[-60:], 0) ** 2)), rel=1e-10
    )
    assert at("volatility_ratio_20_120")[t] == pytest.approx(logs[-20:].std(ddof=1) / logs.std(ddof=1), rel=1e-10)
    assert at("max_return_20")[t] == pytest.approx(r[-20:].max(), rel=1e-12)
    assert at("realised_skewness_60")[t] == pytest.approx(np.mean(last**3) / np.mean(last**2) ** 1.5, rel=1e-9)
    assert at("realised_kurtosis_60")[t] == pytest.approx(np.mean(last**4) / np.mean(last**2) ** 2, rel=1e-9)
    sector = bar_panel["sector_return"][t - 119 : t + 1]
    rest = r - np.polyval(np.polyfit(sector, r, 1), sector)
    assert at("residual_volatility_120")[t] == pytest.approx(np.sqrt((rest**2).sum() / 118 * 252), rel=1e-9)
    assert at("sector_correlation_120")[t] == pytest.approx(np.corrcoef(sector, r)[0, 1], rel=1e-9)

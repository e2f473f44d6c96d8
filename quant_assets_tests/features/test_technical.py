import numpy as np
import polars as pl
import pytest
import talib

from quant_assets.features.bars import FEATURES as OF_BARS
from quant_assets.features.technical import FEATURES
from quant_assets.market.panel import Panel
from quant_assets.market.sector_return import equal_weight_returns
from quant_assets.windows.declarations import FeatureSet
from quant_assets.windows.windows import Windows

TECHNICAL = FeatureSet((*OF_BARS, *FEATURES))


@pytest.fixture(scope="module")
def panel(market) -> Panel:
    return Panel.from_long(market.prices, market.days, ["close", "volume"])


@pytest.fixture(scope="module")
def sector_return(market) -> np.ndarray:
    return equal_weight_returns(market.prices, market.universe, market.days)


@pytest.fixture(scope="module")
def values(panel, sector_return) -> dict[str, np.ndarray]:
    return evaluate(panel, sector_return)


def evaluate(panel: Panel, sector_return: np.ndarray, *names: str) -> dict[str, np.ndarray]:
    return TECHNICAL.evaluate({**panel.fields, "sector_return": sector_return}, Windows(panel.sessions), names or None)


@pytest.fixture(scope="module")
def closes(market) -> np.ndarray:
    """GONE: a complete series of 931 bars."""
    return market.prices.filter(pl.col("ticker") == "GONE").sort("date")["close"].to_numpy()


def row(panel: Panel, ticker: str) -> int:
    return panel.tickers.index(ticker)


def test_rsi_is_talibs(compacted, bar_values, real_values) -> None:
    for source in (bar_values, real_values):
        for ticker, bars, at in compacted(source):
            expected = talib.RSI(bars.close, 14)
            np.testing.assert_allclose(at("rsi_14")[14:], expected[14:], rtol=1e-9, atol=1e-9, err_msg=ticker)
            assert np.isnan(at("rsi_14")[:14]).all()


def test_rsi_of_a_price_that_never_moves_is_missing(values, panel) -> None:
    assert np.isnan(values["rsi_14"][row(panel, "FLAT")]).all()


def test_macd_is_talibs(compacted, bar_values, real_values) -> None:
    """To 1e-9 USD, from the first value that TA-Lib gives."""
    for source in (bar_values, real_values):
        for ticker, bars, at in compacted(source):
            line, signal, histogram = talib.MACD(bars.close)
            result = {name: at(name)[33:] * bars.close[33:] for name in ("macd", "macd_signal", "macd_histogram")}
            for name, expected in (("macd", line), ("macd_signal", signal), ("macd_histogram", histogram)):
                ours = np.isfinite(result[name])  # of nine sessions two without a bar are too many for a signal
                assert ours.mean() > 0.8
                np.testing.assert_allclose(
                    result[name][ours], expected[33:][ours], rtol=1e-9, atol=1e-9, err_msg=f"{ticker} {name}"
                )
            assert np.isnan(at("macd")[:25]).all()
            assert np.isnan(at("macd_signal")[:33]).all()


def test_returns_volatility_and_high_by_hand(values, panel, closes) -> None:
    at, i = 600, row(panel, "GONE")
    for lag in (1, 5, 20, 60, 120, 252):
        assert values[f"return_{lag}"][i, at] == pytest.approx(closes[at] / closes[at - lag] - 1, rel=1e-12)
    logs = np.diff(np.log(closes[: at + 1]))
    for window in (20, 60):
        assert values[f"realised_volatility_{window}"][i, at] == pytest.approx(
            logs[-window:].std(ddof=1) * np.sqrt(252), rel=1e-10
        )
    assert values["high_52w_distance"][i, at] == pytest.approx(
        closes[at] / closes[at - 251 : at + 1].max() - 1, rel=1e-12
    )
    assert np.nanmax(values["high_52w_distance"]) == 0.0
    assert (values["realised_volatility_20"][row(panel, "FLAT"), 21:] == 0.0).all()


def test_volume_zscore_by_hand(values, panel, sector_return) -> None:
    i = row(panel, "GONE")
    sample = panel["volume"][i, 581:601]
    assert values["volume_zscore_20"][i, 600] == pytest.approx(
        (sample[-1] - sample.mean()) / sample.std(ddof=1), rel=1e-10
    )
    steady = Panel(panel.tickers, panel.sessions, {**panel.fields, "volume": np.full(panel.shape, 0.1)})
    assert np.isnan(evaluate(steady, sector_return, "volume_zscore_20")["volume_zscore_20"]).all()


def test_beta_is_against_the_members_of_the_session_before(values, panel, market) -> None:
    close = panel["close"]
    member = Panel.from_long(market.universe.with_columns(member=1.0), market.days, ["member"])
    assert member.tickers == panel.tickers
    sector = np.full(close.shape[1], np.nan)
    for j in range(1, close.shape[1]):
        returns = []
        for i in np.flatnonzero(member["member"][:, j - 1] == 1.0):
            before = close[i, max(0, j - 6) : j][~np.isnan(close[i, max(0, j - 6) : j])]
            if len(before) and not np.isnan(close[i, j]):
                returns.append(close[i, j] / before[-1] - 1)
        sector[j] = np.mean(returns)
    i, window = row(panel, "GONE"), slice(481, 601)
    own = close[i, window] / close[i, 480:600] - 1
    assert values["beta_120"][i, 600] == pytest.approx(np.polyfit(sector[window], own, 1)[0], rel=1e-9)
    # MOVE is not yet a member then: its returns must not count.
    assert np.isnan(member["member"][row(panel, "MOVE"), 600])
    without = equal_weight_returns(market.prices.filter(pl.col("ticker") != "MOVE"), market.universe, market.days)
    alone = evaluate(panel, without, "beta_120")["beta_120"]
    assert alone[i, 600] == values["beta_120"][i, 600]


def test_a_halt_makes_returns_over_it_missing_but_not_those_around(values, panel, market) -> None:
    i = row(panel, "HALT")
    resumed = int(np.searchsorted(market.days, np.datetime64("2020-07-16")))
    assert np.isnan(panel["close"][i, resumed - 9 : resumed]).all()
    assert np.isnan(values["return_1"][i, resumed])  # the last bar is nine sessions old
    assert np.isfinite(values["return_20"][i, resumed])
    # Five sessions before is inside the halt; the last bar before it is just not stale.
    assert values["return_5"][i, resumed] == panel["close"][i, resumed] / panel["close"][i, resumed - 10] - 1
    assert np.isfinite(values["return_1"][i, resumed + 1])


def test_betas_members_are_those_of_120_sessions() -> None:
    assert TECHNICAL.reach("sector_return") == {"sector_line_120": 119, "beta_120": 119}

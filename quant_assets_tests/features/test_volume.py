from datetime import date

import numpy as np
import pytest
import talib

from quant_assets.market.calendar import sessions
from quant_assets.market.panel import Panel
from quant_assets.windows.windows import Windows
from quant_assets_tests.synthetic_bars import evaluator, random_panel


def changes(cumulative: np.ndarray, window: int) -> np.ndarray:
    out = np.full(len(cumulative), np.nan)
    out[window:] = cumulative[window:] - cumulative[:-window]
    return out


def sums(values: np.ndarray, window: int) -> np.ndarray:
    return changes(np.concatenate([[0.0], np.cumsum(values)]), window)[1:]


def test_flows_are_changes_of_talibs_cumulative_sums(compacted, bar_values, real_values) -> None:
    for source in (bar_values, real_values):
        for i, bars, at in compacted(source, full=True):
            balance, distribution = (
                talib.OBV(bars.close, bars.volume),
                talib.AD(bars.high, bars.low, bars.close, bars.volume),
            )
            for name, cumulative, window in (
                ("obv_change_20", balance, 20),
                ("obv_change_60", balance, 60),
                ("chaikin_money_flow_20", distribution, 20),
            ):
                expected = changes(cumulative, window) / sums(bars.volume, window)
                defined = np.isfinite(expected)
                np.testing.assert_allclose(at(name)[defined], expected[defined], atol=1e-9, err_msg=f"{i} {name}")
            expected = talib.MFI(bars.high, bars.low, bars.close, bars.volume, 14)
            both = np.isfinite(expected) & np.isfinite(at("money_flow_index_14"))
            assert both[250:].mean() > 0.95
            np.testing.assert_allclose(at("money_flow_index_14")[both], expected[both], atol=1e-9)


def test_liquidity_by_hand(compacted, bar_values) -> None:
    _, bars, at = next(compacted(bar_values))
    t = 700
    dollars, volume = bars.dollar_volume, bars.volume
    returns = np.abs(bars.close[1:] / bars.close[:-1] - 1)
    for n in (20, 120):
        assert at(f"amihud_{n}")[t] == pytest.approx(
            1e6 * np.mean(returns[t - n : t] / dollars[t - n + 1 : t + 1]), rel=1e-10
        )
    last = slice(t - 59, t + 1)
    assert at("turnover_zscore_60")[t] == pytest.approx(
        (dollars[t] - dollars[last].mean()) / dollars[last].std(ddof=1), rel=1e-9
    )
    assert at("turnover_variation_60")[t] == pytest.approx(dollars[last].std(ddof=1) / dollars[last].mean(), rel=1e-9)
    assert at("volume_ratio_5_60")[t] == pytest.approx(volume[t - 4 : t + 1].mean() / volume[last].mean(), rel=1e-10)
    typical = ((bars.high + bars.low + bars.close) / 3)[t - 19 : t + 1]
    vwap = (typical * volume[t - 19 : t + 1]).sum() / volume[t - 19 : t + 1].sum()
    assert at("vwap_distance_20")[t] == pytest.approx(bars.close[t] / vwap - 1, rel=1e-9)
    assert at("return_volume_correlation_60")[t] == pytest.approx(
        np.corrcoef(returns[t - 60 : t], np.log(volume[last]))[0, 1], rel=1e-9
    )


def test_sessions_without_volume(flat_values) -> None:
    """The second ticker never trades after its first half: that is not known illiquidity, and not a division by
    zero."""
    assert np.isnan(flat_values("amihud_20")[1, 500:]).all()
    assert np.isnan(flat_values("obv_change_20")[1, 500:]).all()
    assert np.isfinite(flat_values("amihud_20")[1, 30:300]).all()
    assert (flat_values("zero_return_share_60")[0, 61:] == 1.0).all()
    assert flat_values("zero_return_share_60")[1, 300] == 0.0


@pytest.mark.parametrize("anchor", [1.0, 0.7, 1 / 3, 0.123, 17.31])
def test_equal_closes_around_a_split_are_no_move_whatever_the_first_bar(anchor: float) -> None:
    panel = random_panel(np.random.default_rng(3), 1, sessions(date(2020, 1, 1), date(2021, 12, 31)))
    split, fields = 400, {name: values.copy() for name, values in panel.fields.items()}
    traded = np.round(fields["close"], 2)
    traded[:, split - 1 : split + 1] = 33.33 * 3.0, 33.33  # three for one, and nobody changed his mind
    factor = np.where(np.arange(traded.shape[1]) < split, anchor, anchor * 3.0)
    fields["close"] = traded * factor
    at = evaluator(Panel(panel.tickers, panel.sessions, fields))
    assert at("daily_return")[0, split] == 0.0
    assert at("change")[0, split] == 0.0
    assert at("zero_return_share_60")[0, split] == pytest.approx(1 / 60)
    rises, falls, ups, downs = Windows(panel.sessions).moves(fields["close"], 1)[:, 0, split]
    assert (rises, falls, ups, downs) == (0.0, 0.0, 0.0, 0.0)

"""Tests of all features that are windows over bars, from any module."""

import math

import numpy as np
import pytest

from quant_assets.features import core
from quant_assets.features.bars import over
from quant_assets.market.panel import STALE_SESSIONS
from quant_assets.windows.declarations import Feature, FeatureSet
from quant_assets.windows.windows import Windows

LIBRARY = FeatureSet(feature for feature in core.FEATURES if isinstance(feature, Feature))


def cut(panel, first: int, last: int) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(values[..., first:last]) for name, values in panel.fields.items()}


def identical(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(
        np.ascontiguousarray(actual).view(np.int64), np.ascontiguousarray(expected).view(np.int64)
    )


@pytest.mark.parametrize("name", LIBRARY.names)
def test_one_month_with_its_lookback_is_the_month_of_the_whole(name: str, bar_panel) -> None:
    """Bit for bit, also in an unfinished month: only the declared history and nothing from the future."""
    whole = LIBRARY.evaluate(bar_panel.fields, Windows(bar_panel.sessions), [name])[name]
    lookback = LIBRARY.total_lookback(name)
    for month in ("2019-07", "2019-08", "2019-09", "2019-10", "2019-11", "2019-12"):
        start, end = np.searchsorted(bar_panel.sessions, [np.datetime64(month, "D"), np.datetime64(month) + 1])
        for last in (start + 1, start + 11, end):
            first = start - lookback
            assert first >= 0
            result = LIBRARY.evaluate(cut(bar_panel, first, last), Windows(bar_panel.sessions[first:last]), [name])[
                name
            ]
            identical(result[:, lookback:], whole[:, start:last])
        assert np.isfinite(whole[0, start:end]).mean() > 0.95


@pytest.mark.parametrize("name", LIBRARY.names)
def test_a_ticker_is_computed_by_itself(name: str, bar_panel) -> None:
    whole = LIBRARY.evaluate(bar_panel.fields, Windows(bar_panel.sessions), [name])[name]
    for i in range(len(whole)):
        alone = {field: values if values.ndim == 1 else values[i : i + 1] for field, values in bar_panel.fields.items()}
        identical(LIBRARY.evaluate(alone, Windows(bar_panel.sessions), [name])[name][0], whole[i])


def test_values_stay_within_their_bounds_and_say_what_they_are(bar_panel, flat_panel) -> None:
    for panel in (bar_panel, flat_panel):
        values = LIBRARY.evaluate(panel.fields, Windows(panel.sessions))
        for feature in LIBRARY.features:
            result = values[feature.name]
            assert not np.isinf(result).any(), feature.name
            result = result[np.isfinite(result)]
            assert feature.ge is None or (result >= feature.ge).all(), feature.name
            assert feature.gt is None or (result > feature.gt).all(), feature.name
            assert feature.le is None or (result <= feature.le).all(), feature.name
            assert feature.meaning
            assert feature.unit
    assert len(LIBRARY.names) > 80


@pytest.mark.parametrize("name", LIBRARY.names)
def test_is_free_of_the_price_scale(name: str, bar_panel) -> None:
    """A split in the far past must not change a feature: prices times 4, volumes over 4 (exact in binary) give the same
    values."""
    scaled = {
        field: values * {"open": 4.0, "high": 4.0, "low": 4.0, "close": 4.0, "volume": 0.25}.get(field, 1.0)
        for field, values in bar_panel.fields.items()
    }
    w = Windows(bar_panel.sessions)
    before, after = (LIBRARY.evaluate(fields, w, [name])[name] for fields in (bar_panel.fields, scaled))
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9)


def test_true_range_by_hand(bar_values, bar_panel) -> None:
    high, low, close = (bar_panel[name][0] for name in ("high", "low", "close"))
    at = 500
    expected = max(high[at] - low[at], abs(high[at] - close[at - 1]), abs(low[at] - close[at - 1]))
    assert bar_values("true_range")[0, at] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(bar_values("true_range")[0, 0])
    halt = np.flatnonzero(np.isnan(close := bar_panel["close"][2]))
    resumed = halt[-1] + 1
    assert len(halt) > STALE_SESSIONS
    assert np.isnan(bar_values("true_range")[2, resumed])
    assert np.isfinite(bar_values("true_range")[2, resumed + 1])
    assert np.isfinite(close[resumed])


def test_logarithms_of_a_bar_add_up(bar_values, bar_panel) -> None:
    day = bar_values("log_overnight")[0, 1:] + bar_values("log_intraday")[0, 1:]
    np.testing.assert_allclose(day, bar_values("log_return")[0, 1:], atol=1e-14)
    np.testing.assert_allclose(bar_values("log_range"), bar_values("log_high") - bar_values("log_low"), atol=1e-14)
    assert bar_values("typical_price")[0, 7] == pytest.approx(
        sum(bar_panel[name][0, 7] for name in ("high", "low", "close")) / 3, rel=1e-14
    )


def test_over_is_missing_where_the_denominator_is_not_positive() -> None:
    result = over(np.array([1.0, 1.0, -6.0, 1.0]), np.array([0.0, -2.0, 3.0, math.nan]))
    np.testing.assert_array_equal(result, [math.nan, math.nan, -2.0, math.nan])

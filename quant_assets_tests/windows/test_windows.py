import subprocess
import sys
from collections.abc import Callable
from datetime import date

import numpy as np
import pytest

from quant_assets.market import calendar
from quant_assets.market.panel import STALE_SESSIONS
from quant_assets.windows.windows import (
    RESTART_WEIGHT,
    Windows,
    adx_memory,
    ema_memory,
    macd_memory,
    wilder_memory,
)

Array = np.ndarray
Kernel = Callable[[Windows, Array], Array]

DAYS = calendar.sessions(date(2017, 1, 1), date(2019, 12, 31))
WINDOWS = Windows(DAYS)
FACTOR = np.random.default_rng(6).normal(size=len(DAYS))


@pytest.fixture(scope="module")
def values() -> Array:
    """Positive values of 4 tickers over three years: complete, scattered gaps, a long halt, a late listing."""
    rng = np.random.default_rng(5)
    panel = 20.0 * np.exp(np.cumsum(0.02 * rng.normal(size=(4, len(DAYS))), axis=1))
    panel[1, rng.uniform(size=len(DAYS)) < 0.15] = np.nan
    panel[2, 450:490] = np.nan
    panel[3, :430] = np.nan
    return panel


def windowed(values: Array, window: int, function: Callable[[Array], float], enough: float = 0.8) -> Array:
    """Readable reference: `function` of the observed values of each window that ends at a bar."""
    out = np.full(values.shape, np.nan)
    for i, j in zip(*np.nonzero(~np.isnan(values)), strict=True):
        sample = values[i, max(0, j - window + 1) : j + 1]
        sample = sample[~np.isnan(sample)]
        if len(sample) >= enough * window - 1e-9:
            out[i, j] = function(sample)
    return out


def averaged(values: Array, span: int, decay: float, memory: int, first: int, seeds: int) -> Array:
    """Readable reference of the averages: from `memory` - 1 sessions before the month, over the observed values."""
    out = np.full(values.shape, np.nan)
    for i, j in zip(*np.nonzero(~np.isnan(values)), strict=True):
        sample = values[i, max(0, WINDOWS.starts[j] - memory + 1) : j + 1]
        sample = sample[~np.isnan(sample)]
        recent = values[i, max(0, j - span + 1) : j + 1]
        if len(sample) < first or (~np.isnan(recent)).sum() < 0.8 * span - 1e-9:
            continue
        state = sample[first - seeds : first].sum() / span
        for value in sample[first:]:
            state = decay * state + (1 - decay) * value
        out[i, j] = state
    return out


def identical(actual: Array, expected: Array) -> None:
    np.testing.assert_array_equal(
        np.ascontiguousarray(actual).view(np.int64), np.ascontiguousarray(expected).view(np.int64)
    )


REFERENCES: dict[str, tuple[Callable[[Array], float], float]] = {
    "mean": (np.mean, 0.8),
    "sum": (np.sum, 0.8),
    "median": (np.median, 0.8),
    "std": (lambda x: np.std(x, ddof=1), 0.8),
    "mean_deviation": (lambda x: np.mean(np.abs(x - x.mean())), 0.8),
    "highest": (np.max, 0.8),
    "lowest": (np.min, 0.8),
    "observed": (len, 0.0),
}

KERNELS: dict[str, tuple[Kernel, int]] = {
    **{
        f"{name}_{n}": (lambda w, x, name=name, n=n: getattr(w, name)(x, n), n - 1)
        for name in REFERENCES
        for n in (5, 20, 61)
    },
    **{
        f"{name}_on_{on}": (lambda w, x, name=name, on=on: getattr(w, name)(x, factor(w, x, on), 60), 59)
        for name in ("slope", "correlation", "residual")
        for on in ("one", "own", "time")
    },
    "lagged_30": (lambda w, x: w.lagged(x, 30), 30 + STALE_SESSIONS),
    "ratio_30": (lambda w, x: w.ratio(x, 30), 30 + STALE_SESSIONS),
    "log": (lambda w, x: w.log(x), 0),
    "delayed_3": (lambda w, x: w.delayed(x, 3), 3),
    "ema_12": (lambda w, x: w.ema(x, 12), ema_memory(12) - 1),
    "ema_12_skip_14": (lambda w, x: w.ema(x, 12, 14), ema_memory(12) + 13),
    "wilder_14": (lambda w, x: w.wilder(x, 14), wilder_memory(14) - 1),
    "wilder_of_changes": (lambda w, x: w.wilder(x - w.before(x), 14, bars=x), wilder_memory(14)),
    **{
        f"{name}_of_changes": (lambda w, x, k=k: w.rises_and_falls(x - w.before(x), 14, x)[k], wilder_memory(14))
        for k, name in enumerate(("rises", "falls"))
    },
    **{
        f"{name}_10": (lambda w, x, k=k: w.directional(1.01 * x, 0.98 * x, x, 10)[k], adx_memory(10))
        for k, name in enumerate(("plus_di", "minus_di", "adx"))
    },
    "macd_line": (lambda w, x: w.macd(x, 6, 13, 5)[0], macd_memory(13, 5) - 1),
    "macd_signal": (lambda w, x: w.macd(x, 6, 13, 5)[1], macd_memory(13, 5) - 1),
}


def factor(w: Windows, values: Array, kind: str) -> Array:
    return {"one": FACTOR[-len(w.starts) :], "own": values * values, "time": w.time}[kind]


@pytest.mark.parametrize("window", [2, 5, 20, 61, 252])
@pytest.mark.parametrize("name", REFERENCES)
def test_agrees_with_the_reference(name: str, window: int, values: Array) -> None:
    reference, enough = REFERENCES[name]
    result, expected = getattr(WINDOWS, name)(values, window), windowed(values, window, reference, enough)
    assert np.isfinite(expected).sum() > 900
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_is_a_function_of_its_month_and_window(name: str, values: Array) -> None:
    """Bit for bit: with no more than the lookback before the month, without what comes later, and without the other
    tickers."""
    kernel, lookback = KERNELS[name]
    whole = kernel(WINDOWS, values)
    for month in ("2018-12", "2019-06", "2019-12"):
        start, end = np.searchsorted(DAYS, [np.datetime64(month, "D"), np.datetime64(month) + 1])
        first = start - lookback
        assert first >= 0
        for last in (start + 1, start + 12, end):  # a running month, too
            cut, days = np.ascontiguousarray(values[:, first:last]), DAYS[first:last]
            if "on_one" in name:
                result = getattr(Windows(days), name.removesuffix("_on_one"))(cut, FACTOR[first:last], 60)
            else:
                result = kernel(Windows(days), cut)
            identical(result[:, lookback:], whole[:, start:last])
    identical(np.concatenate([kernel(WINDOWS, values[i : i + 1]) for i in range(len(values))]), whole)
    assert np.isfinite(whole[:2, -40:]).sum() > 50


def test_a_window_reaches_as_far_as_it_says(values: Array) -> None:
    changed = values.copy()
    changed[0, 599 - 19] += 1.0
    assert WINDOWS.mean(values, 20)[0, 599] != WINDOWS.mean(changed, 20)[0, 599]
    row = values.copy()
    row[0, 599 - 34 : 599 - 29] = np.nan  # 30 to 34 sessions before: the oldest allowed bar is 35 before
    assert WINDOWS.lagged(row, 30)[0, 599] == row[0, 599 - 35]


def test_a_window_needs_four_fifths_of_its_sessions() -> None:
    row = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, np.nan, 7.0, np.nan, 9.0]])
    result = Windows(DAYS[:9]).mean(row, 5)
    # The first value comes at the fourth bar; a gap of one is allowed, two are not; no value without a bar.
    np.testing.assert_array_equal(result, [[np.nan, np.nan, np.nan, 2.5, 3.0, np.nan, 4.75, np.nan, np.nan]])


def test_lagged_takes_an_older_bar_but_not_a_stale_one() -> None:
    row = np.full((1, 12), np.nan)
    row[0, 2] = 8.0
    w = Windows(DAYS[:12])
    expected = np.full((1, 12), np.nan)
    expected[0, 5 : 5 + STALE_SESSIONS + 1] = 8.0
    np.testing.assert_array_equal(w.lagged(row, 3), expected)
    row[0, 9], row[0, 4] = 2.0, 0.5
    assert w.ratio(row, 3)[0, 9] == 4.0


def test_before_is_the_last_value_however_old() -> None:
    row = np.array([[np.nan, 1.0, 2.0, *[np.nan] * 9, 5.0, 6.0]])
    expected = [[np.nan, np.nan, 1.0, *[2.0] * 10, 5.0]]
    np.testing.assert_array_equal(Windows(DAYS[:14]).before(row), expected)


def test_since_counts_from_the_newest_above_zero() -> None:
    row = np.array([[0.0, 1.0, 0.0, np.nan, 0.0, 0.0, 1.0, 1.0]])
    result = Windows(DAYS[:8]).since(row, 4)
    np.testing.assert_array_equal(result, [[np.nan, 0.0, 1.0, np.nan, 3.0, np.nan, 0.0, 0.0]])


def test_a_spike_that_left_the_window_leaves_nothing_behind(values: Array) -> None:
    spiked = values[:1].copy()
    spiked[0, 300:700:29] = 1e15
    for name in ("mean", "sum", "std"):
        result, expected = getattr(WINDOWS, name)(spiked, 10), windowed(spiked, 10, REFERENCES[name][0])
        np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_deviation_of_equal_values_is_exactly_zero() -> None:
    row = np.full((1, len(DAYS)), 0.1)
    for window in (5, 20, 61):
        assert (WINDOWS.std(row, window)[0, window:] == 0.0).all()
    assert np.isnan(WINDOWS.correlation(row, FACTOR, 60)).all()
    assert np.isnan(WINDOWS.slope(FACTOR[None, :], row, 60)).all()


def test_the_mean_of_equal_values_is_that_value_wherever_the_panel_starts() -> None:
    row = np.full((1, 40), 0.1)
    row[0, :9] = np.nan
    whole = Windows(DAYS[:40]).mean(row, 20)[:, 9:]
    assert np.isfinite(whole).sum() == 40 - 9 - 15
    assert (whole[np.isfinite(whole)] == 0.1).all()
    identical(Windows(DAYS[9:40]).mean(row[:, 9:].copy(), 20), whole)


def test_a_delay_longer_than_the_panel_leaves_nothing(values: Array) -> None:
    for sessions in (3, 4, 5, 6, 100):
        result = WINDOWS.delayed(values[:, 600:604], sessions)
        np.testing.assert_array_equal(
            result, np.full((4, 4), np.nan) if sessions > 3 else [[*[np.nan] * 3, row[600]] for row in values]
        )


def test_equal_values_of_either_sign_of_zero_have_one_median() -> None:
    row = np.array([[0.0, -0.0, -0.0, 0.0, -0.0, -0.0]])
    result = Windows(DAYS[:6]).median(row, 3)[0, 2:]
    assert not np.signbit(result).any()


def test_averages_agree_with_the_reference(values: Array) -> None:
    for span in (2, 9, 26):
        decay = 1 - 2 / (span + 1)
        np.testing.assert_allclose(
            WINDOWS.ema(values, span), averaged(values, span, decay, ema_memory(span), span, span), rtol=1e-12
        )
    result = WINDOWS.ema(values, 12, 14)
    np.testing.assert_allclose(result, averaged(values, 12, 1 - 2 / 13, 14 + ema_memory(12), 26, 12), rtol=1e-12)
    np.testing.assert_allclose(
        WINDOWS.wilder(values, 14), averaged(values, 14, 13 / 14, wilder_memory(14), 14, 14), rtol=1e-12
    )
    np.testing.assert_allclose(
        WINDOWS.wilder(values, 14, 13), averaged(values, 14, 13 / 14, wilder_memory(14), 13, 13), rtol=1e-12
    )
    assert np.isnan(WINDOWS.ema(values, 26)[3, :455]).all()
    assert np.isfinite(WINDOWS.ema(values, 26)[3, 455:]).all()


@pytest.mark.parametrize(
    ("average", "decay", "span"), [("ema", 1 - 2 / 27, 26), ("ema", 1 - 2 / 10, 9), ("wilder", 1 - 1 / 14, 14)]
)
def test_finite_memory_equals_the_endless_recursion(average: str, decay: float, span: int, values: Array) -> None:
    row = values[0]
    state, expected = row[:span].mean(), np.full(len(row), np.nan)
    expected[span - 1] = state
    for j in range(span, len(row)):
        state = decay * state + (1 - decay) * row[j]
        expected[j] = state
    result = getattr(WINDOWS, average)(values, span)[0]
    assert RESTART_WEIGHT <= 1e-12
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_regressions_agree_with_least_squares(values: Array) -> None:
    returns = np.log(values / WINDOWS.lagged(values, 1))
    holed = FACTOR.copy()
    holed[::31] = np.nan
    for shared in (True, False):
        x = holed if shared else returns[::-1] + 0.3 * returns
        slope, correlation, residual = (
            getattr(WINDOWS, name)(returns, x, 60) for name in ("slope", "correlation", "residual")
        )
        checked = 0
        for i, j in zip(*np.nonzero(np.isfinite(slope)), strict=True):
            if j % 7:
                continue
            a, b = np.broadcast_to(x, returns.shape)[i, max(0, j - 59) : j + 1], returns[i, max(0, j - 59) : j + 1]
            both = ~(np.isnan(a) | np.isnan(b))
            assert both.sum() >= 48
            line = np.polyfit(a[both], b[both], 1)
            rest = b[both] - np.polyval(line, a[both])
            assert slope[i, j] == pytest.approx(line[0], rel=1e-9, abs=1e-12)
            assert correlation[i, j] == pytest.approx(np.corrcoef(a[both], b[both])[0, 1], rel=1e-9, abs=1e-12)
            assert residual[i, j] == pytest.approx(np.sqrt((rest**2).sum() / (both.sum() - 2)), rel=1e-9)
            checked += 1
        assert checked > 100


def test_trend_over_time_is_per_session() -> None:
    line = 3.0 + 0.25 * np.arange(len(DAYS))[None, :]
    np.testing.assert_allclose(WINDOWS.slope(line, WINDOWS.time, 60)[0, 60:], 0.25, rtol=1e-12)
    np.testing.assert_allclose(WINDOWS.correlation(line, WINDOWS.time, 60)[0, 60:], 1.0, rtol=1e-12)
    assert WINDOWS.correlation(line, WINDOWS.time, 60)[0, 60:].max() <= 1.0


@pytest.mark.slow
def test_importing_the_declarations_loads_nothing_heavy() -> None:
    code = (
        "import sys, quant_assets.signals.indicators, quant_assets.signals.candidates\n"
        "import quant_assets.features.features, quant_assets.features.labels, quant_assets.features.trend, "
        "quant_assets.features.volume\n"
        "print([name for name in ('numba', 'arch', 'scipy', 'pandas', 'exchange_calendars') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

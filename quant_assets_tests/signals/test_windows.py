import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from quant_assets.market.panel import STALE_SESSIONS
from quant_assets.signals import windows

Array = np.ndarray


@pytest.fixture(scope="module")
def values() -> Array:
    """Positive values of 4 tickers over 500 sessions: complete, scattered gaps, a long halt, a late listing."""
    rng = np.random.default_rng(5)
    panel = 20.0 * np.exp(np.cumsum(0.02 * rng.normal(size=(4, 500)), axis=1))
    panel[1, rng.uniform(size=500) < 0.15] = np.nan
    panel[2, 150:190] = np.nan
    panel[3, :230] = np.nan
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


REFERENCES: dict[str, tuple[Callable[[Array, int], Array], Callable[[Array], float], float]] = {
    "mean": (windows.mean, np.mean, 0.8),
    "median": (windows.median, np.median, 0.8),
    "std": (windows.std, lambda x: np.std(x, ddof=1), 0.8),
    "highest": (windows.highest, np.max, 0.8),
    "observed_sessions": (windows.observed_sessions, len, 0.0),
}

KERNELS: dict[str, tuple[Callable[[Array], Array], int]] = {
    **{f"{name}_20": (lambda x, f=kernel: f(x, 20), 19) for name, (kernel, _, _) in REFERENCES.items()},
    "lagged_30": (lambda x: windows.lagged(x, 30), 30 + STALE_SESSIONS),
    "lagged_ratio_30": (lambda x: windows.lagged_ratio(x, 30), 30 + STALE_SESSIONS),
    "log": (windows.log, 0),
    "ema_12": (lambda x: windows.ema(x, 12), windows.ema_memory(12) - 1),
    "wilder_14": (lambda x: windows.wilder(x, 14), windows.wilder_memory(14) - 1),
}


@pytest.mark.parametrize("window", [2, 5, 20, 61])
@pytest.mark.parametrize("name", REFERENCES)
def test_agrees_with_the_reference(name: str, window: int, values: Array) -> None:
    kernel, reference, enough = REFERENCES[name]
    found, expected = kernel(values, window), windowed(values, window, reference, enough)
    assert np.isfinite(expected).sum() > 900
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_depends_on_its_window_alone(name: str, values: Array) -> None:
    kernel, lookback = KERNELS[name]
    whole = kernel(values)
    for start in (1, 37, 120):
        part = kernel(np.ascontiguousarray(values[:, start:]))
        np.testing.assert_array_equal(part[:, lookback:].view(np.int64), np.ascontiguousarray(whole[:, start + lookback :]).view(np.int64))
    alone = np.concatenate([kernel(values[i : i + 1]) for i in range(len(values))])
    np.testing.assert_array_equal(alone.view(np.int64), whole.view(np.int64))
    earlier = kernel(np.ascontiguousarray(values[:, :400]))
    np.testing.assert_array_equal(earlier.view(np.int64), np.ascontiguousarray(whole[:, :400]).view(np.int64))


def test_a_window_reaches_as_far_as_it_says(values: Array) -> None:
    row = values[:1, :300].copy()
    changed = row.copy()
    changed[0, 299 - 19] += 1.0
    assert windows.mean(row, 20)[0, 299] != windows.mean(changed, 20)[0, 299]
    row[0, 299 - 34 : 299 - 29] = np.nan  # 30 to 34 sessions before: the oldest allowed bar is 35 before
    assert windows.lagged(row, 30)[0, 299] == row[0, 299 - 35]


def test_a_window_needs_four_fifths_of_its_sessions() -> None:
    row = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, np.nan, 7.0, np.nan, 9.0]])
    found = windows.mean(row, 5)
    # The first value comes at the fourth bar; a gap of one is allowed, two are not; no value without a bar.
    np.testing.assert_array_equal(found, [[np.nan, np.nan, np.nan, 2.5, 3.0, np.nan, 4.75, np.nan, np.nan]])


def test_lagged_takes_an_older_bar_but_not_a_stale_one() -> None:
    row = np.full((1, 12), np.nan)
    row[0, 2] = 8.0
    found = windows.lagged(row, 3)
    expected = np.full((1, 12), np.nan)
    expected[0, 5 : 5 + STALE_SESSIONS + 1] = 8.0
    np.testing.assert_array_equal(found, expected)
    row[0, 9], row[0, 4] = 2.0, 0.5
    assert windows.lagged_ratio(row, 3)[0, 9] == 4.0


def test_deviation_of_equal_values_is_exactly_zero() -> None:
    assert (windows.std(np.full((1, 50), 0.1), 20)[0, 20:] == 0.0).all()


@pytest.mark.parametrize(
    ("average", "decay", "span"), [(windows.ema, 1 - 2 / 27, 26), (windows.ema, 1 - 2 / 10, 9), (windows.wilder, 1 - 1 / 14, 14)]
)
def test_finite_memory_equals_the_endless_recursion(average: Callable[[Array, int], Array], decay: float, span: int) -> None:
    rng = np.random.default_rng(8)
    row = 30.0 * np.exp(np.cumsum(0.02 * rng.normal(size=1500)))
    state, expected = row[:span].mean(), np.full(len(row), np.nan)
    expected[span - 1] = state
    for j in range(span, len(row)):
        state = decay * state + (1 - decay) * row[j]
        expected[j] = state
    found = average(row[None, :], span)[0]
    np.testing.assert_allclose(found[span - 1 :], expected[span - 1 :], rtol=1e-9)
    assert np.isnan(found[: math.ceil(0.8 * span) - 1]).all()


def test_average_skips_sessions_without_a_bar() -> None:
    rng = np.random.default_rng(9)
    row = rng.uniform(1, 2, 60)
    holed = np.full(66, np.nan)
    places = np.setdiff1d(np.arange(66), [3, 20, 30, 41, 50, 60])
    holed[places] = row
    np.testing.assert_array_equal(windows.ema(holed[None, :], 12)[0, places][-1], windows.ema(row[None, :], 12)[0, -1])


def test_slope_agrees_with_least_squares(values: Array) -> None:
    rng = np.random.default_rng(6)
    returns = np.diff(np.log(values), axis=1)
    factor = rng.normal(size=returns.shape[1])
    factor[::31] = np.nan
    found = windows.slope(returns, factor, 60)
    checked = 0
    for i, j in zip(*np.nonzero(np.isfinite(found)), strict=True):
        if j % 7:
            continue
        y, x = returns[i, max(0, j - 59) : j + 1], factor[max(0, j - 59) : j + 1]
        both = ~(np.isnan(x) | np.isnan(y))
        assert both.sum() >= 48
        np.testing.assert_allclose(found[i, j], np.polyfit(x[both], y[both], 1)[0], rtol=1e-9)
        checked += 1
    assert checked > 100
    assert np.isnan(windows.slope(returns, np.ones(returns.shape[1]), 60)).all()


def test_importing_the_declarations_loads_nothing_heavy() -> None:
    code = (
        "import sys, quant_assets.signals.indicators, quant_assets.signals.candidates\n"
        "import quant_assets.features.features, quant_assets.features.labels\n"
        "print([name for name in ('numba', 'arch', 'scipy', 'pandas', 'exchange_calendars') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

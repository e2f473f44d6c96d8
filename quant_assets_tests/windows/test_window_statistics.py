"""The kernels against readable references, and the promises of their module: nothing but the month and the window
matters."""

from collections.abc import Callable

import numpy as np
import pytest

from quant_assets.windows.windows import Windows

Array = np.ndarray

DAYS = np.busday_offset("2020-01-01", np.arange(400), roll="forward")
WINDOWS = Windows(DAYS)
STARTS = WINDOWS.starts

KERNELS: dict[str, Callable[[Windows, Array, Array, int], Array]] = {
    "order": lambda w, x, y, window: w.order(y, window, 0.2, 0.8),
    "peak": lambda w, x, y, window: w.peak(y, window),
    "moves": lambda w, x, y, window: w.moves(y, window),
    "line": lambda w, x, y, window: w.line(y, x, window, 2e-5),
    "line_over_time": lambda w, x, y, window: w.line(y, w.time, window, 2e-5),
}


@pytest.fixture(scope="module")
def pair() -> tuple[Array, Array]:
    """Two series of 4 tickers: complete, scattered gaps and ties, a halt, a late listing."""
    rng = np.random.default_rng(6)
    y = 20.0 * np.exp(np.cumsum(0.02 * rng.normal(size=(4, 400)), axis=1))
    x = rng.lognormal(12, 1, (4, 400))
    y[1] = np.round(y[1])
    y[1, rng.uniform(size=400) < 0.1] = np.nan
    x[1, rng.uniform(size=400) < 0.05] = np.nan
    y[2, 150:190] = np.nan
    y[3, :130] = np.nan
    return x, y


def order(x: Array, y: Array) -> list[float]:
    seen = y[~np.isnan(y)]
    rank = (np.sum(seen < seen[-1]) + (1 + np.sum(seen == seen[-1])) / 2) / len(seen)
    return [rank, *np.quantile(seen, [0.2, 0.8])]


def peak(x: Array, y: Array) -> list[float]:
    return [np.nanmax(y), np.nanargmax(y) + 1]


def moves(x: Array, change: Array) -> list[float]:
    seen = change[~np.isnan(change)]
    return [seen[seen > 0].sum(), -seen[seen < 0].sum(), np.sum(seen > 0), np.sum(seen < 0)]


def line(x: Array, y: Array) -> list[float]:
    both = ~(np.isnan(x) | np.isnan(y))
    slope, intercept = np.polyfit(x[both], y[both], 1)
    correlation = np.corrcoef(x[both], y[both])[0, 1] if y[both].std() > 2e-5 else np.nan
    residuals = y[both] - intercept - slope * x[both]
    return [slope, correlation, np.sqrt((residuals**2).sum() / (both.sum() - 2)), residuals[-1]]


REFERENCES = {"order": order, "peak": peak, "moves": moves, "line": line, "line_over_time": line}


@pytest.mark.parametrize("window", [5, 10, 60])
@pytest.mark.parametrize("name", KERNELS)
def test_agrees_with_the_reference(name: str, window: int, pair: tuple[Array, Array]) -> None:
    x, y = pair
    result = KERNELS[name](WINDOWS, x, y, window)
    if name == "moves":
        y = np.diff(y, axis=1, prepend=np.nan)
    if name == "line_over_time":
        x = np.broadcast_to(np.arange(400.0), y.shape)
    observed = ~np.isnan(y) if name != "line" else ~(np.isnan(x) | np.isnan(y))
    values = 0
    for i in range(4):
        for j in range(400):
            sessions = slice(max(0, j - window + 1), j + 1)
            if not observed[i, j] or 5 * observed[i, sessions].sum() < 4 * window:
                assert np.isnan(result[:, i, j]).all()
            else:
                early = max(0, window - 1 - j)  # sessions before the panel count as sessions without a bar
                sample = [np.concatenate([np.full(early, np.nan), array[i, sessions]]) for array in (x, y)]
                np.testing.assert_allclose(result[:, i, j], REFERENCES[name](*sample), rtol=1e-7, atol=1e-9)
                values += 1
    assert values > 900


@pytest.mark.parametrize("name", KERNELS)
def test_a_value_is_a_function_of_its_month_and_window(name: str, pair: tuple[Array, Array]) -> None:
    for window in (5, 10, 60):
        whole = KERNELS[name](WINDOWS, *pair, window)
        for start in np.unique(STARTS[window:])[1:]:
            stop = np.searchsorted(STARTS, start, side="right")
            sessions = slice(start - window, stop)
            days = DAYS[sessions]
            part = KERNELS[name](Windows(days), *(np.ascontiguousarray(array[1:3, sessions]) for array in pair), window)
            expected = np.ascontiguousarray(whole[:, 1:3, start:stop])
            np.testing.assert_array_equal(
                np.ascontiguousarray(part[:, :, window:]).view(np.int64), expected.view(np.int64)
            )


def test_nothing_is_left_behind_by_what_has_gone_out_of_the_window() -> None:
    values = np.full((1, 400), 0.1)
    values[0, :200] = np.random.default_rng(1).lognormal(0, 1, 200)
    values[0, 199] = 1e12
    slope, correlation, deviation, residual = WINDOWS.line(values, WINDOWS.time, 10, 2e-5)[:, 0]
    assert all((part[209:] == 0.0).all() for part in (slope, deviation, residual))
    assert np.isnan(correlation[209:]).all()
    rises, falls, ups, downs = WINDOWS.moves(values, 10)[:, 0]
    assert all((part[210:] == 0.0).all() for part in (rises, falls, ups, downs))


def test_what_hardly_varies_has_no_correlation(pair: tuple[Array, Array]) -> None:
    y = pair[1][:1].copy()
    still = 50.0 + 1e-5 * np.random.default_rng(2).uniform(size=y.shape)
    for first, second in ((still, y), (y, still)):
        assert np.isfinite(WINDOWS.line(second, first, 20)[:, 0, 19:]).all()
        slope, correlation, deviation, residual = WINDOWS.line(second, first, 20, 2e-5)[:, 0, 19:]
        assert np.isnan(correlation).all()
        assert all(np.isfinite(part).all() for part in (slope, deviation, residual))

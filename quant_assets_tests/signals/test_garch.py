import math
import os
import subprocess
import sys
import warnings
from datetime import date
from pathlib import Path

import numba
import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize

from quant_assets.market.calendar import sessions
from quant_assets.settings.domain import GarchSettings
from quant_assets.signals import garch
from quant_assets_tests.signals.garch_reference import (
    DISTRIBUTIONS,
    PRESAMPLES,
    arch_fit,
    fit_one,
    plain_likelihood,
    simulated,
    values,
)

DAYS = sessions(date(2017, 1, 3), date(2020, 12, 31))
SETTINGS = GarchSettings()


@pytest.fixture(scope="module")
def close() -> np.ndarray:
    """Closes of 3 tickers with GARCH volatility: complete, with gaps, never moving."""
    closes = np.full((3, len(DAYS)), 12.5)
    for i in range(2):
        closes[i] = 40.0 * np.exp(np.cumsum(simulated(2 + i, len(DAYS))) / 100.0)
    closes[1, np.random.default_rng(2).uniform(size=len(DAYS)) < 0.05] = np.nan
    return closes


def same_bits(left: garch.GarchFits, right: garch.GarchFits, rows: np.ndarray | slice = slice(None)) -> bool:
    return all(np.array_equal(getattr(left, name)[rows], getattr(right, name), equal_nan=True) for name in vars(left))


# --- The maximum -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("presample", PRESAMPLES)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_maximum_equals_the_reference_optimised_by_scipy(distribution: str, presample: str) -> None:
    returns = simulated(11, 750)
    result = fit_one(returns, distribution, presample)
    assert result.converged[0]
    level, ahead = plain_likelihood(returns, values(result), presample)
    assert result.loglikelihood[0] == pytest.approx(level, rel=1e-12)
    assert result.variance[0] == pytest.approx(ahead, rel=1e-10)
    bounds = [(None, None), (1e-6, 10.0), (0.0, 0.5), (0.0, 0.999), (2.05, 500.0)][: len(values(result))]
    start = np.array([0.0, 0.1, 0.1, 0.8, 8.0])[: len(bounds)]
    best = minimize(lambda p: -plain_likelihood(returns, p, presample)[0], start, method="L-BFGS-B", bounds=bounds)
    best = minimize(
        lambda p: -plain_likelihood(returns, p, presample)[0],
        best.x,
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-11},
    )
    assert -best.fun <= level + 1e-9
    np.testing.assert_allclose(values(result), best.x, rtol=2e-4, atol=1e-6)


# --- Published and peer estimates -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_fiorentini_calzolari_panattoni_benchmark(shared_data: Path) -> None:
    # Normal errors, presample variance and squared residual equal to the mean squared residual as a function of mu;
    # returns of Bollerslev and Ghysels (1996). In long double the maximum is omega = 0.010761398: the published digit
    # is cut, the others are rounded.
    returns = pl.read_parquet(shared_data / "reference" / "dem2gbp.parquet")["return_pct"].to_numpy()
    result = fit_one(returns, "normal", "mean_square")
    assert result.converged[0]
    assert f"{result.mu[0]:.6g} {result.alpha[0]:.6g} {result.beta[0]:.6g}" == "-0.00619041 0.153134 0.805974"
    assert math.floor(result.omega[0] * 1e7) == 107613
    assert result.omega[0] == pytest.approx(0.010761398, abs=1e-9)
    assert result.loglikelihood[0] == pytest.approx(-1106.608, abs=5e-4)


def test_arch_on_its_sp500_data() -> None:
    from arch.data import sp500

    returns = 100.0 * sp500.load()["Adj Close"].pct_change().dropna().to_numpy()
    assert len(returns) == 5030
    normal = fit_one(returns, "normal")
    assert (
        f"{normal.mu[0]:.6f} {normal.omega[0]:.6f} {normal.alpha[0]:.5f} {normal.beta[0]:.5f}"
        == "0.056353 0.017507 0.10215 0.88521"
    )
    np.testing.assert_allclose(values(normal), [0.0563531, 0.0175068, 0.1021500, 0.8852056], rtol=1e-5)
    assert normal.loglikelihood[0] == pytest.approx(-6936.7185, abs=5e-5)
    student = fit_one(returns, "t")
    assert student.loglikelihood[0] == pytest.approx(-6834.7356, abs=5e-5)
    np.testing.assert_allclose(values(student), arch_fit(returns, "t").params, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("leverage", [False, True])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_arch_on_windows_of_real_prices(shared_data: Path, distribution: str, leverage: bool) -> None:
    # benchmarks/garch_study.py does the same with 3,300 windows.
    prices = pl.scan_parquet(shared_data / "prices_sp500_adjusted.parquet")
    names = ["AAPL", "XOM", "JPM", "JNJ", "DUK"]
    rng = np.random.default_rng(6)
    windows = []
    for name in names:
        rows = (
            prices.filter(pl.col("ticker") == name)
            .sort("date")
            .select("date", pl.col("close").cast(pl.Float64))
            .collect()
        )
        returns = 100.0 * np.diff(np.log(rows["close"].to_numpy()))
        crises = [
            int(np.searchsorted(rows["date"].to_numpy(), np.datetime64(day))) for day in ("2008-11-28", "2020-04-30")
        ]
        windows += [returns[end - 750 : end] for end in (*crises, *rng.integers(750, len(returns), 6))]
    stops = 750 * np.arange(1, len(windows) + 1)
    result = garch.fit(np.concatenate(windows), stops - 750, stops, distribution, leverage=leverage)
    assert result.converged.all()
    agreed = 0
    for i, returns in enumerate(windows):
        oracle = arch_fit(returns, distribution, leverage)
        gain = result.loglikelihood[i] - oracle.loglikelihood
        assert gain > -1e-3
        if gain < 1e-3:
            agreed += 1
            assert math.sqrt(result.variance[i]) == pytest.approx(
                math.sqrt(oracle.forecast().variance.to_numpy()[-1, 0]), rel=5e-3
            )
    assert agreed > (0.7 if leverage else 0.8) * len(windows)


# --- A window alone decides -------------------------------------------------------------------------------------------


def ragged() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows of several lengths that overlap, among them one that does not vary and an empty one."""
    returns = np.concatenate([simulated(seed, 800) for seed in range(6)] + [np.zeros(300)])
    starts = np.array([0, 30, 900, 1600, 1700, 2400, 3100, 4000, 4500, 4850, 700, 5])
    lengths = np.array([750, 750, 500, 750, 60, 751, 300, 750, 17, 200, 0, 2])
    return returns, starts, starts + lengths


@pytest.mark.parametrize("presample", PRESAMPLES)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_alone_in_a_batch_in_any_order_and_with_any_threads(distribution: str, presample: str) -> None:
    returns, starts, stops = ragged()
    batch = garch.fit(returns, starts, stops, distribution, presample)
    assert same_bits(batch, garch.fit(returns, starts, stops, distribution, presample))
    order = np.random.default_rng(0).permutation(len(starts))
    assert same_bits(batch, garch.fit(returns, starts[order], stops[order], distribution, presample), order)
    for i in range(len(starts)):
        alone = returns[starts[i] : stops[i]].copy()
        assert same_bits(batch, fit_one(alone, distribution, presample), np.array([i]))
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert same_bits(batch, garch.fit(returns, starts, stops, distribution, presample))
    finally:
        numba.set_num_threads(threads)


@pytest.mark.slow
def test_another_process_with_more_threads_and_another_threading_layer_gives_the_same_bits() -> None:
    returns, starts, stops = ragged()
    code = (
        "import sys, numpy as np; from quant_assets.signals import garch; "
        "returns = np.frombuffer(sys.stdin.buffer.read());"
        f"fits = garch.fit(returns, np.array({starts.tolist()}), np.array({stops.tolist()}), 't');"
        "sys.stdout.buffer.write(np.stack([fits.mu, fits.omega, fits.alpha, fits.beta, fits.nu, "
        "fits.variance]).tobytes())"
    )
    environment = os.environ | {"NUMBA_NUM_THREADS": "5", "NUMBA_THREADING_LAYER": "workqueue"}
    out = subprocess.run(
        [sys.executable, "-c", code], input=returns.tobytes(), capture_output=True, check=True, env=environment
    ).stdout
    here = garch.fit(returns, starts, stops, "t")
    assert out == np.stack([here.mu, here.omega, here.alpha, here.beta, here.nu, here.variance]).tobytes()


@pytest.mark.parametrize("factor", [0.01, 1e-9, 1e6, 1024.0])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_unit_of_the_returns_does_not_matter(distribution: str, factor: float) -> None:
    returns = simulated(21, 750)
    percent, other = fit_one(returns, distribution), fit_one(factor * returns, distribution)
    assert other.loglikelihood[0] == pytest.approx(percent.loglikelihood[0] - 750 * math.log(factor), abs=1e-7)
    for name, power in {"mu": 1, "omega": 2, "alpha": 0, "beta": 0, "presample": 2, "variance": 2}.items():
        assert getattr(other, name)[0] == pytest.approx(getattr(percent, name)[0] * factor**power, rel=1e-5)


def test_windows_outside_the_returns_are_refused() -> None:
    for starts, stops in (([-1], [5]), ([0], [11]), ([5], [4]), ([0, 1], [5])):
        with pytest.raises(ValueError, match="windows must lie in the 10 returns"):
            garch.fit(np.zeros(10), np.array(starts), np.array(stops), "t")


# --- Boundaries -------------------------------------------------------------------------------------------------------


def check_maximum(returns: np.ndarray, fits: garch.GarchFits, presample: str = "backcast") -> None:
    """The estimate meets the constraints, and the reference has no higher likelihood nearby."""
    parameters = values(fits)
    mu, omega, alpha, beta, *_ = parameters
    assert omega > 0
    assert alpha >= 0
    assert beta >= 0
    assert alpha + beta < 1
    level, _ = plain_likelihood(returns, parameters, presample)
    assert level == pytest.approx(fits.loglikelihood[0], abs=1e-6)
    rng = np.random.default_rng(0)
    for size in (1e-4, 1e-2):
        for _ in range(100):
            near = parameters * (1.0 + size * rng.normal(size=len(parameters)))
            near[0] = mu + size * returns.std() * rng.normal()
            near[2:4] = np.abs(parameters[2:4] + size * rng.normal(size=2))
            near[1] = max(near[1], 1e-8 * returns.var())
            if near[2] + near[3] < 1 and (len(near) == 4 or 2.05 <= near[4] <= 500):
                assert plain_likelihood(returns, near, presample)[0] <= level + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("presample", PRESAMPLES)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("kind", ["white", "seesaw", "integrated", "explosive", "outlier", "arch", "short", "rising"])
def test_boundaries(kind: str, distribution: str, presample: str) -> None:
    rng = np.random.default_rng(14)
    returns = {
        "white": rng.normal(size=750),
        "seesaw": rng.choice([-1.0, 1.0], 750) * (0.5 + np.arange(750) % 2) * rng.uniform(0.9, 1.1, 750),
        "integrated": simulated(3, 750, omega=0.001, alpha=0.08, beta=0.92),
        "explosive": simulated(4, 400, omega=0.01, alpha=0.5, beta=0.6),
        "outlier": np.where(np.arange(750) == 300, 80.0, simulated(5, 750)),
        "arch": simulated(6, 750, omega=0.5, alpha=0.6, beta=0.0),
        "short": simulated(7, 40),
        "rising": np.linspace(0.5, 2.0, 750) * rng.normal(size=750),
    }[kind]
    result = fit_one(returns, distribution, presample)
    assert result.converged[0]
    check_maximum(returns, result, presample)
    if kind == "seesaw":  # large after small: the last residual says the opposite
        assert result.alpha[0] == 0.0
        assert distribution == "normal" or result.nu[0] == pytest.approx(500.0)
    if kind == "explosive":
        assert result.alpha[0] + result.beta[0] == pytest.approx(1.0, abs=1e-8)
    if kind == "arch":
        assert result.beta[0] < 0.1


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize(
    "kind",
    [
        "flat",
        "growth",
        "subnormal",
        "infinite",
        "one_jump",
        "alternating",
        "line",
        "mostly_flat",
        "one_crash",
        "one",
        "two",
        "empty",
    ],
)
def test_degenerate_windows_neither_crash_nor_warn(kind: str, distribution: str) -> None:
    rng = np.random.default_rng(4)
    returns = {
        "flat": np.zeros(750),
        "growth": np.diff(np.log(40.0 * 1.005 ** np.arange(751))),
        "subnormal": 1e-200 * rng.normal(size=750),
        "infinite": np.where(np.arange(750) == 20, np.inf, rng.normal(size=750)),
        "one_jump": np.where(np.arange(750) == 400, 8.0, 0.0),
        "alternating": np.where(np.arange(750) % 2 == 0, 1.0, -1.0),
        "line": np.linspace(-1.0, 1.0, 750),
        "mostly_flat": np.where(rng.uniform(size=750) < 0.02, rng.normal(size=750), 0.0),
        "one_crash": np.where(np.arange(750) == 100, -900.0, rng.normal(size=750)),
        "one": np.array([0.3]),
        "two": np.array([0.3, -0.2]),
        "empty": np.array([]),
    }[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = fit_one(returns, distribution)
    if kind in ("flat", "growth", "subnormal", "infinite", "one", "empty"):
        assert not result.converged[0]
        assert result.starts[0] == 0
        assert np.isnan([*values(result), result.loglikelihood[0], result.variance[0]]).all()
    else:
        assert np.isfinite([*values(result), result.loglikelihood[0], result.variance[0]]).all()
        assert result.alpha[0] + result.beta[0] < 1


def _stale(share: float) -> np.ndarray:
    rng = np.random.default_rng(8)
    return np.where(rng.uniform(size=750) < share, 0.0, 0.02 * rng.standard_t(4, 750))


def _cents(price: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    walk = price * np.exp(np.cumsum(rng.normal(0.0, 0.05, 751)))
    return np.diff(np.log(np.maximum(np.round(walk, 2), 0.01)))


@pytest.mark.parametrize(
    ("returns", "distributions"),
    [
        (_cents(0.05), DISTRIBUTIONS),  # 84 % of the returns are 0: t errors say 0.02 % a year, the sample 198 %
        (_stale(0.7), DISTRIBUTIONS),
        (_stale(0.48), ("t",)),  # fewer zeros than half, but nu is at its bound
        (np.where(np.arange(750) == 100, -30.0, 0.02 * simulated(5, 750)), ("t",)),  # one bad print
    ],
    ids=["cents", "stale", "bound", "print"],
)
def test_a_degenerate_estimate_does_not_count(returns: np.ndarray, distributions: tuple[str, ...]) -> None:
    for distribution in distributions:
        for factor in (1.0, 100.0):
            result = fit_one(factor * returns, distribution)
            assert not result.converged[0], distribution
            assert np.isfinite(result.variance[0])
            assert result.starts[0] >= 4, "it was searched"


@pytest.mark.parametrize(
    "returns", [_cents(3.0), _stale(0.3), np.where(np.arange(750) == 300, -0.8, 0.02 * simulated(5, 750))]
)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_some_zeros_or_a_crash_are_not_degenerate(returns: np.ndarray, distribution: str) -> None:
    result = fit_one(returns, distribution)
    assert result.converged[0]
    assert 0.2 < result.variance[0] ** 0.5 / returns.std() < 5.0


@pytest.mark.slow
def test_real_windows_count_but_for_stale_bars(shared_data: Path) -> None:
    bars = (
        pl.scan_parquet(shared_data / "prices_sp500_adjusted.parquet")
        .filter(pl.col("ticker").hash(3) % 8 == 0)
        .sort("ticker", "date")
        .select("ticker", "date", change=pl.col("close").cast(pl.Float64).log().diff().over("ticker"))
        .with_columns(bar=pl.int_range(pl.len()).over("ticker"))
        .collect()
        .with_row_index()
    )
    month = pl.col("date").dt.truncate("1mo")
    ends = (
        bars.filter(pl.col("bar") >= 750, pl.col("date").dt.month() == 9)
        .group_by("ticker", month)
        .agg(pl.last("index"))
    )
    stops = ends["index"].to_numpy().astype(np.int64) + 1
    result = garch.fit(bars["change"].fill_null(0.0).to_numpy(), stops - 750, stops, "t")
    assert len(ends) > 1_000
    assert result.converged.mean() > 0.995
    assert set(ends["ticker"].filter(pl.Series(~result.converged))) <= {"SW", "AMCR"}


# --- Months -----------------------------------------------------------------------------------------------------------


def test_month_equals_a_month_made_by_hand(close: np.ndarray) -> None:
    wanted = np.ones(close.shape, dtype=bool)
    result = garch.garch_volatility(close, DAYS, wanted, SETTINGS, date(2020, 7, 1), date(2020, 7, 31))
    july = np.flatnonzero(DAYS.astype("datetime64[M]") == np.datetime64("2020-07"))
    for ticker in (0, 1):
        window = close[ticker, july[0] - 751 : july[0]]
        bars = window[~np.isnan(window)]
        model = arch_fit(100.0 * np.diff(np.log(bars)))
        mu, omega, alpha, beta, _ = model.params
        variance, last = model.forecast(horizon=1).variance.to_numpy()[-1, 0], bars[-1]
        for j in july:
            if np.isnan(close[ticker, j]):
                assert np.isnan(result.volatility[ticker, j])
                continue
            # The return of today and the variance that was forecast for today give tomorrow's.
            variance = omega + alpha * (100.0 * math.log(close[ticker, j] / last) - mu) ** 2 + beta * variance
            last = close[ticker, j]
            assert result.volatility[ticker, j] == pytest.approx(math.sqrt(252 * variance) / 100.0, rel=1e-3)
    assert result.counts == (2, 0, 1)
    assert [garch.STATUS[place] for place in result.status[:, july[0]]] == ["fitted", "fitted", "no_fit"]
    assert np.array_equal(result.status >= 0, np.isfinite(result.volatility) | (result.status == 3))
    assert np.isfinite(result.volatility).sum() == np.isfinite(close[:2][:, july]).sum()


def test_filter_equals_the_recursion(close: np.ndarray) -> None:
    wanted = np.ones(close.shape, dtype=bool)
    result = garch.garch_volatility(close, DAYS, wanted, SETTINGS, date(2020, 7, 1), date(2020, 7, 31)).volatility
    july = np.flatnonzero(DAYS.astype("datetime64[M]") == np.datetime64("2020-07"))
    bars = close[1, july[0] - 751 : july[-1] + 1]
    returns = np.round(np.diff(np.log(bars[~np.isnan(bars)])) / garch.RETURN_UNIT) * garch.RETURN_UNIT
    new = int(np.sum(~np.isnan(close[1, july])))
    fits = fit_one(returns[:-new], "t")
    variance = fits.variance[0]
    expected = []
    for value in returns[-new:]:
        variance = fits.omega[0] + fits.alpha[0] * (value - fits.mu[0]) ** 2 + fits.beta[0] * variance
        expected.append(math.sqrt(252 * variance))
    np.testing.assert_allclose(result[1, july][~np.isnan(close[1, july])], expected, rtol=1e-10)


def test_a_range_equals_its_months_bit_for_bit(close: np.ndarray) -> None:
    wanted = np.random.default_rng(9).uniform(size=close.shape) < 0.9
    whole = garch.garch_volatility(close, DAYS, wanted, SETTINGS, date(2020, 6, 10), date(2020, 9, 15))
    total = np.zeros(3, dtype=int)
    for first, last in (("06-10", "06-30"), ("07-01", "07-31"), ("08-01", "08-31"), ("09-01", "09-15")):
        begin, end = date.fromisoformat(f"2020-{first}"), date.fromisoformat(f"2020-{last}")
        month = int(np.searchsorted(DAYS, np.datetime64(begin.replace(day=1))))
        stop = int(np.searchsorted(DAYS, np.datetime64(end), side="right"))
        part = slice(month - 751, stop)  # only the declared lookback
        # The tickers in another order: none depends on another.
        result = garch.garch_volatility(
            close[::-1, part].copy(), DAYS[part], wanted[::-1, part].copy(), SETTINGS, begin, end
        )
        inside = slice(int(np.searchsorted(DAYS, np.datetime64(begin))), stop)
        np.testing.assert_array_equal(result.volatility[::-1, inside.start - part.start :], whole.volatility[:, inside])
        total += result.counts
    assert tuple(total) == whole.counts == (8, 0, 4)


def test_the_anchor_of_the_adjustment_does_not_matter() -> None:
    """White noise: its likelihood is so flat that rounding errors lead some searches to another maximum."""
    rng = np.random.default_rng(7)
    close = np.round(100.0 * np.exp(np.cumsum(0.015 * rng.standard_normal((400, len(DAYS))), axis=1)), 2)

    def volatility(close: np.ndarray) -> np.ndarray:
        return garch.garch_volatility(
            close, DAYS, np.ones(close.shape, dtype=bool), SETTINGS, date(2020, 12, 1), date(2020, 12, 31)
        ).volatility

    np.testing.assert_array_equal(volatility(close / 3.7), volatility(close))


def test_only_tickers_with_a_row_are_fitted(close: np.ndarray) -> None:
    wanted = np.zeros(close.shape, dtype=bool)
    day = int(np.flatnonzero(np.datetime64("2020-08-05") == DAYS)[0])
    wanted[0, day] = True
    result = garch.garch_volatility(close, DAYS, wanted, SETTINGS, date(2020, 7, 1), date(2020, 9, 30))
    assert result.counts == (1, 0, 0)
    assert np.argwhere(np.isfinite(result.volatility)).tolist() == [[0, day]]
    nobody = garch.garch_volatility(close, DAYS, np.zeros_like(wanted), SETTINGS, date(2020, 7, 1), date(2020, 9, 30))
    assert nobody.counts == (0, 0, 0)
    assert np.isnan(nobody.volatility).all()


def test_a_short_history_has_no_volatility(close: np.ndarray) -> None:
    young = close[:1].copy()
    start = int(np.searchsorted(DAYS, np.datetime64("2020-07-01")))
    young[0, : start - 500] = np.nan  # 500 bars give 499 returns
    wanted = np.ones(young.shape, dtype=bool)
    result = garch.garch_volatility(young, DAYS, wanted, SETTINGS, date(2020, 7, 1), date(2020, 8, 31))
    assert result.counts == (1, 1, 0)
    assert np.isnan(result.volatility[0, start : start + 22]).all()
    assert np.isfinite(result.volatility[0, start + 22 : start + 43]).all()
    assert set(result.status[0, start : start + 22]) == {garch.STATUS.index("too_young")}
    assert set(result.status[0, start + 22 : start + 43]) == {garch.STATUS.index("fitted")}


@pytest.mark.parametrize(
    ("life", "missing", "listed", "status"),
    [
        (300, (), True, "too_young"),
        (300, (), False, "too_young"),
        (300, (50, 120, 200), True, "too_young"),  # one of a hundred sessions
        (300, (50, 51, 120, 200), True, "too_few_bars"),
        (300, range(100, 105), False, "too_few_bars"),  # a week
        (501, (), True, "fitted"),
        (501, (250,), True, "too_few_bars"),  # old enough, but for the hole
        (700, range(1, 699, 2), True, "too_few_bars"),
        (0, (), True, "too_young"),  # listed in the month
    ],
)
def test_a_young_name_is_told_from_one_with_holes(
    close: np.ndarray, life: int, missing: tuple[int, ...], listed: bool, status: str
) -> None:
    start = int(np.searchsorted(DAYS, np.datetime64("2020-07-01")))
    bars = close[:1].copy()
    bars[0, : start - life] = np.nan
    bars[0, [start - life + place for place in missing]] = np.nan
    since = DAYS[[start - life]] if listed else None
    wanted = np.ones(bars.shape, dtype=bool)
    result = garch.garch_volatility(bars, DAYS, wanted, SETTINGS, date(2020, 7, 1), date(2020, 7, 31), since)
    assert {garch.STATUS[place] for place in result.status[0, start : start + 22]} == {status}
    assert np.isfinite(result.volatility[0, start : start + 22]).all() == (status == "fitted")


def test_an_old_company_that_trades_again_is_not_young(close: np.ndarray) -> None:
    start = int(np.searchsorted(DAYS, np.datetime64("2020-07-01")))
    bars = close[:1].copy()
    bars[0, : start - 300] = np.nan
    wanted = np.ones(bars.shape, dtype=bool)
    for listed in (DAYS[[0]], np.array(["2005-01-03"], dtype="datetime64[D]")):
        result = garch.garch_volatility(bars, DAYS, wanted, SETTINGS, date(2020, 7, 1), date(2020, 7, 31), listed)
        assert {garch.STATUS[place] for place in result.status[0, start : start + 22]} == {"too_few_bars"}


def test_an_unexplained_return_is_left_out(close: np.ndarray) -> None:
    july = np.flatnonzero(DAYS.astype("datetime64[M]") == np.datetime64("2020-07"))
    jumps = np.array([july[0] - 400, july[0] - 1, july[0], july[9], july[10]])  # in the windows, and in the month
    jumped, marks = close[:1].copy(), np.zeros((1, len(DAYS)), dtype=bool)
    for jump in jumps:
        jumped[0, jump:] *= 75.0
    marks[0, jumps] = True
    wanted = np.ones(jumped.shape, dtype=bool)
    first, last = date(2020, 7, 1), date(2020, 9, 30)
    result = garch.garch_volatility(jumped, DAYS, wanted, SETTINGS, first, last, None, marks)
    raw = garch.garch_volatility(jumped, DAYS, wanted, SETTINGS, first, last).volatility
    plain = garch.garch_volatility(close[:1], DAYS, wanted, SETTINGS, first, last).volatility
    known = np.isfinite(plain)
    assert np.array_equal(np.isfinite(result.volatility), known)
    assert np.abs(result.volatility[known] / plain[known] - 1.0).max() < 0.1
    assert np.abs(raw[known] / plain[known] - 1.0).max() > 0.5
    # At a marked bar what the bar before it forecast stands on.
    assert result.volatility[0, july[9]] == result.volatility[0, july[10]] == result.volatility[0, july[8]]
    for begin, end in ((first, date(2020, 7, 31)), (date(2020, 8, 1), last)):
        month = int(np.searchsorted(DAYS, np.datetime64(begin)))
        stop = int(np.searchsorted(DAYS, np.datetime64(end), side="right"))
        for start in (month - 751, 0):  # a jump before the panel begins is the same
            part = slice(start, stop)
            single = garch.garch_volatility(
                jumped[:, part], DAYS[part], wanted[:, part], SETTINGS, begin, end, None, marks[:, part]
            )
            assert np.array_equal(single.volatility[:, month - start :], result.volatility[:, month:stop])


@pytest.mark.slow
def test_arch_is_not_needed_at_run_time() -> None:
    code = (
        "import sys, numpy as np; sys.modules['arch'] = None; from quant_assets.signals import garch;"
        "assert garch.fit(np.random.default_rng(0).normal(size=200), np.array([0]), np.array([200]), 't').converged[0]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

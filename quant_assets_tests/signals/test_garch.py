import math
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from arch.univariate import GARCH, ConstantMean, StudentsT

from quant_assets.market.calendar import sessions
from quant_assets.settings import GarchSettings
from quant_assets.signals import garch

DAYS = sessions(date(2017, 1, 3), date(2020, 12, 31))
SETTINGS = GarchSettings()


@pytest.fixture(scope="module")
def close() -> np.ndarray:
    """Closes of 3 tickers with GARCH volatility: complete, with gaps, never moving."""
    rng = np.random.default_rng(2)
    closes = np.full((3, len(DAYS)), 12.5)
    for i in range(2):
        variance, level = 2.0, 0.0
        for t in range(len(DAYS)):
            step = 0.03 + math.sqrt(variance) * rng.standard_t(6) * math.sqrt(4 / 6)
            variance = 0.06 + 0.09 * (step - 0.03) ** 2 + 0.88 * variance
            level += step
            closes[i, t] = 40.0 * math.exp(level / 100.0)
    closes[1, rng.uniform(size=len(DAYS)) < 0.05] = np.nan
    return closes


def plain_path(returns: np.ndarray, p: garch.GarchParameters) -> list[float]:
    """Readable reference of the recursion."""
    path = [p.omega + p.alpha * p.backcast + p.beta * p.backcast]
    for value in returns:
        path.append(p.omega + p.alpha * (value - p.mu) ** 2 + p.beta * path[-1])
    return path


def arch_fit(returns: np.ndarray):
    return ConstantMean(returns, volatility=GARCH(1, 0, 1), distribution=StudentsT(), rescale=False).fit(disp="off", show_warning=False)


def test_filter_equals_arch(close: np.ndarray) -> None:
    returns = 100.0 * np.diff(np.log(close[0]))
    result = arch_fit(returns[:750])
    parameters = garch.fit(returns[:750], "t")
    assert parameters is not None
    found = garch.variances(returns[:750], parameters.mu, parameters.omega, parameters.alpha, parameters.beta, parameters.backcast)
    np.testing.assert_allclose(np.sqrt(found[:-1]), result.conditional_volatility, rtol=1e-10)
    np.testing.assert_allclose(found[-1], result.forecast(horizon=1).variance.to_numpy()[-1, 0], rtol=1e-10)
    np.testing.assert_allclose(found, plain_path(returns[:750], parameters), rtol=1e-12)


def test_month_equals_a_month_made_by_hand(close: np.ndarray) -> None:
    wanted = np.ones(close.shape, dtype=bool)
    made = garch.garch_volatility(close, DAYS, wanted, SETTINGS, date(2020, 7, 1), date(2020, 7, 31))
    july = np.flatnonzero(DAYS.astype("datetime64[M]") == np.datetime64("2020-07"))
    for ticker in (0, 1):
        window = close[ticker, july[0] - 751 : july[0]]
        bars = window[~np.isnan(window)]
        model = arch_fit(100.0 * np.diff(np.log(bars)))
        mu, omega, alpha, beta, _ = model.params
        variance, last = model.forecast(horizon=1).variance.to_numpy()[-1, 0], bars[-1]
        for j in july:
            if np.isnan(close[ticker, j]):
                assert np.isnan(made.volatility[ticker, j])
                continue
            # The return of today and the variance that was forecast for today give tomorrow's.
            variance = omega + alpha * (100.0 * math.log(close[ticker, j] / last) - mu) ** 2 + beta * variance
            last = close[ticker, j]
            assert made.volatility[ticker, j] == pytest.approx(math.sqrt(252 * variance) / 100.0, rel=1e-10)
    assert (made.fitted, made.too_short, made.failed) == (2, 0, 1)
    assert np.isfinite(made.volatility).sum() == np.isfinite(close[:2][:, july]).sum()


def test_only_tickers_with_a_row_are_fitted(close: np.ndarray) -> None:
    wanted = np.zeros(close.shape, dtype=bool)
    day = int(np.flatnonzero(np.datetime64("2020-08-05") == DAYS)[0])
    wanted[0, day] = True
    made = garch.garch_volatility(close, DAYS, wanted, SETTINGS, date(2020, 7, 1), date(2020, 9, 30))
    assert (made.fitted, made.too_short, made.failed) == (1, 0, 0)
    assert np.argwhere(np.isfinite(made.volatility)).tolist() == [[0, day]]


def test_a_short_history_has_no_volatility(close: np.ndarray) -> None:
    young = close[:1].copy()
    start = int(np.searchsorted(DAYS, np.datetime64("2020-07-01")))
    young[0, : start - 500] = np.nan  # 500 bars give 499 returns
    wanted = np.ones(young.shape, dtype=bool)
    made = garch.garch_volatility(young, DAYS, wanted, SETTINGS, date(2020, 7, 1), date(2020, 8, 31))
    assert (made.fitted, made.too_short) == (1, 1)
    assert np.isnan(made.volatility[0, start : start + 22]).all()
    assert np.isfinite(made.volatility[0, start + 22 : start + 43]).all()


@pytest.mark.parametrize(
    "kind", ["flat", "growth", "one_jump", "alternating", "line", "tiny", "huge", "mostly_flat", "one_crash", "subnormal"]
)
def test_degenerate_windows_neither_crash_nor_warn(kind: str) -> None:
    rng = np.random.default_rng(4)
    returns = {
        "flat": np.zeros(750),
        "growth": np.full(750, 0.5),
        "one_jump": np.where(np.arange(750) == 400, 8.0, 0.0),
        "alternating": np.where(np.arange(750) % 2 == 0, 1.0, -1.0),
        "line": np.linspace(-1.0, 1.0, 750),
        "tiny": 1e-9 * rng.normal(size=750),
        "huge": 1e6 * rng.normal(size=750),
        "mostly_flat": np.where(rng.uniform(size=750) < 0.02, rng.normal(size=750), 0.0),
        "one_crash": np.where(np.arange(750) == 100, -900.0, rng.normal(size=750)),
        "subnormal": 1e-200 * rng.normal(size=750),
    }[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = garch.fit(returns, "t")
    assert found is None or all(math.isfinite(value) for value in (found.mu, found.omega, found.alpha, found.beta))
    assert found is None or kind not in ("flat", "growth", "tiny", "subnormal")


def test_published_benchmark(shared_data: Path) -> None:
    # Fiorentini, Calzolari, Panattoni (1996): GARCH(1,1) with normal errors on the returns of Bollerslev and Ghysels (1996).
    returns = pl.read_parquet(shared_data / "reference" / "dem2gbp.parquet")["return_pct"].to_numpy()
    mu, omega, alpha, beta = -0.00619041, 0.0107613, 0.153134, 0.805974

    def likelihood(mu: float, omega: float, alpha: float, beta: float, before: float) -> float:
        path = garch.variances(returns, mu, omega, alpha, beta, before)[:-1]
        return -0.5 * float(np.sum(np.log(2 * np.pi * path) + (returns - mu) ** 2 / path))

    published = (mu, omega, alpha, beta)
    assert likelihood(*published, float(np.mean((returns - mu) ** 2))) == pytest.approx(-1106.608, abs=5e-4)
    # arch starts from a backcast instead of the mean squared residual, so its maximum lies a little off.
    fitted = garch.fit(returns, "normal")
    assert fitted is not None
    found = (fitted.mu, fitted.omega, fitted.alpha, fitted.beta)
    np.testing.assert_allclose(found, published, rtol=0.1)
    assert likelihood(*published, fitted.backcast) < likelihood(*found, fitted.backcast)

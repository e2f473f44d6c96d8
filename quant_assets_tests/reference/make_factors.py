"""Makes factors.parquet: a simulated factor with its forward returns, and what alphalens computes from them.

    python -m venv .venv-alphalens && .venv-alphalens/bin/pip install alphalens-reloaded==0.5.1 pyarrow
    .venv-alphalens/bin/python quant_assets_tests/reference/make_factors.py

Each horizon is asked alone, because alphalens drops a name whose return is missing at any. Turnover and autocorrelation
are asked of all names with a value, by giving every name a return. The last session has so many equal values that two
edges of its quantiles are equal: alphalens drops such a session, which must therefore be the last, since it counts
sessions that are there.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from alphalens import performance, utils

TICKERS = tuple(f"T{number:02d}" for number in range(16))
SESSIONS, HORIZONS, QUANTILES = 45, (1, 5), 5
EXPECTED = Path(__file__).with_name("factors.parquet")


def inputs() -> tuple[pd.DatetimeIndex, np.ndarray, dict[int, np.ndarray]]:
    """Days, and the factor and its forward returns by horizon of shape (n_sessions, n_tickers); NaN where missing."""
    rng = np.random.default_rng(4)
    shape = (SESSIONS, len(TICKERS))
    days = pd.DatetimeIndex(np.busday_offset("2021-01-04", np.arange(SESSIONS), roll="forward"))
    factor = np.zeros(shape)
    for j in range(SESSIONS):
        factor[j] = 0.9 * (factor[j - 1] if j else 0.0) + rng.normal(size=shape[1])
    factor[10:20, ::5] = np.round(factor[10:20, ::5])  # ties of some names
    factor[-1] = np.where(np.arange(shape[1]) < 9, 0.0, factor[-1])
    returns = {
        horizon: 0.01 * np.nan_to_num(factor) + 0.05 * rng.normal(size=shape) * np.sqrt(horizon) for horizon in HORIZONS
    }
    returns[5][7, :5] = 0.02  # ties of returns
    factor[rng.random(shape) < 0.06] = np.nan
    factor[:8, 1] = factor[30:, 2] = np.nan  # one that comes late, one that leaves
    for values in returns.values():
        values[rng.random(shape) < 0.05] = np.nan
    return days, factor, returns


def long(days: pd.DatetimeIndex, values: np.ndarray) -> pd.Series:
    index = pd.MultiIndex.from_product([days, TICKERS], names=["date", "asset"])
    return pd.Series(values.ravel(), index=index)


def expected() -> pd.DataFrame:
    """`figure, date, ticker, horizon, value`: the inputs (with ticker) and alphalens' figures (without)."""
    days, factor, returns = inputs()
    given = long(days, factor).dropna()
    everybody = pd.DataFrame({"1D": long(days, np.zeros(factor.shape))})
    alone = utils.get_clean_factor(given, everybody, quantiles=QUANTILES, max_loss=1.0)
    parts = [given.rename("value").reset_index().assign(figure="factor", horizon=0)]
    for horizon, values in returns.items():
        name = f"{horizon}D"
        forward = long(days, values).dropna()
        parts.append(forward.rename("value").reset_index().assign(figure="forward_return", horizon=horizon))
        clean = utils.get_clean_factor(given, pd.DataFrame({name: forward}), quantiles=QUANTILES, max_loss=1.0)
        means, _ = performance.mean_return_by_quantile(clean, by_date=True, demeaned=True)
        figures = {"ic": performance.factor_information_coefficient(clean)[name]}
        figures |= {
            f"quantile_{each}": means[name].xs(each, level="factor_quantile") for each in range(1, QUANTILES + 1)
        }
        figures["top_turnover"] = performance.quantile_turnover(alone["factor_quantile"], QUANTILES, horizon)
        figures["bottom_turnover"] = performance.quantile_turnover(alone["factor_quantile"], 1, horizon)
        figures["rank_autocorrelation"] = performance.factor_rank_autocorrelation(alone, horizon)
        for figure, series in figures.items():
            series.index.name = "date"
            parts.append(
                series.rename("value").dropna().reset_index().assign(figure=figure, horizon=horizon, asset=None)
            )
    frame = pd.concat(parts).rename(columns={"asset": "ticker"})
    frame["date"] = frame["date"].dt.date
    return frame[["figure", "date", "ticker", "horizon", "value"]].astype({"horizon": "int32", "value": "float64"})


if __name__ == "__main__":
    expected().to_parquet(EXPECTED, index=False, compression="zstd")

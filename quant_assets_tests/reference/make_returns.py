"""Makes returns.json: simulated daily returns and what empyrical computes from them.

    python -m venv peer && peer/bin/pip install empyrical-reloaded==0.7.1
    peer/bin/python quant_assets_tests/reference/make_returns.py

Returns are rounded to six decimals, so that the file holds exactly what empyrical was given.
"""

import json
import math
from pathlib import Path

import empyrical
import numpy as np
import pandas as pd

EXPECTED = Path(__file__).with_name("returns.json")
FIGURES = {
    "total_return": "cum_returns_final",
    "annualised_return": "annual_return",
    "annualised_volatility": "annual_volatility",
    "sharpe": "sharpe_ratio",
    "sortino": "sortino_ratio",
    "max_drawdown": "max_drawdown",
    "calmar": "calmar_ratio",
}


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Daily returns of a portfolio and of its benchmark by case, each of shape (n_sessions,)."""
    rng = np.random.default_rng(20)
    market = 0.0003 + 0.009 * rng.standard_t(4, 504) / math.sqrt(2.0)
    path = {
        "two years": (0.0002 + 0.9 * market + 0.006 * rng.standard_t(5, 504), market),
        "falling": (-0.002 + 0.012 * rng.standard_normal(252), 0.01 * rng.standard_normal(252)),
        "a crash on the first session": (
            np.concatenate([[-0.3], 0.001 + 0.004 * rng.standard_normal(119)]),
            market[:120],
        ),
        "sixty sessions, half of them idle": (
            np.where(np.arange(60) % 2, 0.0, 0.01 * rng.standard_normal(60)),
            market[:60],
        ),
        "never a loss": (np.abs(0.004 * rng.standard_normal(100)), market[:100]),
    }
    return {name: (np.round(returns, 6), np.round(benchmark, 6)) for name, (returns, benchmark) in path.items()}


def expected() -> dict[str, object]:
    """Each case's inputs and empyrical's figures; a figure that is not finite is null."""
    out: dict[str, object] = {"empyrical": empyrical.__version__}
    for name, (returns, benchmark) in cases().items():
        days = pd.bdate_range("2020-01-01", periods=len(returns))
        series, against = pd.Series(returns, days), pd.Series(benchmark, days)
        figures = {ours: float(getattr(empyrical, theirs)(series)) for ours, theirs in FIGURES.items()}
        figures["information_ratio"] = float(empyrical.excess_sharpe(series, against))
        out[name] = {
            "returns": returns.tolist(),
            "benchmark": benchmark.tolist(),
            "figures": {figure: value if math.isfinite(value) else None for figure, value in figures.items()},
        }
    return out


if __name__ == "__main__":
    EXPECTED.write_text(json.dumps(expected()) + "\n")

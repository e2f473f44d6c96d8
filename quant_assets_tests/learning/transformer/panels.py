"""A small panel of random bars with holes."""

from datetime import date

import numpy as np

from quant_assets.market.calendar import sessions
from quant_assets.market.panel import Panel


def random_panel(tickers: int = 5, count: int = 120, seed: int = 7, holes: float = 0.0) -> Panel:
    rng = np.random.default_rng(seed)
    shape, days = (tickers, count), sessions(date(2019, 1, 2), date(2021, 12, 31))[:count]
    close = 40.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=1))
    open_ = close * np.exp(0.01 * rng.standard_normal(shape))
    fields = {
        "open": open_,
        "high": np.maximum(open_, close) * 1.01,
        "low": np.minimum(open_, close) * 0.99,
        "close": close,
        "volume": np.round(rng.lognormal(12.0, 0.5, shape)),
    }
    gone = rng.random(shape) < holes
    return Panel(
        tuple(f"T{i}" for i in range(tickers)), days, {k: np.where(gone, np.nan, v) for k, v in fields.items()}
    )


def changed(panel: Panel, **fields: np.ndarray) -> Panel:
    return Panel(panel.tickers, panel.sessions, dict(panel.fields) | fields, panel.listed)


def until(panel: Panel, count: int) -> Panel:
    """Its first sessions."""
    return Panel(panel.tickers, panel.sessions[:count], {k: v[:, :count].copy() for k, v in panel.fields.items()})

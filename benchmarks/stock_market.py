"""The NASDAQ benchmark of Feng et al. (2019) and Wang et al. (2025): its windows, splits, and evaluation of forecasts.

Feng et al. (2019), Temporal Relational Ranking for Stock Prediction, ACM TOIS 37(2), section 5.
Wang et al. (2025), Pre-training Time Series Models with Stock Data Customization, KDD, section 5.
"""

import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from quant_assets.backtest.metrics import compound
from quant_assets.learning.metrics import daily_ic
from quant_assets.learning.transformer.inputs import FIELDS
from quant_assets.learning.transformer.windows import WindowTensor
from quant_assets.market.calendar import SESSIONS_PER_YEAR
from quant_assets.market.panel import FloatArray, Panel

#: First and last session of the outcomes of each part; a window ends the session before.
PARTS = {
    "training": (date(2013, 1, 2), date(2015, 12, 31)),
    "validation": (date(2016, 1, 4), date(2016, 12, 30)),
    "test": (date(2017, 1, 3), date(2017, 12, 8)),
}

#: Names that a portfolio holds.
TOP = (1, 5, 10)


@dataclass(frozen=True)
class Part:
    """Windows of a part, by date.

    Attributes:
        positions: positions of the windows in the tensor, shape (n_dates, most names), -1 for missing names.
        outcomes: returns of the session after, of the same shape, NaN without a window.
        dates: last session of the windows, shape (n_dates,).

    """

    positions: Tensor
    outcomes: FloatArray
    dates: NDArray[np.datetime64]

    def rows(self) -> tuple[Tensor, FloatArray]:
        """Positions and outcomes of all windows, date after date, flattened."""
        present = self.positions >= 0
        return self.positions[present], self.outcomes[present.numpy()]

    def some(self, names: int, seed: int) -> "Part":
        """A number of names of each date, drawn once."""
        draws = torch.rand(self.positions.shape, generator=torch.Generator().manual_seed(seed))
        at = draws.masked_fill(self.positions < 0, -1.0).topk(names, dim=1).indices
        return Part(self.positions.gather(1, at), np.take_along_axis(self.outcomes, at.numpy(), axis=1), self.dates)


@dataclass(frozen=True)
class Market:
    """The windows of all names and the three parts."""

    tensor: WindowTensor
    training: Part
    validation: Part
    test: Part

    @classmethod
    def of(cls, path: Path) -> "Market":
        """From bars: `ticker, date, open, high, low, close, volume`.

        A name counts on a date if its window is usable and it has a bar on the next session.
        """
        bars = pl.read_parquet(path)
        days = bars["date"].unique().sort().to_numpy().astype("datetime64[D]")
        panel = Panel.from_long(bars, days, FIELDS)
        tensor = WindowTensor.of(panel).for_training()
        outcomes = np.full(panel.shape, np.nan)
        outcomes[:, :-1] = panel["close"][:, 1:] / panel["close"][:, :-1] - 1.0
        usable = tensor.usable.numpy().reshape(panel.shape) & np.isfinite(outcomes)
        parts = []
        for first, last in PARTS.values():
            of_outcome = (days[1:] >= np.datetime64(first)) & (days[1:] <= np.datetime64(last))
            parts.append(_part(usable, outcomes, days, np.flatnonzero(of_outcome)))
        return cls(tensor, *parts)


def _part(usable: NDArray[np.bool_], outcomes: FloatArray, days: NDArray[np.datetime64], at: NDArray[np.int64]) -> Part:
    at = at[usable[:, at].any(axis=0)]
    names = [np.flatnonzero(usable[:, session]) for session in at]
    shape = (len(at), max(map(len, names)))
    positions, returns = np.full(shape, -1), np.full(shape, np.nan)
    for row, (session, chosen) in enumerate(zip(at, names, strict=True)):
        positions[row, : len(chosen)] = chosen * len(days) + session
        returns[row, : len(chosen)] = outcomes[chosen, session]
    return Part(torch.from_numpy(positions), returns, days[at])


def judged(part: Part, tensor: WindowTensor, forecasts: FloatArray | None) -> dict[str, float | None]:
    """Figures of forecasts in the order of `Part.rows`; None holds all names equally.

    `ic` and `rank_ic` are means over the dates. `top_k` holds the k names with the highest forecasts for a session,
    equally weighted, without costs: `cumulative` is the compounded return (Wang et al.), `sum` that of a constant daily
    stake (Feng et al.), `sharpe` mean over deviation of the daily returns times the root of 252.
    """
    positions, outcomes = part.rows()
    frame = pl.DataFrame(
        {
            "ticker": np.array(tensor.panel.tickers)[tensor.ticker_of(positions).numpy()],
            "date": tensor.panel.sessions[tensor.session_of(positions).numpy()],
            "forward_return": outcomes,
        }
    ).with_columns(pl.col("date").cast(pl.Date))
    if forecasts is None:
        daily = frame.group_by("date").agg(pl.col("forward_return").mean()).sort("date")
        return _portfolio("all", daily["forward_return"])
    frame = frame.with_columns(prediction=pl.Series(forecasts, dtype=pl.Float64))
    ics = daily_ic(frame)
    figures: dict[str, float | None] = {"dates": len(ics), "ic": ics["ic"].mean(), "rank_ic": ics["rank_ic"].mean()}  # type: ignore[dict-item]
    ordered = frame.sort("date", "prediction", "ticker", descending=[False, True, False])
    for count in TOP:
        held = ordered.group_by("date", maintain_order=True).head(count)
        daily = held.group_by("date", maintain_order=True).agg(pl.col("forward_return").mean())
        figures |= _portfolio(f"top_{count}", daily["forward_return"])
    return figures


def _portfolio(name: str, returns: pl.Series) -> dict[str, float | None]:
    deviation = float(returns.to_numpy().std())
    return {
        f"{name}_cumulative": compound(returns.to_list()),
        f"{name}_sum": float(returns.sum()),
        f"{name}_sharpe": float(returns.to_numpy().mean()) / deviation * math.sqrt(SESSIONS_PER_YEAR)
        if deviation
        else None,
    }

"""Loss of the holdings where a characteristic of names earns a shock: momentum, volatility, size, value.

The exposures are those of a cross-sectional factor model (Rosenberg 1974; MSCI Barra): a name's characteristic as known
at the decision, in standard deviations over the members. Nothing is estimated from past returns.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from quant_assets.errors import SettingsError

#: Characteristics used as logarithms: they differ by orders of magnitude.
LOGARITHMS = frozenset({"dollar_volume"})

#: Largest distance from the mean, in deviations.
_MOST = 3.0


def check(names: Iterable[str], indicators: Sequence[str], features: Sequence[str]) -> None:
    """Refuse a factor that is not a characteristic.

    Raises:
        SettingsError: names it and the available ones.

    """
    for name in names:
        if name not in indicators and name not in features:
            raise SettingsError(
                f"risk.factor_shocks has '{name}', which is neither a column of indicators nor a feature; use "
                f"{', '.join(indicators)}, or a feature such as {', '.join(features[:3])} (quant features lists them)"
            )


def members(as_of: date, names: Iterable[str], *frames: pl.DataFrame | None) -> pl.DataFrame:
    """`ticker` and the characteristics of the members at a decision, null where unknown.

    Args:
        as_of: decision session.
        names: names of the characteristics.
        frames: datasets indicators and features: `ticker, date` and columns; the first one with a characteristic
            counts. Only rows dated `as_of` are read.

    """
    today = [frame.filter(pl.col("date") == as_of) for frame in frames if frame is not None]
    table = today[0].select("ticker").unique().sort("ticker")
    for name in names:
        rows = next(frame for frame in today if name in frame.columns).select("ticker", pl.col(name).cast(pl.Float64))
        table = table.join(rows.unique("ticker", keep="first", maintain_order=True), on="ticker", how="left")
    return table.sort("ticker")


def shocked(
    weights: Mapping[str, float],
    of_members: pl.DataFrame,
    shocks: Mapping[str, Sequence[float]],
    min_coverage: float,
) -> list[dict[str, Any]]:
    r"""Exposure to each factor, and the loss for its shock, as rows of dataset risk_breakdown.

    With :math:`z_i = (x_i - \bar x) / s_x` over the members, cut to three deviations, the exposure is
    :math:`\sum_i w_i z_i`; a shock is the return of a name one deviation above the mean beyond the mean's, and the loss
    is minus exposure times shock. A name with an unknown characteristic counts as the mean.

    Args:
        weights: by ticker; shorts negative.
        of_members: result of `members`.
        shocks: shock by characteristic.
        min_coverage: share of longs and shorts together with a known characteristic; below it the figures are null.

    """
    rows: list[dict[str, Any]] = []
    size = math.fsum(map(abs, weights.values()))
    for name, values in shocks.items():
        known = of_members.select("ticker", value=name).filter(pl.col("value").is_finite())
        if name in LOGARITHMS:
            known = known.filter(pl.col("value") > 0.0).with_columns(pl.col("value").log())
        value = known["value"].to_numpy()
        spread = float(value.std()) if len(value) > 1 else 0.0
        held = math.fsum(abs(weights.get(ticker, 0.0)) for ticker in known["ticker"])
        why, exposure = None, None
        if not spread > 0.0:
            why = f"{name} does not vary over the members, or is known of fewer than two"
        elif held < min_coverage * size:
            why = f"{name} is known of {held / size:.0%} of what is held, below min_coverage"
        else:
            scores = np.clip((value - value.mean()) / spread, -_MOST, _MOST).tolist()
            z = dict(zip(known["ticker"], scores, strict=True))
            exposure = math.fsum(weight * z.get(ticker, 0.0) for ticker, weight in weights.items())
        row = {"part": "factor", "reason": why}
        rows.append({**row, "item": name, "figure": "exposure", "value": exposure})
        rows += [
            {
                **row,
                "item": f"{name} {100 * shock:+g}%",
                "figure": "loss",
                "value": None if exposure is None else -exposure * shock,
            }
            for shock in values
        ]
    return rows

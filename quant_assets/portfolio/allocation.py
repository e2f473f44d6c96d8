"""The sectors' shares of the total portfolio. Weights inside a sector are in weights.py."""

from collections.abc import Iterable, Sequence
from datetime import date

import numpy as np
import polars as pl

from quant_assets.errors import HistoryError
from quant_assets.portfolio.optimisers.inverse_volatility import inverse_volatility
from quant_assets.portfolio.weights import cap_weights, usable_volatility
from quant_assets.schemas import DATASETS
from quant_assets.settings.results import PortfolioSettings
from quant_assets.settings.risk import ExposureSettings
from quant_assets.settings.sectors import SECTORS


def total_portfolio(
    weights: pl.DataFrame,
    regime_state: pl.DataFrame,
    as_ofs: Iterable[date],
    settings: PortfolioSettings,
    market_regime: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Every sector's weights times the sector's share and the regime's exposure, at each as_of.

    A sector has a share where it has weights at that as_of: an equal one, or one inverse to the realised volatility of
    its equal-weight return (a missing or zero volatility counts as the median of the others, all missing as equal
    shares).

    The exposure is the regime's multiplier (`portfolio.exposure`): the rest is cash and is not given to another sector.

    Args:
        weights: dataset weights of all sectors, with column `sector`.
        regime_state: dataset regime_state of all sectors, with column `sector`; `volatility` is read for inverse
            volatility, `risk_multiplier` where the exposure is by sector.
        as_ofs: decision sessions, at most one for each month.
        settings: how shares are allocated, and which regime sets the exposure.
        market_regime: dataset market_regime, read where the exposure is the market's.

    Returns:
        Dataset portfolio_weights, sorted by as_of, sector and ticker. The weights of an as_of sum to the sum of the
        sectors' own (1 when fully invested) times the exposure, less the cash that `max_sector_share` leaves.

    Raises:
        HistoryError: a sector's weights of the month were decided at another session than the others', or the regime
            that the exposure follows has no row at an as_of.

    """
    schema = DATASETS["portfolio_weights"].schema
    parts = [pl.DataFrame(schema=schema)]
    for as_of in sorted(set(as_ofs)):
        month = weights.filter((pl.col("as_of").dt.year() == as_of.year) & (pl.col("as_of").dt.month() == as_of.month))
        others = month.filter(pl.col("as_of") != as_of)
        if len(others):
            sector, session = others.sort("sector", "as_of").select("sector", "as_of").row(0)
            raise HistoryError(
                f"weights of sector '{sector}' were decided at {session}, the portfolio's session is {as_of}; "
                "materialise them again"
            )
        present = set(month["sector"])
        sectors = [sector for sector in SECTORS if sector in present]
        if not sectors:
            continue
        if settings.allocation == "equal":
            volatility = np.full(len(sectors), np.nan)
        else:
            known = dict(regime_state.filter(pl.col("as_of") == as_of).select("sector", "volatility").iter_rows())
            volatility = np.array([np.nan if known.get(sector) is None else known[sector] for sector in sectors])
        share = inverse_volatility(usable_volatility(volatility))
        if settings.max_sector_share < 1.0:
            share = cap_weights(share, settings.max_sector_share)
        shares = pl.DataFrame(
            {"sector": sectors, "sector_share": share}, {"sector": pl.String, "sector_share": pl.Float64}
        )
        joined = month.join(shares, on="sector", how="left", validate="m:1")
        decided = joined.with_columns(weight=pl.col("weight") * pl.col("sector_share"))
        if settings.exposure.regime != "none":
            exposure = exposures(sectors, regime_state, market_regime, as_of, settings.exposure)
            multiplier = pl.col("sector").replace_strict(exposure, return_dtype=pl.Float64)
            decided = decided.with_columns(weight=pl.col("weight") * multiplier).filter(pl.col("weight") != 0)
        parts.append(decided.select(list(schema)).cast(schema))
    return pl.concat(parts).sort("as_of", "sector", "ticker")


def exposures(
    sectors: Sequence[str],
    regime_state: pl.DataFrame,
    market_regime: pl.DataFrame | None,
    as_of: date,
    settings: ExposureSettings,
) -> dict[str, float]:
    """Exposure of each sector: its regime's multiplier or the market's, or the setting's where that is unknown.

    Raises:
        HistoryError: the regime has no row at as_of.

    """
    multiplier_of: dict[str, float | None]
    if settings.regime == "sector":
        rows = regime_state.filter(pl.col("as_of") == as_of)
        multiplier_of = dict(rows.select("sector", "risk_multiplier").iter_rows())
    else:
        market = (
            [] if market_regime is None else market_regime.filter(pl.col("as_of") == as_of)["risk_multiplier"].to_list()
        )
        multiplier_of = dict.fromkeys(sectors, market[0]) if market else {}
    absent = [sector for sector in sectors if sector not in multiplier_of]
    if absent:
        name = "regime_state" if settings.regime == "sector" else "market_regime"
        raise HistoryError(
            f"the exposure of sector '{absent[0]}' at {as_of} follows {name}, which has no row there; materialise it"
        )
    multipliers = {sector: multiplier_of[sector] for sector in sectors}
    return {
        sector: min(settings.unknown if multiplier is None else multiplier, settings.most)
        for sector, multiplier in multipliers.items()
    }

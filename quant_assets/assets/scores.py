"""The decision engine by sector and month: scores of every member."""

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run
from quant_assets.assets.declare import Asset, declared, read
from quant_assets.partitions import lookback, months_covering
from quant_assets.portfolio.score_inputs import LIBRARY, inputs, price_lookback
from quant_assets.portfolio.scores import scores as score
from quant_assets.profile import Profile
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.settings.scoring import ScoreSettings


def score_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """The assets of the decision engine, of the portfolio group."""
    statements = profile.settings.fundamentals
    reads = {
        "prices": read(lookback(months_covering(price_lookback(statements)))),
        "fundamentals": read(lookback(statements.lookback_months)),
        "universe": read(lookback(months_covering(LIBRARY.universe_lookback))),
        "predictions": read(),
    }
    return declared(profile, "portfolio", Asset("scores", scores, reads, kinds=["numba"], sized_by="universe"))


def scores(
    run: Run,
    sector: str,
    settings: ScoreSettings,
    statements: FundamentalSettings,
    prices: pl.DataFrame,
    fundamentals: pl.DataFrame,
    universe: pl.DataFrame,
    predictions: pl.DataFrame,
) -> pl.DataFrame:
    """Scores of every member at each decision."""
    known = inputs(
        prices,
        fundamentals,
        universe,
        predictions,
        statements,
        run.sessions("prices"),
        run.decisions,
        run.first_day,
        run.last_day,
    )
    result = score(known, settings, sector)
    run.tell_rows(result.with_columns(sector=pl.lit(sector)), "as_of", _counts)
    return result


def _counts(rows: pl.DataFrame) -> dict[str, float | str | None]:
    counts = {f"{name}s": int((rows["recommendation"] == name).sum()) for name in ("buy", "hold", "sell")}
    return {
        "members": len(rows),
        **counts,
        "with_forecast": int((rows["ml_forecasts"] > 0).sum()),
        "with_fair_value": int(rows["fair_value"].is_not_null().sum()),
    }

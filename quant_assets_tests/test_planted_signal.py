"""The demo market's planted signal is found out of sample by the project's own path from bars to forecasts, and only if
it is there.

Measured for the seeds 1 to 10, healthcare and it together, 2019-04 to 2023-11: with the signal the mean rank IC is 0.11
to 0.22, 4.7 to 10.7 standard errors above zero; without it -0.02 to 0.04, -1.1 to 1.8 of them (over 20 single sectors
they have a standard deviation of 0.93). The seed tested is the profile's, not one that was looked for.
"""

import tempfile
from datetime import date
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from quant_assets.catalogue import models as configured
from quant_assets.features.features import features
from quant_assets.features.labels import labels
from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.features.ohlcv import peaks
from quant_assets.learning.checkpoints import is_training_month
from quant_assets.learning.forecast import forecast, load_models
from quant_assets.learning.metrics import daily_ic, standard_error
from quant_assets.learning.trained import checkpoint_rows
from quant_assets.learning.training import train_checkpoint
from quant_assets.market import fundamentals, universe
from quant_assets.market.adjustment import adjust
from quant_assets.market.bars import company_bars, sector_bars
from quant_assets.market.calendar import sessions
from quant_assets.market.delistings import with_returns
from quant_assets.partitions import month_of, month_start
from quant_assets.settings.loading import Settings, load_settings
from quant_assets.sources.demo import DemoSource

pytestmark = pytest.mark.slow

FEATURES = FeatureLibrary({"core": ready_made("core")})
QUARTERLY = {"cadence_months": 3, "window_months": 36}
SECTORS, HORIZON, LAST = ("healthcare", "it"), 20, date(2023, 12, 29)


def _judged_forecasts(sector: str, settings: Settings) -> pl.DataFrame:
    """Forecasts of each quarter by the checkpoint trained at the end of the one before, with what came of them."""
    first = month_start(settings.partitions.start)
    source, days = DemoSource(settings.demo, first), sessions(first, LAST)
    snapshots = source.sector_snapshots(LAST)
    tickers = universe.panel_tickers(snapshots, sector, LAST)
    gone = source.delistings(tickers, LAST)
    ohlcv, *_ = sector_bars(
        company_bars(source.bars(tickers, first, LAST), gone, days, settings.bars), snapshots, sector, days
    )
    prices = adjust(ohlcv)
    members = universe.members(source.membership(LAST), snapshots, sector, days)
    statements = fundamentals.as_known(source.statements(tickers, LAST), snapshots, sector, settings.fundamentals, days)
    decisions = list({month_of(day): day for day in days.tolist()}.values())
    inputs = features(
        prices, peaks(prices, days, decisions), statements, members, FEATURES, settings.fundamentals, days, first, LAST
    )
    horizon = settings.labels.model_copy(update={"horizons": (HORIZON,)})
    outcomes = labels(prices, with_returns(gone, ohlcv, settings.delistings), members, horizon, days, LAST, first, LAST)

    trainings = [day for day in decisions if is_training_month(day, settings.training.cadence_months)]
    parts = []
    learner = configured(settings).learners["lightgbm"]
    for as_of, until in pairwise(trainings):
        common = settings.training, settings.predictions, learner, [HORIZON], sector, FEATURES.names
        with tempfile.TemporaryDirectory() as folder:
            [trained] = train_checkpoint(inputs, outcomes, as_of, *common, Path(folder))
            if trained.files and trained.manifest:
                contents = {name: path.read_bytes() for name, path in trained.files.paths.items()}
                contents[str(trained.manifest_name)] = trained.manifest
                stored = checkpoint_rows([trained], ".").iter_rows(named=True)
                (loading := Path(folder) / "loaded").mkdir()
                models = load_models(
                    stored, learner, FEATURES.names, lambda name, of=contents: of[name.removeprefix("./")], loading
                )
                rows = inputs.filter(pl.col("date").is_between(as_of, until, closed="right"))
                parts.append(forecast(rows, models, settings.predictions))
    return pl.concat(parts).join(outcomes, on=["ticker", "date", "horizon"])


def _rank_ic(settings: Settings) -> tuple[float, float]:
    """Mean rank IC over the sessions, the sectors' mean taken on each, and its standard error with the overlap of the
    labels."""
    by_sector = [daily_ic(_judged_forecasts(sector, settings)) for sector in SECTORS]
    assert all(len(daily) > 1_000 and daily["names"].mean() > 15 for daily in by_sector)  # type: ignore[operator]
    pooled = (
        pl.concat(by_sector).sort("date", "names").group_by("date", maintain_order=True).agg(pl.col("rank_ic").mean())
    )
    values = pooled["rank_ic"].to_numpy()
    error = standard_error(values, pooled["date"].to_numpy(), HORIZON)
    assert error is not None
    return float(values.mean()), error


def test_the_planted_signal_is_found_and_none_where_there_is_none() -> None:
    found, error = _rank_ic(load_settings("demo", training=QUARTERLY))
    assert found > 0.05
    assert found >= 4 * error, f"rank IC {found:.3f}, standard error {error:.3f}"
    nothing, error = _rank_ic(load_settings("demo", demo={"signal_strength": 0.0}, training=QUARTERLY))
    assert abs(nothing) <= 2 * error, f"rank IC {nothing:.3f}, standard error {error:.3f}"

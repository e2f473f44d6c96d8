"""A storage made by hand in which a sector has features, bars, candidates and two trained checkpoints."""

import json
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.learning.trained import checkpoint_rows
from quant_assets.learning.training import train_checkpoint
from quant_assets.market.calendar import sessions
from quant_assets.partitions import key, month_of
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets.signals.candidates import candidates
from quant_assets_tests.synthetic_learning import FEATURES, simulate

SECTOR, AS_OF, MONTHS = "it", date(2021, 6, 30), ("2021-03", "2021-04", "2021-05", "2021-06")
TRAININGS = (date(2020, 12, 31), date(2021, 3, 31))
NAMES = [f"T{place:02d}" for place in range(20)]

#: One model, whichever others the profile has.
MODELS: dict[str, Any] = {
    "lightgbm": {"kind": "lightgbm", "horizons": [20], "parameters": {"min_data_in_leaf": 20}},
    "linear": None,
    "xgboost": None,
    "random_forest": None,
}

SETTINGS: dict[str, Any] = {
    "as_of": AS_OF,
    "partitions": {"start": "2020-01"},
    "features": {"sets": ["core"]},
    "models": MODELS,
    "training": {"cadence_months": 3, "window_months": 18, "min_rows": 300},
    # Three longs and three shorts: fewer than can be picked among.
    "candidates": {"long_fraction": 0.15, "short_fraction": 0.15},
}

#: The same for a command.
ENVIRONMENT = {
    "QUANT__AS_OF": str(AS_OF),
    "QUANT__PARTITIONS__START": "2020-01",
    "QUANT__FEATURES__SETS": '["core"]',
    "QUANT__MODELS": json.dumps(MODELS),
    "QUANT__TRAINING__CADENCE_MONTHS": "3",
    "QUANT__TRAINING__WINDOW_MONTHS": "18",
    "QUANT__TRAINING__MIN_ROWS": "300",
}


def profile_at(storage: Path, **overrides: Any) -> Profile:
    """The profile whose storage is in a folder."""
    return Profile(load_settings("demo", **{**SETTINGS, **overrides, "storage": str(storage)}))


def write(storage: Path, names: Sequence[str] = NAMES) -> Profile:
    """Fill a folder; the same bytes each time."""
    profile = profile_at(storage)
    store, datasets = profile.store, profile.datasets
    features, labels = simulate(tickers=len(names), horizons=(1, 5, 20, 60), first=date(2019, 6, 1), last=AS_OF)
    keys = [key(SECTOR, month) for month in MONTHS]
    here = pl.col("date").is_between(date(2021, 3, 1), AS_OF)
    own = features.filter(here).with_columns(sector=pl.lit(SECTOR))
    store.write(datasets["features"], own, keys, lambda _: AS_OF)
    bars = own.select("sector", "ticker", "date", panel_from="date").with_columns(
        close=pl.lit(10.0), in_sector=pl.lit(True), unexplained=pl.lit(False)
    )
    # T00 trades on every second session, T01 stopped before the last one.
    days = pl.Series(sessions(date(2021, 3, 1), AS_OF)[::2], dtype=pl.Date)
    bars = bars.filter((pl.col("ticker") != "T00") | pl.col("date").is_in(days.implode()))
    empty = datasets["prices"].empty()
    store.write(
        datasets["prices"], pl.concat([empty, bars], how="diagonal").select(empty.columns), keys, lambda _: AS_OF
    )
    indicators = pl.DataFrame(
        [
            {
                "sector": SECTOR,
                "ticker": name,
                "date": day,
                "close": 10.0,
                "momentum": (place - 9.5) / 10,
                "ma_slope": (place * 7 % 20 - 9.5) / 100,
                "garch_volatility": 0.2 + place / 100,
                "dollar_volume": 1e8,
                "history_sessions": 252,
                "garch_status": "fitted",
            }
            for day in (date(2021, 5, 28), AS_OF)
            for place, name in enumerate(names)
        ],
        schema=datasets["indicators"].empty().schema,
    )
    members = indicators.select("sector", "ticker", "date", sector_assumed=pl.lit(False))
    decided = candidates(
        indicators.drop("sector"), indicators.drop("sector"), [date(2021, 5, 28), AS_OF], profile.settings.candidates
    ).with_columns(sector=pl.lit(SECTOR))
    for name, rows in (("indicators", indicators), ("universe", members), ("candidates", decided)):
        store.write(datasets[name], rows, keys[2:], lambda _: AS_OF)
    for as_of in TRAININGS:
        train(profile, features, labels, as_of)
    return profile


def train(profile: Profile, features: pl.DataFrame, labels: pl.DataFrame, as_of: date, model: str = "lightgbm") -> None:
    """A checkpoint as the asset writes it."""
    settings, month = profile.settings, month_of(as_of)
    with tempfile.TemporaryDirectory() as folder:
        given = settings.training, settings.predictions, profile.models.learners[model], profile.models.horizons[model]
        trained = train_checkpoint(features, labels, as_of, *given, SECTOR, FEATURES, Path(folder))
        kept = f"lightgbm_checkpoint/{SECTOR}/{month}"
        for item in trained:
            assert item.files is not None
            assert item.manifest is not None
            for name, path in item.files.paths.items():
                profile.store.write_artifact_file(f"{kept}/{name}", path)
            profile.store.write_artifact(f"{kept}/{item.manifest_name}", item.manifest)
        rows = checkpoint_rows(trained, kept).with_columns(sector=pl.lit(SECTOR))
    profile.store.write(profile.datasets["lightgbm_checkpoint"], rows, [key(SECTOR, month)], lambda _: as_of)

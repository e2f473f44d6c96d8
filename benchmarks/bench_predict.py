"""Picks among 100 tickers, warm and in a new process, forecasts of 1,000 rows, and a walk-forward over 1,000 rows.

The storage is synthetic: 100 tickers of one sector with the features of set core, a model of at most 100 trees. There
is no peer; the notes have the time limits.
"""

import os
import resource
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.ratio import Ratio, alternating
from quant_assets.inference import inference_pipeline, usable_models
from quant_assets.learning.models.lightgbm import LightGBM
from quant_assets.learning.rows import Rows
from quant_assets.learning.trained import checkpoint_rows
from quant_assets.learning.training import train_checkpoint
from quant_assets.learning.walk_forward import walk_forward
from quant_assets.market.calendar import sessions
from quant_assets.partitions import key, month_of, month_range
from quant_assets.settings.domain import PredictionSettings
from quant_assets_tests.synthetic_predictions import AS_OF, ENVIRONMENT, MODELS, SECTOR, TRAININGS, profile_at, write
from quant_assets_tests.synthetic_windows import labelled, prices

TICKERS = [f"T{place:02d}" for place in range(100)]
ROWS, FEATURES, FOLDS = 1_000, 50, 5

COLD = """
from datetime import date
from quant_assets.inference import inference_pipeline
tickers = [f"T{place:02d}" for place in range(100)]
found = inference_pipeline(tickers, date.fromisoformat("DAY"), sequence_length=32)
assert found["source"] == "model" and found["metadata"]["valid_stocks"] == 99, found["metadata"]
"""


def cold_seconds(storage: Path) -> float:
    """CPU time of a new process: imports, settings, the model's files and the picks; the minimum of three."""
    fixed = {**ENVIRONMENT, "QUANT__STORAGE": str(storage), "QUANT_PROFILE": "demo"}
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        code = COLD.replace("DAY", AS_OF.isoformat())
        subprocess.run([sys.executable, "-c", code], env=os.environ | fixed, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def panel() -> pl.DataFrame:
    """1,000 rows of 50 features with labels of five sessions: 10 tickers on 100 sessions."""
    rng = np.random.default_rng(3)
    days = sessions(date(2024, 1, 1), date(2024, 12, 31))
    count = ROWS // 10
    keys = {
        "ticker": np.repeat([f"T{place}" for place in range(10)], count),
        "date": pl.Series(np.tile(days[:count], 10), dtype=pl.Date),
        "known_at": pl.Series(np.tile(days[6 : count + 6], 10), dtype=pl.Date),
    }
    matrix = rng.normal(size=(FEATURES, ROWS))
    outcome = 0.02 * rng.normal(size=ROWS) + 0.005 * matrix[0]
    return pl.DataFrame(keys | {"forward_return": outcome} | {f"f{place}": matrix[place] for place in range(FEATURES)})


#: The published shape; the quality of the fit does not affect the time.
DEEP = {"transformer": {"kind": "transformer", "horizons": [20], "parameters": {"max_epochs": 1}}}


def deep_seconds(storage: Path) -> float:
    """Picks by a Transformer of the published size, warm: bars, windows and the network."""
    write(storage, TICKERS)
    settings = {"models": MODELS | DEEP, "training": {"window_months": 6, "min_rows": 300, "folds": 2}}
    profile = profile_at(storage, **settings)
    bars = prices(len(TICKERS), first=date(2019, 1, 2), last=AS_OF)
    months = month_range("2019-10", month_of(AS_OF))
    rows = bars.filter(pl.col("date") >= date(2019, 10, 1)).with_columns(sector=pl.lit(SECTOR))
    empty = profile.datasets["prices"].empty()
    stored = pl.concat([empty, rows], how="diagonal").select(empty.columns)
    profile.store.write(profile.datasets["prices"], stored, [key(SECTOR, month) for month in months], lambda _: AS_OF)
    as_of, chosen = TRAININGS[-1], profile.settings
    inputs = chosen.training, chosen.predictions, profile.models.learners["transformer"], (20,), SECTOR, ()
    with tempfile.TemporaryDirectory() as folder:
        frame = bars.select("ticker", "date")
        trained = train_checkpoint(frame, labelled(bars, (20,)), as_of, *inputs, Path(folder), prices=bars)
        artifact = f"transformer_checkpoint/{SECTOR}/{month_of(as_of)}"
        for item in trained:
            for name, path in item.files.paths.items() if item.files else ():
                profile.store.write_artifact_file(f"{artifact}/{name}", path)
            profile.store.write_artifact(f"{artifact}/{item.manifest_name}", item.manifest or b"")
        checkpoints = checkpoint_rows(trained, artifact).with_columns(sector=pl.lit(SECTOR))
    dataset = profile.datasets["transformer_checkpoint"]
    profile.store.write(dataset, checkpoints, [key(SECTOR, month_of(as_of))], lambda _: as_of)
    picked = inference_pipeline(TICKERS, AS_OF, "transformer", profile=profile)
    if picked["source"] != "model" or picked["metadata"]["valid_stocks"] != len(TICKERS):
        raise RuntimeError(f"not what is measured: {picked['metadata']}")
    (seconds,) = alternating(lambda: inference_pipeline(TICKERS, AS_OF, "transformer", profile=profile))
    return seconds


def measure() -> list[Ratio]:
    """Times without a peer: wall clock, and CPU time of the new process, whose imports a busy machine slows most."""
    with tempfile.TemporaryDirectory() as folder:
        profile = write(Path(folder), TICKERS)
        models, _ = usable_models(profile, SECTOR, "lightgbm", AS_OF, 20)
        fitted = models[20].fitted
        rng = np.random.default_rng(4)
        frame = pl.DataFrame(
            {"ticker": ["T"] * ROWS, "date": [AS_OF] * ROWS}, schema={"ticker": pl.String, "date": pl.Date}
        ).with_columns(pl.Series(name, rng.normal(size=ROWS)) for name in fitted.features)
        rows = Rows.of(frame, fitted.features)
        (warm,) = alternating(lambda: inference_pipeline(TICKERS, AS_OF, profile=profile))
        (forecast,) = alternating(lambda: fitted.predict(rows), repetitions=20)
        cold = cold_seconds(Path(folder))
    names, learner, table = [f"f{place}" for place in range(FEATURES)], LightGBM("m"), panel()
    settings = PredictionSettings(min_bucket_rows=20)
    (walked,) = alternating(lambda: walk_forward(table, learner, 5, names, settings, n_splits=FOLDS, test_size=0.5))
    with tempfile.TemporaryDirectory() as folder:
        deep = deep_seconds(Path(folder))
    note = "meant to be under"
    return [
        Ratio("predict", "picks among 100 tickers, warm", warm, "", None, f"{note} 1 s"),
        Ratio("predict", "picks among 100 tickers, warm, Transformer", deep, "", None, f"{note} 1 s"),
        Ratio("predict", "picks among 100 tickers, a new process", cold, "", None, f"CPU time, {note} 5 s"),
        Ratio("predict", f"LightGBM's forecasts of {ROWS} rows", forecast, "", None, f"{note} 50 ms"),
        Ratio("predict", f"{FOLDS} folds over {ROWS} x {FEATURES}, LightGBM", walked, "", None, f"{note} 2 s"),
    ]

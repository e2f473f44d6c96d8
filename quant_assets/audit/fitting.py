"""The rows that a training passes to a model of any kind, recorded at fit and predict, and the fitted result.

A checkpoint's own manifest is no evidence of its training rows, so it is not read here. No judgement.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from quant_assets.learning.models.base import FittedModel
from quant_assets.learning.observing import observed_by
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.market.panel import FloatArray


@dataclass(frozen=True)
class Given:
    """Rows as passed to a model.

    Attributes:
        matrix: float64 of shape (n_rows, n_features).
        values: float64 of shape (n_rows,): the forward return behind the target; of predicted rows, the forecast.
        targets: float64 of shape (n_rows,): the fitted target; of predicted rows, the forecast.
        said: `ticker` and `date` that the training states for its rows; they may be wrong.

    """

    matrix: FloatArray
    values: FloatArray
    targets: FloatArray
    said: pl.DataFrame

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Fit:
    """One fit for one horizon, from training rows to forecasts; a fit for several horizons is recorded as several.

    Attributes:
        model: name of the model in the settings.
        horizon: sessions ahead.
        features: names of the columns of the matrices.
        fitted: training rows.
        made: the result of the fit: `description` as JSON (number of trees, chosen penalty), and SHA-256 of its `fill`,
            `importances` and `files`.
        stopped_by: rows that stopped or tuned the fit.
        predicted: rows forecast during the recording, in the order of the calls.

    """

    model: str
    horizon: int
    features: tuple[str, ...]
    fitted: Given
    made: dict[str, str]
    stopped_by: list[Given] = field(default_factory=list)
    predicted: list[Given] = field(default_factory=list)


@contextmanager
def recorded() -> Iterator[list[Fit]]:
    """Record every model of any kind that this process fits until the end of the block."""
    recorder = _Recorder()
    with observed_by(recorder):
        yield recorder.fits


class _Recorder:
    def __init__(self) -> None:
        self.fits: list[Fit] = []
        # References to the models, so that no `id` is used twice.
        self._of: dict[int, tuple[FittedModel, list[Fit]]] = {}

    def fitted(self, name: str, rows: Rows, validation: Rows, model: FittedModel) -> None:
        """The model's training and validation rows."""
        made = _made(model)
        fits = [
            Fit(name, horizon, rows.features, given, made, [later] if len(later) else [])
            for horizon, given, later in zip(rows.horizons, _by_horizon(rows), _by_horizon(validation), strict=True)
        ]
        self._of[id(model)] = model, fits
        self.fits += fits

    def predicted(self, model: FittedModel, rows: Rows, forecasts: Distribution) -> None:
        """The rows and forecasts of a model whose fit was recorded."""
        if id(model) in self._of:
            for fit, forecast in zip(self._of[id(model)][1], forecasts.mean.T, strict=True):
                values = np.array(forecast)
                fit.predicted.append(Given(rows.matrix.copy(), values, values, _said(rows)))


def _by_horizon(rows: Rows) -> list[Given]:
    """The rows with each column of targets and of the forward returns behind them."""
    returns = rows.targets if rows.outcomes is None else rows.outcomes
    return [
        Given(rows.matrix.copy(), np.array(value), np.array(target), _said(rows))
        for value, target in zip(returns.T, rows.targets.T, strict=True)
    ]


def _said(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame(
        {"ticker": pl.Series(rows.tickers, dtype=pl.String), "date": pl.Series(rows.dates, dtype=pl.Date)}
    )


def _made(model: FittedModel) -> dict[str, str]:
    """The result of a fit of any kind: digests of the files that it would be saved in, and its description."""
    with tempfile.TemporaryDirectory(prefix="quant-audit-") as folder:
        model.save(Path(folder))
        files = sorted(file for file in Path(folder).rglob("*") if file.is_file())
        saved = b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)
    return {
        "description": json.dumps(model.description(), sort_keys=True, default=str),
        "fill": hashlib.sha256(b"" if model.fill is None else model.fill.tobytes()).hexdigest(),
        "importances": hashlib.sha256(json.dumps(model.importances(), sort_keys=True).encode()).hexdigest(),
        "files": hashlib.sha256(saved).hexdigest(),
    }

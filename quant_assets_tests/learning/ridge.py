"""A kind of model of one's own, as a newcomer would write it: ridge regression in NumPy, one fit for all horizons."""

import json
from pathlib import Path

import numpy as np
from pydantic import Field

from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.market.panel import FloatArray
from quant_assets.settings.group import SettingsGroup


class Parameters(SettingsGroup):
    """Penalties among which the validation rows choose."""

    penalties: tuple[float, ...] = Field(default=(1.0, 100.0, 10_000.0), min_length=1)


class FittedRidge(FittedModel):
    """Coefficients of the standardised features, an intercept in the last row."""

    def __init__(
        self, features: tuple[str, ...], horizons: tuple[int, ...], fill: FloatArray, coefficients: FloatArray
    ) -> None:
        self.features, self.horizons, self.fill = features, horizons, fill
        self.coefficients, self.std = coefficients[:-1], coefficients[-1]

    def _predict(self, rows: Rows) -> Distribution:
        filled = np.where(np.isnan(rows.matrix), self.fill, rows.matrix)
        mean = np.tile(self.coefficients[-1], (len(rows), 1))
        # Not a matrix product, whose rounding depends on the number of rows.
        for column, coefficients in zip(filled.T, self.coefficients[:-1], strict=True):
            mean += column[:, None] * coefficients
        return Distribution(mean, np.tile(self.std, (len(rows), 1)))

    def save(self, folder: Path) -> None:
        np.save(folder / "fill.npy", self.fill)
        np.save(folder / "coefficients.npy", np.vstack([self.coefficients, self.std]))
        (folder / "features.json").write_text(json.dumps(self.features), encoding="utf-8")

    def importances(self) -> dict[str, list[float]]:
        return {"coefficient": np.abs(self.coefficients[:-1]).mean(axis=1).tolist()}


class Ridge(Learner[Parameters]):
    """Least squares with a penalty on the squared coefficients."""

    kind = "ridge"
    file_format = "NumPy arrays"
    missing = "filled"
    exact = True
    all_horizons = True
    parameters_type = Parameters

    def _fit(self, rows: Rows, validation: Rows, seed: int) -> FittedRidge:
        known = ~np.isnan(rows.matrix).all(axis=0)
        fill = np.zeros(len(rows.features))  # of a column that is never there: any constant will do
        fill[known] = np.nanmedian(rows.matrix[:, known], axis=0)
        filled = np.where(np.isnan(rows.matrix), fill, rows.matrix)
        centre, scale = filled.mean(axis=0), filled.std(axis=0)
        scale[scale == 0] = 1.0
        inputs, mean = (filled - centre) / scale, rows.targets.mean(axis=0)
        best: tuple[float, FittedRidge] | None = None
        for penalty in self.parameters.penalties:
            products = inputs.T @ inputs + penalty * np.eye(len(fill))
            slopes = np.linalg.solve(products, inputs.T @ (rows.targets - mean)) / scale[:, None]
            coefficients = np.vstack([slopes, mean - centre @ slopes, np.ones_like(mean)])
            tried = FittedRidge(rows.features, rows.horizons, fill, coefficients)
            missed = validation.targets - tried._predict(validation).mean
            tried.std = np.sqrt((missed**2).mean(axis=0))
            if best is None or (missed**2).mean() < best[0]:
                best = float((missed**2).mean()), tried
        assert best is not None
        return best[1]

    def load(self, folder: Path, horizons: tuple[int, ...]) -> FittedRidge:
        features = tuple(json.loads((folder / "features.json").read_text(encoding="utf-8")))
        return FittedRidge(features, horizons, np.load(folder / "fill.npy"), np.load(folder / "coefficients.npy"))

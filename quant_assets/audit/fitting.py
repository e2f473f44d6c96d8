"""What a training really hands to LightGBM, recorded at the library's border: rows fitted, stopped by, predicted.

What a checkpoint says of itself is no evidence of what it was trained on, so nothing of the project is asked here. No
judgement either.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quant_assets.market.panel import FloatArray


@dataclass(frozen=True)
class Given:
    """Rows as the library got them.

    Attributes:
        matrix: float64 of shape (n_rows, n_features).
        values: float64 of shape (n_rows,): the target, or the forecast of rows that were predicted.

    """

    matrix: FloatArray
    values: FloatArray


@dataclass(frozen=True)
class Fit:
    """One booster, from its training rows to its forecasts.

    Attributes:
        fitted: training rows.
        stopped_by: rows on which the number of trees was chosen.
        predicted: rows that were forecast while the recording went on, in the order of the calls.

    """

    fitted: Given
    stopped_by: list[Given] = field(default_factory=list)
    predicted: list[Given] = field(default_factory=list)


@contextmanager
def recorded() -> Iterator[list[Fit]]:
    """Record every booster that is trained in this process until the end of the block.

    The methods of LightGBM's two classes are replaced meanwhile, so it makes no difference by which of its interfaces a
    model is trained.
    """
    import lightgbm as lgb

    fits: list[Fit] = []
    by_booster: dict[int, tuple[lgb.Booster, Fit]] = {}  # the boosters are kept, so that no number is given twice
    datasets: dict[int, tuple[lgb.Dataset, Given]] = {}
    init_dataset, init_booster, add, forecast = (
        lgb.Dataset.__init__,
        lgb.Booster.__init__,
        lgb.Booster.add_valid,
        lgb.Booster.predict,
    )

    def make_dataset(self: lgb.Dataset, data: Any, label: Any = None, *args: Any, **kwargs: Any) -> None:
        if isinstance(data, np.ndarray) and label is not None:
            datasets[id(self)] = self, Given(np.array(data, dtype=np.float64), np.array(label, dtype=np.float64))
        init_dataset(self, data, label, *args, **kwargs)

    def make_booster(self: lgb.Booster, params: Any = None, train_set: Any = None, *args: Any, **kwargs: Any) -> None:
        init_booster(self, params, train_set, *args, **kwargs)
        if id(train_set) in datasets:
            by_booster[id(self)] = self, Fit(datasets[id(train_set)][1])
            fits.append(by_booster[id(self)][1])

    def add_valid(self: lgb.Booster, data: lgb.Dataset, name: str) -> lgb.Booster:
        if id(self) in by_booster and id(data) in datasets:
            by_booster[id(self)][1].stopped_by.append(datasets[id(data)][1])
        return add(self, data, name)

    def predict(self: lgb.Booster, data: Any, *args: Any, **kwargs: Any) -> Any:
        values = forecast(self, data, *args, **kwargs)
        if id(self) in by_booster and isinstance(data, np.ndarray):
            by_booster[id(self)][1].predicted.append(
                Given(np.array(data, dtype=np.float64), np.array(values, dtype=np.float64))
            )
        return values

    def install(*methods: Any) -> None:
        places = (
            (lgb.Dataset, "__init__"),
            (lgb.Booster, "__init__"),
            (lgb.Booster, "add_valid"),
            (lgb.Booster, "predict"),
        )
        for (owner, name), method in zip(places, methods, strict=True):
            setattr(owner, name, method)

    try:
        install(make_dataset, make_booster, add_valid, predict)
        yield fits
    finally:
        install(init_dataset, init_booster, add, forecast)

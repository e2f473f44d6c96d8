"""Types of declared indicators and features, from which lookbacks, warm-up, schema and documentation are derived.

The declarations are in `signals.indicators` and `features`; the windows are computed in `windows.windows`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import polars as pl

from quant_assets.errors import SettingsError
from quant_assets.market import sector_return
from quant_assets.market.panel import FloatArray
from quant_assets.schemas import Column
from quant_assets.windows.recursions import LANES
from quant_assets.windows.windows import MONTH_SESSIONS, Windows

#: Tickers computed at a time: as many as recursions compute side by side. An array of ten years has 320 KiB.
_AT_A_TIME = LANES

Inputs = Mapping[str, FloatArray]
Compute = Callable[[Inputs, Windows], FloatArray]
How_co = TypeVar("How_co", covariant=True)

#: Fields of a panel, and the number of sessions before its own on which a value may depend. Prices are those of dataset
#: `prices`: an index that is the close in USD at the company's first bar, with splits and dividends reinvested since.
#: `volume` is in shares of that bar; `dollar_volume` is in USD as traded; `sector_return` is the equal-weight return
#: of the sector's members, of shape (n_sessions,).
FIELDS: dict[str, int] = {
    "open": 0,
    "high": 0,
    "low": 0,
    "close": 0,
    "volume": 0,
    "dollar_volume": 0,
    "sector_return": sector_return.LOOKBACK,
}


@dataclass(frozen=True, eq=False)
class Declared(Generic[How_co]):
    """One column and its computation. Kinds of columns differ in the type of `compute`.

    Attributes:
        name: column name.
        inputs: names of the inputs.
        lookback: sessions before the first session of a row's month whose *inputs* the row may depend on (a window of w
            sessions looks back w - 1), without the lookback of the inputs themselves.
        compute: the computation.
        meaning: meaning of a value, for a reader who has only the file.
        unit: for example "USD", "percent", "sessions"; "1" for a pure number.
        lag: sessions after its own at which a value becomes known; the row at t then has the value of t - lag.
        source: paper or book, and equation or page.
        ge, gt, le: inclusive lower, exclusive lower and inclusive upper bound.
        anchored: as in `schemas.Column`: why the lookback alone does not determine the value; else empty.

    """

    name: str
    inputs: tuple[str, ...]
    lookback: int
    compute: How_co = field(repr=False)
    meaning: str
    unit: str = "1"
    lag: int = 0
    source: str = ""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    anchored: str = ""

    @property
    def column(self) -> Column:
        """The column of a dataset; null if history is too short or the value is not defined."""
        return Column(
            pl.Float64,
            self.meaning,
            self.unit,
            nullable=True,
            ge=self.ge,
            gt=self.gt,
            le=self.le,
            anchored=self.anchored,
        )


@dataclass(frozen=True, eq=False)
class Feature(Declared[Compute]):
    """One column that is computed ticker by ticker over a panel.

    `inputs` are `FIELDS` and other features. `compute` receives only these, float64 of shape (n_tickers, n_sessions)
    with NaN where missing, and the window kernels, and returns an array of the same shape. Its value at a session may
    depend only on that session and earlier ones.

    Attributes:
        hidden: an intermediate result that other features read and no dataset has; it may have layers, shape (k,
            n_tickers, n_sessions).
        fading: whether `lookback` is the memory of fading averages (`ema`, `wilder`, `adx`, `macd` of `Windows`) of
            prices or their changes. After an unexplained step of the price the feature is then computed as in
            `features.stepped_over`, and must not change if all prices are multiplied by a number.

    """

    hidden: bool = False
    fading: bool = False


class FeatureSet:
    """Features that may read each other, in the order of their declaration.

    An input is the field of that name if there is one, else the feature.

    Args:
        features: in any order; names are unique, but the same object may appear several times.

    Raises:
        SettingsError: a name is used twice, an input is neither a field nor a feature, or features read each other in a
            circle.

    """

    def __init__(self, features: Iterable[Feature]) -> None:
        self._all: dict[str, Feature] = {}
        for feature in features:
            if self._all.setdefault(feature.name, feature) is not feature:
                raise SettingsError(f"feature '{feature.name}' is declared twice; rename one of the two")
        self._lookbacks: dict[str, int] = {}
        for name in self._all:
            self._total(name, ())

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features that are not hidden."""
        return tuple(feature for feature in self._all.values() if not feature.hidden)

    def declared(self, name: str) -> Feature:
        """The feature of that name, hidden ones too."""
        return self._all[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def fields(self) -> tuple[str, ...]:
        """The `FIELDS` that are read, in their order."""
        read = {name for feature in self._all.values() for name in feature.inputs}
        return tuple(name for name in FIELDS if name in read)

    def total_lookback(self, name: str | None = None) -> int:
        """Sessions before the first session of a row's month on which a feature (by default: any) may depend."""
        return max(self._lookbacks.values(), default=0) if name is None else self._lookbacks[name]

    @property
    def fading(self) -> tuple[str, ...]:
        """Names of features that read an average with a fading memory, directly or through others."""
        fading: set[str] = set()
        for name in self._lookbacks:  # inputs first
            if self._all[name].fading or not fading.isdisjoint(self._all[name].inputs):
                fading.add(name)
        return tuple(name for name in self.names if name in fading)

    def straddle(self, name: str) -> int:
        """Sessions before a row that its feature's windows contain, without fading memories.

        Counted from the row itself and not from its month.
        """
        feature = self._all[name]
        own = feature.lag + (0 if feature.fading else feature.lookback)
        return own + max(
            (FIELDS[item] if item in FIELDS else self.straddle(item) for item in feature.inputs), default=0
        )

    def reach(self, field: str) -> dict[str, int]:
        """Sessions before its month whose values of a field a feature reads, directly or through others, by feature."""
        reaches: dict[str, int] = {}
        for name in self._lookbacks:  # inputs first
            feature = self._all[name]
            earlier = _month_of_input(feature)
            read = [
                0 if item == field else reaches[item] + earlier
                for item in feature.inputs
                if item == field or item in reaches
            ]
            if read:
                reaches[name] = _own(feature) + max(read)
        return reaches

    def evaluate(
        self, fields: Inputs, windows: Windows, names: Iterable[str] | None = None, since: int = 0
    ) -> dict[str, FloatArray]:
        """Values of the features.

        A feature receives only the inputs that it declares, and only the sessions that it and its readers need: for a
        feature with a short window, a month needs a small part of the panel.

        Args:
            fields: the `FIELDS` that are read, float64 of shape (n_tickers, n_sessions) except `sector_return`.
            windows: the kernels over the same sessions.
            names: the requested features, by default all that are not hidden; other features only as inputs.
            since: position of the first requested session, the first of its month.

        Returns:
            float64 of shape (n_tickers, n_sessions - since) by name.

        Raises:
            SettingsError: a feature returns anything but float64 of its inputs' shape; names it.

        """
        wanted = list(self.names if names is None else names)
        needed = self._needed(wanted)
        order = [name for name in self._lookbacks if name in needed]  # inputs first
        starts = self._starts(order, since)
        windows_from = {start: windows.from_session(start) for start in starts.values()}
        tickers = next((len(array) for array in fields.values() if array.ndim > 1), 0)
        results: dict[str, FloatArray] = {}
        # Some tickers at a time, so that their arrays stay in the processor's cache from one feature to the next.
        for first in range(0, max(1, tickers), _AT_A_TIME):
            block = slice(first, first + _AT_A_TIME)
            block_fields = {name: array[block] if array.ndim > 1 else array for name, array in fields.items()}
            values: dict[str, FloatArray] = {}
            for name in order:
                feature, start = self._all[name], starts[name]
                inputs = {
                    item: (
                        _since(block_fields[item], start)
                        if item in FIELDS
                        else _since(values[item], start - starts[item])
                    )
                    for item in feature.inputs
                }
                value = feature.compute(inputs, windows_from[start])
                _check_array(feature, value, inputs)
                values[name] = windows_from[start].delayed(value, feature.lag) if feature.lag else value
            for name in wanted:
                value = _since(values[name], since - starts[name])
                if name not in results:
                    results[name] = np.empty((*value.shape[:-2], tickers, value.shape[-1]))
                results[name][..., block, :] = value
        return results

    def _starts(self, order: Sequence[str], since: int) -> dict[str, int]:
        """Position of the first session at which each feature is computed, so that all are known from `since` on.

        Args:
            order: the features, inputs first.
            since: as for `evaluate`.

        """
        read = dict.fromkeys(order, 0)  # sessions before `since` that readers need
        for name in reversed(order):
            feature = self._all[name]
            for item in feature.inputs:
                if item in read:
                    read[item] = max(read[item], read[name] + _own(feature) + _month_of_input(feature))
        return {name: max(0, since - read[name] - _own(self._all[name])) for name in order}

    def _needed(self, names: Iterable[str]) -> set[str]:
        needed: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting += [item for item in self._all[name].inputs if item not in FIELDS]
        return needed

    def _total(self, name: str, readers: tuple[str, ...]) -> int:
        if name in self._lookbacks:
            return self._lookbacks[name]
        feature = self._all[name]
        if name in readers:
            raise SettingsError(f"features read each other in a circle: {' <- '.join((*readers, name))}; break it")
        deepest = 0
        for item in feature.inputs:
            if item not in self._all and item not in FIELDS:
                raise SettingsError(
                    f"feature '{name}' reads '{item}', which is neither a field ({', '.join(FIELDS)}) nor a feature"
                )
            deepest = max(
                deepest,
                FIELDS[item] if item in FIELDS else self._total(item, (*readers, name)) + _month_of_input(feature),
            )
        self._lookbacks[name] = _own(feature) + deepest
        return self._lookbacks[name]


def _since(values: FloatArray, start: int) -> FloatArray:
    return values if start == 0 else np.ascontiguousarray(values[..., start:])


def _own(feature: Feature) -> int:
    # The value of `lag` sessions before may be from the end of an earlier month, whose lookback starts at its first
    # session.
    return feature.lookback + (feature.lag + MONTH_SESSIONS - 1 if feature.lag else 0)


def _month_of_input(feature: Feature) -> int:
    # An earlier row of an input may be from an earlier month too.
    return MONTH_SESSIONS - 1 if feature.lookback else 0


def _check_array(feature: Feature, value: object, inputs: Inputs) -> None:
    shape = next((array.shape[-2:] for array in inputs.values() if array.ndim > 1), None)
    # A hidden feature may have several layers, for example several statistics from one pass over the window.
    given_shape = (
        value.shape[-2:] if isinstance(value, np.ndarray) and feature.hidden else getattr(value, "shape", None)
    )
    if not isinstance(value, np.ndarray) or value.dtype != np.float64 or given_shape != shape:
        result = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise SettingsError(
            f"feature '{feature.name}' returns {result}, not float64 of its inputs' shape {shape}; fix its compute"
        )

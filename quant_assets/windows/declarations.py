"""What a declared indicator or feature is.

It is one object from which lookbacks, warm-up, schema and documentation are derived.

Declarations stand in `signals.indicators` and in `features`; how a window is computed is in `windows.windows`.
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

#: Tickers that are computed at a time: as many as recursions take side by side. An array of ten years has 320 KiB.
_AT_A_TIME = LANES

Inputs = Mapping[str, FloatArray]
Compute = Callable[[Inputs, Windows], FloatArray]
How_co = TypeVar("How_co", covariant=True)

#: What a panel gives by itself, and how many sessions before its own session a value of it may depend on. Prices are
#: adjusted and in USD; `dollar_volume` is as traded; `sector_return` is the equal-weight return of the sector's
#: members, of shape (n_sessions,).
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
    """One column and how it comes about. The kinds of columns differ in what `compute` is.

    Attributes:
        name: column name.
        inputs: what it is computed from.
        lookback: sessions before the first session of a row's month whose *inputs* the row may depend on (a window of w
            sessions looks back w - 1). What the inputs themselves look back is added by who computes them.
        compute: how it is computed.
        meaning: what a value says, for a reader who has only the file.
        unit: for example "USD", "percent", "sessions"; "1" for a pure number.
        lag: sessions after its own at which a value becomes known; the row at t then holds the value of t - lag.
        source: paper or book, and equation or page.
        ge, gt, le: inclusive lower, exclusive lower and inclusive upper bound.
        anchored: as of `schemas.Column`: why the lookback alone does not settle it; empty where it does.

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
        """The column of a dataset; null where history is too short or the value is not defined."""
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

    `inputs` are `FIELDS` and other features; `compute` is handed nothing else. It goes from the inputs, float64 of
    shape (n_tickers, n_sessions) with NaN where missing, and the window kernels over them to an array of the same
    shape. Its value at a session may depend on that session and earlier ones only.

    Attributes:
        hidden: an intermediate result that others read and no dataset holds; it may have layers, shape (k, n_tickers,
            n_sessions).
        fading: whether `lookback` is the memory of averages that fade (`ema`, `wilder`, `adx`, `macd` of `Windows`), of
            prices or their changes. After a step of the price that nothing explains the feature is then computed as
            `features.stepped_over` says, and must not change where all prices are multiplied by a number.

    """

    hidden: bool = False
    fading: bool = False


class FeatureSet:
    """Features that may read each other, in the order of their declaration.

    An input is the field of that name where there is one, else the feature.

    Args:
        features: any order of dependence; names are unique, but the same object may come several times.

    Raises:
        SettingsError: a name is taken twice, an input is neither a field nor a feature, or features read each other in
            a circle.

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
        """Those that a dataset holds."""
        return tuple(feature for feature in self._all.values() if not feature.hidden)

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
        """Sessions before the first session of a row's month that a feature (or the greediest of all) may depend on."""
        return max(self._lookbacks.values(), default=0) if name is None else self._lookbacks[name]

    @property
    def fading(self) -> tuple[str, ...]:
        """Those that a dataset holds and that read an average with a fading memory, by themselves or through others."""
        found: set[str] = set()
        for name in self._lookbacks:  # inputs first
            if self._all[name].fading or not found.isdisjoint(self._all[name].inputs):
                found.add(name)
        return tuple(name for name in self.names if name in found)

    def straddle(self, name: str) -> int:
        """Sessions before its own that stand beside it or each other in a feature's windows, fading memories left out.

        Counted from the row itself and not from its month.
        """
        feature = self._all[name]
        own = feature.lag + (0 if feature.fading else feature.lookback)
        return own + max(
            (FIELDS[each] if each in FIELDS else self.straddle(each) for each in feature.inputs), default=0
        )

    def reach(self, field: str) -> dict[str, int]:
        """For each feature that reads a field, the sessions before its month whose values it reads.

        It reads the field itself or through others.
        """
        found: dict[str, int] = {}
        for name in self._lookbacks:  # inputs first
            feature = self._all[name]
            earlier = _month_of_input(feature)
            read = [
                0 if each == field else found[each] + earlier
                for each in feature.inputs
                if each == field or each in found
            ]
            if read:
                found[name] = _own(feature) + max(read)
        return found

    def evaluate(
        self, fields: Inputs, windows: Windows, names: Iterable[str] | None = None, since: int = 0
    ) -> dict[str, FloatArray]:
        """Values of the features that a dataset holds.

        Each computes from the inputs that it declares and sees no other, and no more sessions than its lookback and
        those of its readers ask for: what a month needs of a feature with a short window is a small part of the panel.

        Args:
            fields: the `FIELDS` that are read, float64 of shape (n_tickers, n_sessions) except `sector_return`.
            windows: the kernels over the same sessions.
            names: the features that are wanted; nothing is computed that they do not read.
            since: position of the first session that is wanted, the first one of its month.

        Returns:
            float64 of shape (n_tickers, n_sessions - since) by name.

        Raises:
            SettingsError: a feature gives something else than float64 of its inputs' shape; names it.

        """
        wanted = list(self.names if names is None else names)
        needed = self._needed(wanted)
        order = [name for name in self._lookbacks if name in needed]  # inputs first
        starts = self._starts(order, since)
        windows_from = {start: windows.from_session(start) for start in starts.values()}
        tickers = next((len(each) for each in fields.values() if each.ndim > 1), 0)
        found: dict[str, FloatArray] = {}
        # Some tickers at a time, whose arrays stay in the processor's cache from one feature to the next.
        for first in range(0, max(1, tickers), _AT_A_TIME):
            block = slice(first, first + _AT_A_TIME)
            given = {name: each[block] if each.ndim > 1 else each for name, each in fields.items()}
            values: dict[str, FloatArray] = {}
            for name in order:
                feature, start = self._all[name], starts[name]
                inputs = {
                    each: _since(given[each], start) if each in FIELDS else _since(values[each], start - starts[each])
                    for each in feature.inputs
                }
                value = feature.compute(inputs, windows_from[start])
                _check_array(feature, value, inputs)
                values[name] = windows_from[start].delayed(value, feature.lag) if feature.lag else value
            for name in wanted:
                value = _since(values[name], since - starts[name])
                if name not in found:
                    found[name] = np.empty((*value.shape[:-2], tickers, value.shape[-1]))
                found[name][..., block, :] = value
        return found

    def _starts(self, order: Sequence[str], since: int) -> dict[str, int]:
        """Position of the first session from which on each feature is computed, so that all are known from `since` on.

        Args:
            order: the features, inputs first.
            since: as for `evaluate`.

        """
        read = dict.fromkeys(order, 0)  # sessions before `since` from which on readers ask for values
        for name in reversed(order):
            feature = self._all[name]
            for each in feature.inputs:
                if each in read:
                    read[each] = max(read[each], read[name] + _own(feature) + _month_of_input(feature))
        return {name: max(0, since - read[name] - _own(self._all[name])) for name in order}

    def _needed(self, names: Iterable[str]) -> set[str]:
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += [each for each in self._all[name].inputs if each not in FIELDS]
        return found

    def _total(self, name: str, readers: tuple[str, ...]) -> int:
        if name in self._lookbacks:
            return self._lookbacks[name]
        feature = self._all[name]
        if name in readers:
            raise SettingsError(f"features read each other in a circle: {' <- '.join((*readers, name))}; break it")
        deepest = 0
        for each in feature.inputs:
            if each not in self._all and each not in FIELDS:
                raise SettingsError(
                    f"feature '{name}' reads '{each}', which is neither a field ({', '.join(FIELDS)}) nor a feature"
                )
            deepest = max(
                deepest,
                FIELDS[each] if each in FIELDS else self._total(each, (*readers, name)) + _month_of_input(feature),
            )
        self._lookbacks[name] = _own(feature) + deepest
        return self._lookbacks[name]


def _since(values: FloatArray, start: int) -> FloatArray:
    return values if start == 0 else np.ascontiguousarray(values[..., start:])


def _own(feature: Feature) -> int:
    # A value of `lag` sessions before may stand at the end of an earlier month, whose first session its lookback counts
    # from.
    return feature.lookback + (feature.lag + MONTH_SESSIONS - 1 if feature.lag else 0)


def _month_of_input(feature: Feature) -> int:
    # And so may an earlier row of an input.
    return MONTH_SESSIONS - 1 if feature.lookback else 0


def _check_array(feature: Feature, value: object, inputs: Inputs) -> None:
    shape = next((array.shape[-2:] for array in inputs.values() if array.ndim > 1), None)
    # A hidden one may have several layers, as where one pass over the window gives several statistics.
    given_shape = (
        value.shape[-2:] if isinstance(value, np.ndarray) and feature.hidden else getattr(value, "shape", None)
    )
    if not isinstance(value, np.ndarray) or value.dtype != np.float64 or given_shape != shape:
        given = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise SettingsError(
            f"feature '{feature.name}' gives {given}, not float64 of its inputs' shape {shape}; mend its compute"
        )

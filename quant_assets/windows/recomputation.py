"""Check what declared features depend on, by recomputing them without later sessions or those before their lookback.

The panel is synthetic and small, so this takes a fraction of a second once the kernels are compiled.
"""

import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from quant_assets.errors import SettingsError
from quant_assets.market.panel import STALE_SESSIONS, FloatArray
from quant_assets.windows.declarations import FIELDS, Feature, FeatureSet, Inputs
from quant_assets.windows.windows import Windows

#: Months of the synthetic panel after the longest lookback; the last but one is compared, the last is its future.
_MONTHS = 3
_TICKERS = 4


def made_up(lookback: int) -> tuple[NDArray[np.datetime64], dict[str, FloatArray]]:
    """Synthetic sessions and `FIELDS` of four tickers.

    One is complete, one has gaps, one is listed late, and one is halted and has a constant price for a time.

    Returns:
        At least `lookback` sessions and `_MONTHS` months, every weekday; the arrays are float64 of shape (n_tickers,
        n_sessions), except `sector_return`.

    """
    rng = np.random.default_rng(20_240_601)
    days = np.arange(np.datetime64("2000-01-01"), np.datetime64("2000-01-01") + 2 * (lookback + 25 * _MONTHS))
    months = days.astype("datetime64[M]")
    days = days[np.is_busday(days) & (months < months[-1])]  # whole months
    count = len(days)
    close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, (_TICKERS, count)), axis=1))
    close[3, count // 3 : count // 2] = close[3, count // 3]
    open_ = close * np.exp(rng.normal(0.0, 0.005, close.shape))
    volume = np.round(rng.lognormal(13.0, 0.5, close.shape))
    fields = {
        "open": open_,
        "high": np.maximum(open_, close) * np.exp(np.abs(rng.normal(0.0, 0.005, close.shape))),
        "low": np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0.0, 0.005, close.shape))),
        "close": close,
        "volume": volume,
        "dollar_volume": close * volume,
    }
    absent = np.zeros(close.shape, dtype=np.bool_)
    absent[1] = rng.uniform(size=count) < 0.03
    absent[2, : count - 30] = True
    absent[3, -45:-38] = True
    for values in fields.values():
        values[absent] = np.nan
    return days, fields | {"sector_return": rng.normal(0.0, 0.01, count)}


def audit(features: FeatureSet, names: Iterable[str] | None = None) -> dict[str, FloatArray]:
    """Compute features on a synthetic panel, and again from parts of it.

    Args:
        features: the set, whose other features may be inputs.
        names: the features to check; by default all that are not hidden.

    Returns:
        Values at the sessions of the month that was compared, by name.

    Raises:
        SettingsError: a feature cannot be computed, depends on later sessions, on sessions before its declared
            lookback, or on other tickers; names the feature and the remedy.

    """
    chosen = list(features.names if names is None else names)
    days, fields = made_up(features.total_lookback())
    month = days.astype("datetime64[M]")
    start, stop = np.searchsorted(month, np.unique(month)[-2:]).tolist()
    values_of = {}
    for name in chosen:
        whole = _values(features, name, days, fields)[:, start:stop]
        _check_own_lookback(features, name, days, fields, start, stop)
        lookback = features.total_lookback(name)
        for end in (start + 7, stop):
            for first in (0, start - lookback):
                for part, panel, offset in _less(days, fields, first, end, FIELDS):
                    if _same(
                        _values(features, name, part, panel)[:, start - offset : end - offset], whole[:, : end - start]
                    ):
                        continue
                    if first:
                        raise SettingsError(
                            f"feature '{name}' depends on sessions more than {lookback} before the row's own, "
                            "the total lookback of it and its inputs; declare the sessions it needs, or compute each "
                            "value from a window alone"
                        )
                    raise SettingsError(
                        f"feature '{name}' depends on later sessions: a value changes with them; use the windows "
                        "(w.mean, w.delayed …), no negative shift and no figure over the whole array"
                    )
        for i in range(_TICKERS):
            alone = {field: values[i : i + 1] if values.ndim == 2 else values for field, values in fields.items()}
            if not _same(_values(features, name, days, alone)[:, start:stop], whole[i : i + 1]):
                raise SettingsError(
                    f"feature '{name}' depends on other tickers; compute each row of the arrays from itself"
                )
        values_of[name] = whole
    return values_of


def _check_own_lookback(
    features: FeatureSet, name: str, days: NDArray[np.datetime64], fields: Inputs, start: int, stop: int
) -> None:
    """Refuse a feature whose values of the month from `start` to `stop` read inputs before its own lookback.

    The inputs are taken as given, so that a long lookback of theirs does not hide a short one. A ticker without bars in
    the oldest sessions of the lookback shows whether a lagged value goes on to bars before them.
    """
    feature = features.declared(name)
    given = {item: fields[item] if item in FIELDS else _values(features, item, days, fields) for item in feature.inputs}

    def enough(lookback: int, missing: int = STALE_SESSIONS) -> bool:
        first = start - lookback
        inputs = {item: _with_missing(values, first, missing) for item, values in given.items()}
        whole = _computed(feature, days, inputs)[..., start:stop]
        return all(
            _same(_computed(feature, part, panel)[..., start - offset : end - offset], whole[..., : end - start])
            for end in (start + 7, stop)
            for part, panel, offset in _less(days, inputs, first, end, {})
        )

    own = feature.lookback
    if enough(own) or not enough(start):  # what no lookback corrects is told by the caller
        return
    least = own + 1 + bisect_left(range(own + 1, start), True, key=enough)
    older = (
        f"; where bars are missing it reads older ones (w.lagged and w.ratio: up to {STALE_SESSIONS} sessions older)"
    )
    remedy = f"declare lookback {least}" if least < start else f"declare more than {start - 1}"
    raise SettingsError(
        f"feature '{name}' depends on sessions more than {own} before the row's own, the lookback that it declares"
        f"{older if enough(own, 0) else ''}; {remedy}, or compute each value from a shorter window alone"
    )


def _with_missing(values: FloatArray, first: int, missing: int) -> FloatArray:
    """An input of tickers with one more: the first one, without the bars of `missing` sessions from `first` on."""
    if values.ndim == 1:
        return values
    more = values[..., :1, :].copy()
    more[..., first : first + missing] = np.nan
    return np.concatenate((values, more), axis=-2)


def _less(
    days: NDArray[np.datetime64], fields: Inputs, first: int, end: int, lookbacks: Mapping[str, int]
) -> Iterator[tuple[NDArray[np.datetime64], dict[str, FloatArray], int]]:
    """The panel without the values before `first` and from `end` on, and with those values changed.

    Changed too, because a maximum may be the same without them. A field that itself looks back, by `lookbacks`, is
    unknown in the first sessions of a cut panel.

    Yields:
        Sessions, fields, and the number of sessions cut at the start.

    """
    known = {name: first + lookbacks.get(name, 0) if first else 0 for name in fields}
    cut = {
        name: np.where(np.arange(len(days)) < known[name], np.nan, values)[..., first:end].copy()
        for name, values in fields.items()
    }
    yield days[first:end], cut, first
    for factor in (1e3, 1e-3):
        changed = {name: values.copy() for name, values in fields.items()}
        for name, values in changed.items():
            values[..., : known[name]] *= factor
            values[..., end:] *= factor
        yield days, changed, 0


def _values(features: FeatureSet, name: str, days: NDArray[np.datetime64], fields: Inputs) -> FloatArray:
    return _tried(name, lambda: features.evaluate(fields, Windows(days), [name])[name])


def _computed(feature: Feature, days: NDArray[np.datetime64], inputs: Inputs) -> FloatArray:
    """What the feature's function returns, without its lag."""
    return _tried(feature.name, lambda: feature.compute(inputs, Windows(days)))


def _tried(name: str, computation: Callable[[], FloatArray]) -> FloatArray:
    try:
        with warnings.catch_warnings():
            # NumPy warns of rows and windows without a value, which are intended.
            warnings.simplefilter("ignore")
            return computation()
    except SettingsError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise SettingsError(
            f"feature '{name}' cannot be computed ({what}); fix its compute, or declare the inputs that it reads"
        ) from error


def _same(one: FloatArray, other: FloatArray) -> bool:
    """Whether two arrays are equal bit for bit, apart from NaN."""
    a, b = np.ascontiguousarray(one), np.ascontiguousarray(other)
    return a.shape == b.shape and bool(np.all((a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))))

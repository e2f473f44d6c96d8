"""What declared features depend on, found out by computing them again from less: nothing later, nothing before their lookback.

The panel is made up and small, so this costs a fraction of a second once the kernels are compiled.
"""

import warnings
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from quant_assets.errors import SettingsError
from quant_assets.market.panel import FloatArray
from quant_assets.signals.declarations import FIELDS, FeatureSet, Inputs
from quant_assets.signals.windows import Windows

#: Months of the made-up panel after the longest lookback: the one that is looked at, and one that is its future.
_MONTHS = 3
_TICKERS = 4


def made_up(lookback: int) -> tuple[NDArray[np.datetime64], dict[str, FloatArray]]:
    """Sessions and `FIELDS` of four tickers: one complete, one with gaps, one listed late, and one that is halted and stands still.

    Returns:
        At least `lookback` sessions and `_MONTHS` months, every weekday; the arrays are float64 of shape (n_tickers, n_sessions), except
        `sector_return`.

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
    """Compute features on a made-up panel, and again from less of it.

    Args:
        features: the set, whose other features may be inputs.
        names: which of them to look at; by default those that a dataset holds.

    Returns:
        Values of each at the sessions of the month that was looked at.

    Raises:
        SettingsError: a feature cannot be computed, depends on later sessions, on sessions before its declared lookback, or on other
            tickers; names the feature and the remedy.

    """
    chosen = list(features.names if names is None else names)
    days, fields = made_up(features.total_lookback())
    month = days.astype("datetime64[M]")
    start, stop = np.searchsorted(month, np.unique(month)[-2:]).tolist()
    found = {}
    for name in chosen:
        whole = _values(features, name, days, fields)[:, start:stop]
        first = start - features.total_lookback(name)
        for end in (start + 7, stop):
            if not _same(_values(features, name, *_part(days, fields, 0, end))[:, start:], whole[:, : end - start]):
                raise SettingsError(
                    f"feature '{name}' depends on later sessions: a value changes when they are added; use the windows' functions "
                    "(w.mean, w.delayed …), no negative shift and no figure over the whole array"
                )
            if not _same(_values(features, name, *_part(days, fields, first, end))[:, start - first :], whole[:, : end - start]):
                raise SettingsError(
                    f"feature '{name}' depends on sessions more than {features.total_lookback(name)} before its month, which is what its "
                    "lookback and those of its inputs come to; declare the sessions it needs, or compute every window from its own sessions"
                )
        alone = {each: values[:1] if values.ndim == 2 else values for each, values in fields.items()}
        if not _same(_values(features, name, days, alone)[:, start:stop], whole[:1]):
            raise SettingsError(f"feature '{name}' depends on other tickers; compute each row of the arrays from itself")
        found[name] = whole
    return found


def _values(features: FeatureSet, name: str, days: NDArray[np.datetime64], fields: Inputs) -> FloatArray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns of rows and windows without a value, which are meant to be there
            return features.evaluate(fields, Windows(days), [name])[name]
    except SettingsError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise SettingsError(
            f"feature '{name}' cannot be computed ({what}); mend its compute, or declare the inputs that it reads"
        ) from error


def _part(days: NDArray[np.datetime64], fields: Inputs, start: int, stop: int) -> tuple[NDArray[np.datetime64], dict[str, FloatArray]]:
    """The panel from one session to another; a field that itself looks back is not known in its first sessions."""
    part = {name: values[..., start:stop].copy() for name, values in fields.items()}
    for name, values in part.items():
        values[..., : FIELDS[name] if start else 0] = np.nan
    return days[start:stop], part


def _same(one: FloatArray, other: FloatArray) -> bool:
    """Whether the bits agree wherever there is a value."""
    a, b = np.ascontiguousarray(one), np.ascontiguousarray(other)
    return a.shape == b.shape and bool(np.all((a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))))

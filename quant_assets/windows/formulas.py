"""Digests of declared features, which change with the formula."""

import hashlib
import inspect
from collections.abc import Mapping
from functools import partial
from types import CodeType, FunctionType
from weakref import WeakKeyDictionary

import polars as pl

from quant_assets.windows.declarations import FIELDS, Declared

_LENGTH = 8

#: Source texts of functions: finding them takes a tenth of building a profile's definitions.
_SOURCES: WeakKeyDictionary[FunctionType, str] = WeakKeyDictionary()


def digests(declared: Mapping[str, Declared[object]]) -> dict[str, str]:
    """First characters of a SHA-256 over each feature's declaration, by feature name.

    It covers inputs, lookback and lag, the source text of `compute` (its code if there is no source), the values bound
    to the function, and the digests of the features that it reads. Functions called by a global name are not followed.
    """
    known: dict[str, str] = {}

    def of(name: str) -> str:
        if name not in known:
            feature = declared[name]
            read = [
                of(other) for other in feature.inputs if other in declared and other not in FIELDS and other != name
            ]
            parts = [repr(feature.inputs), str(feature.lookback), str(feature.lag), _text(feature.compute, ()), *read]
            known[name] = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_LENGTH]
        return known[name]

    return {name: of(name) for name in declared}


def _text(value: object, outer: tuple[object, ...]) -> str:
    """Text of a function or of a value bound to it; for an object without a stable text, its class."""
    value = getattr(value, "py_func", value)  # the Python function of a numba one
    if any(value is part for part in outer):
        return "itself"
    within = (*outer, value)
    if isinstance(value, partial):
        return "\0".join(_text(part, within) for part in (value.func, *value.args, *sorted(value.keywords.items())))
    if isinstance(value, FunctionType):
        if value not in _SOURCES:
            try:
                _SOURCES[value] = inspect.getsource(value)
            except (OSError, TypeError):
                _SOURCES[value] = _code(value.__code__)
        source = _SOURCES[value]
        bound = [
            *inspect.getclosurevars(value).nonlocals.items(),
            *(value.__defaults__ or ()),
            *(value.__kwdefaults__ or {}).items(),
        ]
        return "\0".join([source, *(_text(part, within) for part in bound)])
    if isinstance(value, tuple | list):
        return "\0".join(_text(part, within) for part in value)
    return str(value) if value is None or isinstance(value, str | int | float | pl.Expr) else type(value).__qualname__


def _code(code: CodeType) -> str:
    constants = [_code(constant) if isinstance(constant, CodeType) else repr(constant) for constant in code.co_consts]
    return " ".join([code.co_code.hex(), *code.co_names, *constants])

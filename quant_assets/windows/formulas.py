"""How a declared feature is computed, as a short text that changes with its formula. Nothing is computed here."""

import hashlib
import inspect
from collections.abc import Mapping
from functools import partial
from types import CodeType, FunctionType

import polars as pl

from quant_assets.windows.declarations import FIELDS, Declared

_LENGTH = 8


def digests(declared: Mapping[str, Declared[object]]) -> dict[str, str]:
    """First characters of a SHA-256 over what is declared of each feature, by its name.

    It covers inputs, lookback and lag, the source text of `compute` (its code where there is no source), the values
    that the function is bound to, and the digests of the features that it reads. Functions that it calls by a global
    name are not followed.
    """
    found: dict[str, str] = {}

    def of(name: str) -> str:
        if name not in found:
            feature = declared[name]
            read = [of(each) for each in feature.inputs if each in declared and each not in FIELDS and each != name]
            parts = [repr(feature.inputs), str(feature.lookback), str(feature.lag), _text(feature.compute, ()), *read]
            found[name] = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_LENGTH]
        return found[name]

    return {name: of(name) for name in declared}


def _text(what: object, inside: tuple[object, ...]) -> str:
    """Text of a function or of a value that one is bound to; of an object without a stable text its class."""
    what = getattr(what, "py_func", what)  # as numba keeps it
    if any(what is each for each in inside):
        return "itself"
    within = (*inside, what)
    if isinstance(what, partial):
        return "\0".join(_text(each, within) for each in (what.func, *what.args, *sorted(what.keywords.items())))
    if isinstance(what, FunctionType):
        try:
            source = inspect.getsource(what)
        except (OSError, TypeError):
            source = _code(what.__code__)
        bound = [
            *inspect.getclosurevars(what).nonlocals.items(),
            *(what.__defaults__ or ()),
            *(what.__kwdefaults__ or {}).items(),
        ]
        return "\0".join([source, *(_text(each, within) for each in bound)])
    if isinstance(what, tuple | list):
        return "\0".join(_text(each, within) for each in what)
    return str(what) if what is None or isinstance(what, str | int | float | pl.Expr) else type(what).__qualname__


def _code(code: CodeType) -> str:
    constants = [_code(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return " ".join([code.co_code.hex(), *code.co_names, *constants])

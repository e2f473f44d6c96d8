"""The reference of the window functions of features: what each computes, and how far it looks back."""

import inspect
import re
from collections.abc import Callable
from typing import Any

from quant_assets.documentation.markdown import code, page, table, text
from quant_assets.market.panel import STALE_SESSIONS
from quant_assets.windows.kernels import MIN_OBSERVED
from quant_assets.windows.windows import Windows, adx_memory, ema_memory, macd_memory, wilder_memory

_INTRODUCTION = f"""
A feature's function receives its inputs `x` and the windows `w`, and returns an array: `w.mean(x["close"], 20)`.
*Looks back* is the `lookback` that the feature declares if the function reads its inputs as they are: sessions before
the row's own. Of functions inside each other the lookbacks add up: `w.mean(w.ratio(x["close"], 1), 20)` needs 19 + 1 +
{STALE_SESSIONS} = {20 + STALE_SESSIONS}.

Windows count sessions, not bars. A value exists only at a session with a bar, and only if {MIN_OBSERVED[0]} of
{MIN_OBSERVED[1]} sessions of the window have one. The {STALE_SESSIONS} in a lookback are sessions before the lag: the
last bar in them is taken where that of the lag is missing. Arrays are float64 of shape (tickers, sessions), NaN where
missing; *layers* stand on an axis before these two.
"""
_MEMORIES = """
An exponential average has no window. It restarts before every month, so far back that its start has no visible weight;
its lookback follows from this *memory*. Declare it with the function and not as a number: `from
quant_assets.windows.windows import ema_memory`. A feature whose lookback is such a memory sets `fading=True`
([a feature](../extending/feature.md)).
"""
_SPANS = (5, 10, 12, 14, 20, 26, 50, 100, 200)
#: How a docstring says the lookback, in sessions; code, or words.
_LOOKS_BACK = re.compile(r"\s*Looks back ((?:`[^`]+`|without limit)[^.]*)\.")


def functions() -> dict[str, Callable[..., Any]]:
    """The window functions that features call, by name, in the order of the code."""
    shown: dict[str, Callable[..., Any]] = {
        name: each for name, each in vars(Windows).items() if inspect.isfunction(each) and name[0] != "_"
    }
    del shown["from_session"]  # for the evaluation of features, not for their functions
    return shown


def lookback(function: Callable[..., Any]) -> str:
    """What the docstring of a window function says of its lookback: an expression in its arguments, or words.

    Raises:
        ValueError: it says nothing.

    """
    found = _LOOKS_BACK.search(_said(function))
    if found is None:
        raise ValueError(f"Windows.{function.__name__} does not say how far it looks back: add 'Looks back `…`.'")
    return found[1]


def windows_page() -> str:
    """The page of the window functions."""
    shown = table(
        ("function", "looks back, in sessions", "value"),
        (
            (
                code(_call(each)),
                text(lookback(each)),
                text(_LOOKS_BACK.sub("", _said(each), count=1)),
            )
            for each in functions().values()
        ),
    )
    factor = (
        "`w.time` has the session numbers, shape (sessions,): the slope on it is a trend per session. It looks back 0."
    )
    memories = table(
        ("span", "`ema_memory(span)`", "`wilder_memory(span)`", "`adx_memory(span)`"),
        ((str(span), *(str(memory(span)) for memory in (ema_memory, wilder_memory, adx_memory))) for span in _SPANS),
    )
    macd = f"`macd_memory(26, 9)` is {macd_memory(26, 9)}."
    return page("Windows", _INTRODUCTION, shown, factor, "## Memories of averages", _MEMORIES, memories, macd)


def _said(function: Callable[..., Any]) -> str:
    """The docstring before its sections, as one paragraph."""
    written = inspect.getdoc(function) or ""
    said = " ".join(re.split(r"\n\n(?:Args|Returns|Raises):\n", written)[0].split())
    return said.replace("`STALE_SESSIONS`", str(STALE_SESSIONS)).replace("STALE_SESSIONS", str(STALE_SESSIONS))


def _call(function: Callable[..., Any]) -> str:
    """The call as a feature's function writes it."""
    _, *taken = inspect.signature(function).parameters.values()
    return f"w.{function.__name__}({', '.join(str(each.replace(annotation=each.empty)) for each in taken)})"

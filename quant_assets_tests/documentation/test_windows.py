"""The lookbacks on the page of window functions are those that the audit of features finds."""

import inspect
from typing import Any

import numpy as np
import pytest

from quant_assets.documentation.windows import functions, lookback, windows_page
from quant_assets.errors import SettingsError
from quant_assets.market.panel import STALE_SESSIONS
from quant_assets.windows import windows
from quant_assets.windows.declarations import Feature, FeatureSet
from quant_assets.windows.recomputation import audit

#: Short spans and windows: the panel of the audit is then short too.
ARGUMENTS: dict[str, Any] = dict.fromkeys(("lag", "sessions", "span", "signal"), 3) | {
    "window": 4,
    "slow": 4,
    "skip": 2,
    "fast": 2,
    "lower": 0.2,
    "upper": 0.8,
}
#: Arguments left at their defaults. With `bars`, `wilder` looks back one session more.
LEFT = {"ddof", "mean", "least", "seed"}
BOUNDED = {name: found for name, each in functions().items() if (found := lookback(each)).startswith("`")}


def tried(name: str, sessions: int) -> FeatureSet:
    """A feature that declares this lookback and returns what the function does, layers added up."""
    taken = set(inspect.signature(functions()[name]).parameters) - {"self", *LEFT}
    taken -= {"bars"} if name == "wilder" else set()

    def compute(x: Any, w: windows.Windows) -> Any:
        changes = x["close"] - w.before(x["close"])
        given = {
            "values": x["close"],
            "changes": changes,
            "factor": x["volume"],
        }
        given |= {"bars": x["close"], **x}
        found = getattr(w, name)(**{each: ARGUMENTS.get(each, given.get(each)) for each in taken})
        return found if found.ndim == 2 else np.ascontiguousarray(found.sum(axis=0))

    return FeatureSet([Feature("tried", ("close", "high", "low", "volume"), sessions, compute, "")])


def test_one_function_has_no_bounded_lookback() -> None:
    assert set(functions()) - set(BOUNDED) == {"before"}


@pytest.mark.parametrize("name", BOUNDED)
def test_a_window_function_looks_back_as_far_as_its_page_says(name: str) -> None:
    said = eval(BOUNDED[name].split("`")[1], vars(windows) | ARGUMENTS)  # noqa: S307 (a docstring of the package)
    audit(tried(name, said))
    # In an average of averages the oldest session's weight is lost in rounding, and a price is always above 0.
    if said and name not in ("macd", "since"):
        with pytest.raises(SettingsError, match=f"declare lookback {said},"):
            audit(tried(name, said - 1))


def test_the_page_has_numbers_and_no_names_of_constants() -> None:
    rows = [line for line in windows_page().splitlines() if line.startswith("| `w.")]
    assert len(rows) == len(functions()) > 20
    assert f"| `w.ratio(values, lag)` | `lag + {STALE_SESSIONS}` | Positive values over their `lagged`. |" in rows


def test_a_function_that_says_no_lookback_is_told() -> None:
    with pytest.raises(ValueError, match="'Looks back"):
        lookback(windows.Windows.from_session)

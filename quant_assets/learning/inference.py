"""From forecasts of one session to the names that are picked: who may be picked, in which order, with which weights."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import HistoryError

#: Sessions of the window that a name must have bars in, the share of them that is enough, and the fewest names.
WINDOW, COVERAGE, FEWEST = 32, 0.9, 5

#: `model_version` of picks that no model made.
COMPOSITE = "composite"

#: From which end of the scores names are picked.
Side = Literal["long", "short"]


@dataclass(frozen=True)
class Picks:
    """What a session's scores amount to.

    Attributes:
        as_of: the session.
        scores: of each valid name, the best of its side first; equal ones by ticker.
        weights: of the picked names, in that order.
        excluded: why each of the others is left out, by ticker.
        model: that scored them; None where it was the composite score.
        model_version: of the model, or `COMPOSITE`.
        notes: what was not as it should be, such as a model that could not be read.

    """

    as_of: date
    scores: Mapping[str, float]
    weights: Mapping[str, float]
    excluded: Mapping[str, str]
    picked: tuple[str, ...]
    model: str | None
    model_version: str
    notes: tuple[str, ...] = ()

    def document(self, **beside: Any) -> dict[str, Any]:
        """As a dictionary for strict JSON, in a fixed order; `beside` goes into the metadata, before what is there."""
        return {
            "selected_stocks": list(self.picked),
            "predicted_scores": {name: self.scores[name] for name in self.picked},
            "portfolio_weights": dict(self.weights),
            "source": "model" if self.model else "algorithmic_only",
            "metadata": {
                **beside,
                "date": self.as_of.isoformat(),
                "total_candidates": len(self.scores) + len(self.excluded),
                "valid_stocks": len(self.scores),
                "excluded_stocks": list(self.excluded),
                "exclusion_reasons": dict(self.excluded),
                "model": self.model,
                "model_version": self.model_version,
                "notes": list(self.notes),
            },
        }


def too_few_bars(
    bars: pl.DataFrame, tickers: Collection[str], days: NDArray[np.datetime64], coverage: float = COVERAGE
) -> dict[str, str]:
    """Names that have bars in less than a share of the sessions of their window, with the count in words.

    A session without a bar is missing, whatever stands before or after it: nothing is filled or padded.

    Args:
        bars: `ticker`, `date`, `close`; a row without a close is no bar.
        tickers: names that are asked for.
        days: sessions of the window, datetime64[D] of shape (n_sessions,).
        coverage: the share.

    """
    inside = bars.filter(pl.col("close").is_not_null() & pl.col("date").is_in(pl.Series(days, dtype=pl.Date).implode()))
    found: dict[str, int] = dict(inside.group_by("ticker").agg(pl.col("date").n_unique()).iter_rows())
    return {
        name: f"bars on {found.get(name, 0)} of {len(days)} sessions, {coverage:.0%} are needed"
        for name in sorted(tickers)
        if found.get(name, 0) < coverage * len(days)
    }


def picks(
    scores: Mapping[str, float],
    excluded: Mapping[str, str],
    as_of: date,
    top_n: int,
    side: Side,
    model: str | None,
    model_version: str,
    notes: Sequence[str] = (),
) -> Picks:
    """Order names by their scores and weigh the best.

    Args:
        scores: of each valid name; a forecast return, or the composite score.
        excluded: why each of the others is left out.
        as_of: session of the scores.
        top_n: names that are picked at most.
        side: `long` picks the highest, `short` the lowest.
        model: that scored.
        model_version: of it.
        notes: for the result.

    Raises:
        HistoryError: fewer than `FEWEST` names have a score; says why the others have none.

    """
    usable = {name: score for name, score in scores.items() if math.isfinite(score)}
    excluded = dict(sorted((dict(excluded) | dict.fromkeys(scores.keys() - usable.keys(), "no score")).items()))
    if len(usable) < FEWEST:
        shown = [f"{name}: {why}" for name, why in list(excluded.items())[:5]]
        more = f" and {len(excluded) - 5} more" if len(excluded) > 5 else ""
        raise HistoryError(
            f"{as_of}: {len(usable)} of {len(usable) + len(excluded)} names are valid, {FEWEST} are needed"
            + (f" ({'; '.join(shown)}{more})" if shown else "")
            + "; ask for more names, or another month"
        )
    sign = 1.0 if side == "long" else -1.0
    ordered = dict(sorted(usable.items(), key=lambda each: (-sign * each[1], each[0])))
    picked = tuple(ordered)[:top_n]
    weights = proportional({name: sign * ordered[name] for name in picked})
    if not weights:
        notes = (*notes, f"no {side} score is {'positive' if side == 'long' else 'negative'}: nothing is weighed")
    return Picks(as_of, ordered, weights, excluded, picked, model, model_version, tuple(notes))


def proportional(scores: Mapping[str, float]) -> dict[str, float]:
    """Weights in proportion to the positive scores, which sum to 1; those without one are left out, maybe all."""
    positive = {name: score for name, score in scores.items() if score > 0.0}
    largest = max(positive.values(), default=1.0)  # so that the sum of tiny or huge scores is finite and not 0
    scaled = {name: score / largest for name, score in positive.items()}
    total = math.fsum(scaled.values())
    return {name: score / total for name, score in scaled.items()}

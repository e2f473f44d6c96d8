"""Picks of one session from its forecasts: eligible names, their order and their weights."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import HistoryError

#: Sessions of the window, share of them in which a name needs bars, and least number of names.
WINDOW, COVERAGE, FEWEST = 32, 0.9, 5

#: `model_version` of picks by the selection score, without a model.
COMPOSITE = "composite"

#: Which end of the scores is picked.
Side = Literal["long", "short"]


@dataclass(frozen=True)
class Picks:
    """The picks of a session.

    Attributes:
        as_of: the session.
        scores: score of each valid name, best of the side first; ties by ticker.
        weights: weights of the picked names, in that order.
        excluded: reason of exclusion of each other name, by ticker.
        picked: the picked names, best first.
        model: model of the scores; None for the selection score.
        model_version: version of the model, or `COMPOSITE`.
        notes: problems, such as a model that could not be read.

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
        """As a dictionary for strict JSON, in a fixed order; `beside` is put at the start of the metadata."""
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
    """Names with bars in too few sessions of the window, and a message with the count for each.

    Missing sessions are not filled or padded.

    Args:
        bars: `ticker`, `date`, `close`; a row without a close is no bar.
        tickers: names to check.
        days: sessions of the window, datetime64[D] of shape (n_sessions,).
        coverage: least share of the sessions.

    """
    inside = bars.filter(pl.col("close").is_not_null() & pl.col("date").is_in(pl.Series(days, dtype=pl.Date).implode()))
    counts: dict[str, int] = dict(inside.group_by("ticker").agg(pl.col("date").n_unique()).iter_rows())
    return {
        name: f"bars on {counts.get(name, 0)} of {len(days)} sessions, {coverage:.0%} are needed"
        for name in sorted(tickers)
        if counts.get(name, 0) < coverage * len(days)
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
    """Order names by their scores and weight the best.

    Args:
        scores: score of each valid name: a forecast return, or the selection score.
        excluded: reason of exclusion of each other name.
        as_of: session of the scores.
        top_n: greatest number of picks.
        side: `long` picks the highest, `short` the lowest.
        model: model of the scores.
        model_version: its version.
        notes: notes for the result.

    Raises:
        HistoryError: fewer than `FEWEST` names have a score; gives the reasons of exclusion.

    """
    usable = {name: score for name, score in scores.items() if math.isfinite(score)}
    excluded = dict(sorted((dict(excluded) | dict.fromkeys(scores.keys() - usable.keys(), "no score")).items()))
    if len(usable) < FEWEST:
        shown = [f"{name}: {why}" for name, why in list(excluded.items())[:5]]
        more = f" and {len(excluded) - 5} more" if len(excluded) > 5 else ""
        raise HistoryError(
            f"{as_of}: {len(usable)} of {len(usable) + len(excluded)} names are valid, {FEWEST} are needed"
            + (f" ({'; '.join(shown)}{more})" if shown else "")
            + "; choose more names, or another month"
        )
    sign = 1.0 if side == "long" else -1.0
    ordered = dict(sorted(usable.items(), key=lambda item: (-sign * item[1], item[0])))
    picked = tuple(ordered)[:top_n]
    weights = proportional({name: sign * ordered[name] for name in picked})
    if not weights:
        notes = (*notes, f"no {side} score is {'positive' if side == 'long' else 'negative'}: nothing is weighed")
    return Picks(as_of, ordered, weights, excluded, picked, model, model_version, tuple(notes))


def proportional(scores: Mapping[str, float]) -> dict[str, float]:
    """Weights proportional to the positive scores, with sum 1; other names are left out; empty without any."""
    positive = {name: score for name, score in scores.items() if score > 0.0}
    largest = max(positive.values(), default=1.0)  # so that the sum of tiny or huge scores is finite and not 0
    scaled = {name: score / largest for name, score in positive.items()}
    total = math.fsum(scaled.values())
    return {name: score / total for name, score in scaled.items()}

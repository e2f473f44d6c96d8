"""VADER, a lexicon with rules for negation and emphasis (Hutto and Gilbert 2014, ICWSM): nothing is learned.

Its compound score c, from -1 to 1, is not a probability. It is converted so that the likeliest label is that of the
authors' own rule: neutral within 0.05 of 0. On financial headlines it is right less often than the constant label
neutral (`benchmarks/sentiment.py`); it is a baseline.
"""

from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from quant_assets.sentiment.scorers import library
from quant_assets.sentiment.scorers.base import FloatArray, Origin, Scorer, sha256_of_files

#: Day of release 3.3.2 of the package: its lexicon and rules are not newer.
_PUBLISHED = {"3.3.2": date(2020, 5, 22)}
_FILES = ("vader_lexicon.txt", "emoji_utf8_lexicon.txt", "vaderSentiment.py")
_NEUTRAL_WITHIN = 0.05
LIBRARIES = ("vaderSentiment",)


class Vader:
    """The scorer."""

    name = "vader"

    def __init__(self, analyser: Any, sha256: str, trained_through: date) -> None:
        self._analyser, self.sha256, self.trained_through = analyser, sha256, trained_through

    def scores(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities that grow with the distance of the compound score from 0."""
        compound = np.array([self._analyser.polarity_scores(text)["compound"] for text in texts], np.float64)
        polar = np.abs(compound) / (_NEUTRAL_WITHIN + np.abs(compound))
        return np.stack(
            [np.where(compound < 0, polar, 0.0), 1.0 - polar, np.where(compound > 0, polar, 0.0)], axis=1
        ).reshape(len(texts), 3)


def open_scorer(origin: Origin) -> Scorer:
    """The scorer of the installed package; `sha256`, if set, is that of its lexicon and rules.

    It knows texts up to its publication, or later if the settings say so.
    """
    module: Any = library("vaderSentiment.vaderSentiment")
    files = Origin("vader", Path(str(module.__file__)).parent, origin.sha256).files(*_FILES)
    days = [day for day in (origin.trained_through, _PUBLISHED.get(version("vaderSentiment"))) if day is not None]
    if not days:
        raise origin.refuse(
            f"vaderSentiment {version('vaderSentiment')} is not one of {', '.join(_PUBLISHED)}; set "
            "sentiment.trained_through to the day of its publication"
        )
    return Vader(module.SentimentIntensityAnalyzer(), sha256_of_files(files), max(days))


def installed() -> str | None:
    """SHA-256 of the installed lexicon and rules; None if not installed. Nothing is imported."""
    spec = find_spec("vaderSentiment")
    if spec is None or spec.origin is None:
        return None
    return sha256_of_files(Origin("vader", Path(spec.origin).parent).files(*_FILES))

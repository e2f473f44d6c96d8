"""VADER, a lexicon with rules for negation and emphasis (Hutto and Gilbert 2014, ICWSM): nothing is learned.

Its compound score c, from -1 to 1, is no probability. It is made into some here so that the likeliest label is the one
that the authors' own rule gives: neutral within 0.05 of 0. On headlines of finance it is right less often than who
always says neutral (`benchmarks/sentiment.py`); it is a yardstick.
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

#: Release 3.3.2 of its package: the lexicon and the rules are of no later day.
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
    """The scorer of the installed package; `sha256`, where it is said, is of its lexicon and its rules.

    It knows what was written up to its publication, and later where the settings say so.
    """
    module: Any = library("vaderSentiment.vaderSentiment")
    files = Origin("vader", Path(str(module.__file__)).parent, origin.sha256).files(*_FILES)
    known = [each for each in (origin.trained_through, _PUBLISHED.get(version("vaderSentiment"))) if each is not None]
    if not known:
        raise origin.refuse(
            f"vaderSentiment {version('vaderSentiment')} is none of {', '.join(_PUBLISHED)}; say in "
            "sentiment.trained_through when it was published"
        )
    return Vader(module.SentimentIntensityAnalyzer(), sha256_of_files(files), max(known))


def installed() -> str | None:
    """SHA-256 of the lexicon and the rules that are installed; None where none are. Nothing of them is imported."""
    found = find_spec("vaderSentiment")
    if found is None or found.origin is None:
        return None
    return sha256_of_files(Origin("vader", Path(found.origin).parent).files(*_FILES))

"""VADER, a lexicon with rules for negation and emphasis (Hutto and Gilbert 2014, ICWSM): nothing is learned.

Its compound score c, from -1 to 1, is no probability. It is made into some here so that the likeliest label is the one
that the authors' own rule gives: neutral within 0.05 of 0. On headlines of finance it is right less often than who
always says neutral (`benchmarks/bench_sentiment.py`); it is a yardstick.
"""

from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from quant_assets.sentiment.scorers import library
from quant_assets.sentiment.scorers.base import FloatArray, Origin, Scorer, sha256_of_files

#: Release 3.3.2 of its package: the lexicon and the rules are of no later day.
_PUBLISHED = {"3.3.2": date(2020, 5, 22)}
_NEUTRAL_WITHIN = 0.05


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
    """The scorer of the installed package; `sha256`, where it is said, is of its lexicon and its rules."""
    module: Any = library("vaderSentiment.vaderSentiment")
    folder = Path(str(module.__file__)).parent
    names = ("vader_lexicon.txt", "emoji_utf8_lexicon.txt", "vaderSentiment.py")
    installed = Origin("vader", folder, origin.sha256)
    files = installed.files(*names)
    published = origin.trained_through or _PUBLISHED.get(version("vaderSentiment"))
    if published is None:
        raise origin.refuse(
            f"vaderSentiment {version('vaderSentiment')} is none of {', '.join(_PUBLISHED)}; say in "
            "sentiment.trained_through when it was published"
        )
    return Vader(module.SentimentIntensityAnalyzer(), sha256_of_files(files), published)

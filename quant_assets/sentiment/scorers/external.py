"""A classifier of texts in ONNX from elsewhere: a folder with model.onnx, tokenizer.json and config.json.

Labels and their order come from config.json; labels other than ours are refused. The graph takes `input_ids` and, if it
declares them, `attention_mask` and `token_type_ids`, all of shape (texts, tokens), and returns logits of shape (texts,
labels) as its first output.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np

from quant_assets.sentiment.scorers.base import FloatArray, Origin, Scorer, in_our_order, sha256_of_files, softmax
from quant_assets.sentiment.scorers.tokens import Tokens, config, label_names, session

FILES = ("model.onnx", "tokenizer.json", "config.json")
LIBRARIES = ("onnxruntime", "tokenizers")


class External:
    """The scorer."""

    name = "external"

    def __init__(self, model: Any, tokens: Tokens, order: list[int], trained_through: date, sha256: str) -> None:
        self._model, self._tokens, self._order = model, tokens, order
        self._inputs = [item.name for item in model.get_inputs()]
        self.trained_through, self.sha256 = trained_through, sha256

    def scores(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities, one text at a time."""
        return np.concatenate([np.empty((0, 3)), *(self._score(text) for text in texts)])

    def _score(self, text: str) -> FloatArray:
        read = self._tokens(text)
        logits = np.asarray(self._model.run(None, {name: read[name] for name in self._inputs})[0], np.float64)
        return softmax(logits[:, self._order])


def open_scorer(origin: Origin) -> Scorer:
    """The scorer of a folder."""
    trained_through = origin.told_date()
    files = origin.files(*FILES)
    names = label_names(config(files["config.json"], origin), origin)
    order = in_our_order(names, origin)
    model = session(files["model.onnx"], origin)
    unknown = [item.name for item in model.get_inputs() if item.name not in Tokens.NAMES]
    if unknown:
        raise origin.refuse(f"the graph asks for {', '.join(unknown)}; it may ask for {', '.join(Tokens.NAMES)}")
    shape = model.get_outputs()[0].shape
    if len(shape) != 2 or (isinstance(shape[1], int) and shape[1] != 3):
        raise origin.refuse(f"the graph gives {shape}; its first output must be logits of shape (texts, 3)")
    return External(model, Tokens(files["tokenizer.json"], origin), order, trained_through, sha256_of_files(files))

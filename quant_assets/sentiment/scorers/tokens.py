"""A text as the numbers that a language model reads, by the tokenizer.json that comes with it."""

import json
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_assets.sentiment.scorers import library
from quant_assets.sentiment.scorers.base import Origin

IntArray = NDArray[np.int64]

#: Tokens of a text that are read, its two ends included; headlines have fewer.
LONGEST = 128


class Tokens:
    """The tokenizer.

    Args:
        content: of tokenizer.json, verified.
        origin: for messages.

    """

    #: Inputs that BERT and its kind have.
    NAMES = ("input_ids", "attention_mask", "token_type_ids")

    def __init__(self, content: bytes, origin: Origin) -> None:
        tokenizers: Any = library("tokenizers")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(content.decode("utf-8"))
        except Exception as error:  # noqa: BLE001  (the library raises Exception itself)
            raise origin.refuse(f"tokenizer.json cannot be read ({str(error)[:120]})") from None
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.no_padding()

    def __call__(self, text: str) -> dict[str, IntArray]:
        """Arrays of shape (1, n_tokens) by the names that BERT's inputs have."""
        found = self._tokenizer.encode(text)
        arrays = (found.ids, [1] * len(found.ids), found.type_ids)
        return {name: np.array([each], np.int64) for name, each in zip(self.NAMES, arrays, strict=True)}


def config(content: bytes, origin: Origin) -> Mapping[str, Any]:
    """What config.json says.

    Raises:
        ModelFileError: it is no JSON object.

    """
    try:
        said = json.loads(content)
    except ValueError as error:
        raise origin.refuse(f"config.json cannot be read ({error})") from None
    if not isinstance(said, dict):
        raise origin.refuse("config.json is no object")
    return said


def label_names(said: Mapping[str, Any], origin: Origin) -> list[str]:
    """Labels in the order of a model's outputs, of `id2label` in its config.json.

    Raises:
        ModelFileError: it does not name them one by one.

    """
    named = said.get("id2label")
    try:
        found = {int(number): str(name) for number, name in dict(named or {}).items()}
    except (TypeError, ValueError):
        found = {}
    if sorted(found) != list(range(len(found))) or not found:
        raise origin.refuse(f"config.json names no labels one by one (id2label is {named}); nothing is assumed of them")
    return [found[number] for number in range(len(found))]


def session(content: bytes, origin: Origin) -> Any:
    """An ONNX model on one core, of one file: tensors that it says are in others are not read."""
    ort: Any = library("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as nothing:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", nothing)
        try:
            return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001  (its errors have no class of their own in common)
            raise origin.refuse(f"model.onnx cannot be read ({str(error).splitlines()[0][:160]})") from None

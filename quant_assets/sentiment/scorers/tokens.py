"""Tokens of a text as the numbers that a language model reads, by its tokenizer.json."""

import json
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_assets.sentiment.scorers import library
from quant_assets.sentiment.scorers.base import Origin

IntArray = NDArray[np.int64]

#: Largest number of tokens that are read, both ends included; headlines have fewer.
LONGEST = 128


class Tokens:
    """The tokenizer.

    Args:
        content: of tokenizer.json, verified.
        origin: for messages.

    """

    #: Names of the inputs of BERT and similar models.
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
        """Arrays of shape (1, n_tokens) by the names of BERT's inputs."""
        encoding = self._tokenizer.encode(text)
        arrays = (encoding.ids, [1] * len(encoding.ids), encoding.type_ids)
        return {name: np.array([array], np.int64) for name, array in zip(self.NAMES, arrays, strict=True)}


def config(content: bytes, origin: Origin) -> Mapping[str, Any]:
    """The content of config.json.

    Raises:
        ModelFileError: it is not a JSON object.

    """
    try:
        settings = json.loads(content)
    except ValueError as error:
        raise origin.refuse(f"config.json cannot be read ({error})") from None
    if not isinstance(settings, dict):
        raise origin.refuse("config.json is not an object")
    return settings


def label_names(settings: Mapping[str, Any], origin: Origin) -> list[str]:
    """Labels in the order of a model's outputs, from `id2label` in its config.json.

    Raises:
        ModelFileError: it does not number all labels.

    """
    named = settings.get("id2label")
    try:
        names = {int(number): str(name) for number, name in dict(named or {}).items()}
    except (TypeError, ValueError):
        names = {}
    if sorted(names) != list(range(len(names))) or not names:
        raise origin.refuse(f"config.json does not number all labels (id2label is {named}); their order is not guessed")
    return [names[number] for number in range(len(names))]


def session(content: bytes, origin: Origin) -> Any:
    """An ONNX model on one core, from a single file: tensors in other files are not read."""
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

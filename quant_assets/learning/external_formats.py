"""File formats of models that were trained elsewhere, and their forecasts; only trusted code is executed.

A library is imported when a file of its format is opened. Rows are forecast one by one where a batch could round
differently.
"""

import json
import pickle
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from typing import Any, Literal

import numpy as np

from quant_assets.errors import DatasetError
from quant_assets.market.panel import FloatArray

#: Activation between the layers of `safetensors` and `state_dict`.
Activation = Literal["relu", "tanh", "sigmoid"]

Predict = Callable[[FloatArray], FloatArray]

_ACTIVATIONS: dict[str, Predict] = {
    "relu": lambda values: np.maximum(values, 0.0),
    "tanh": np.tanh,
    "sigmoid": lambda values: 0.5 * (1.0 + np.tanh(0.5 * values)),
}


@dataclass(frozen=True)
class Asked:
    """Options for opening a file.

    Attributes:
        features: names of the model's inputs, in its order.
        trusted_types: classes and functions that a pickle or skops file may name.
        activation: between the layers of tensors; None with one layer.
        origin: the model and its kind in words, for messages.

    """

    features: tuple[str, ...]
    trusted_types: tuple[str, ...]
    activation: Activation | None
    origin: str


def _lightgbm(content: bytes, asked: Asked) -> Predict:
    import lightgbm as lgb

    try:
        booster = lgb.Booster(model_str=content.decode("utf-8"))
    except (lgb.basic.LightGBMError, UnicodeDecodeError, ValueError) as error:
        raise DatasetError(f"{asked.origin}: the file is not LightGBM text ({error})") from None
    _same_inputs(tuple(booster.feature_name()), asked, "Column_")
    return lambda matrix: np.asarray(booster.predict(matrix, num_threads=1))


def _xgboost(content: bytes, asked: Asked) -> Predict:
    import xgboost as xgb

    booster = xgb.Booster({"nthread": 1})
    try:
        json.loads(content)
        booster.load_model(bytearray(content))
    except (xgb.core.XGBoostError, ValueError) as error:
        raise DatasetError(f"{asked.origin}: the file is not XGBoost JSON ({str(error).splitlines()[0]})") from None
    _same_inputs(tuple(booster.feature_names or ()) or booster.num_features(), asked)
    names = booster.feature_names
    return lambda matrix: np.asarray(booster.predict(xgb.DMatrix(matrix, feature_names=names, nthread=1)))


def _pickle(content: bytes, asked: Asked) -> Predict:
    class Restricted(pickle.Unpickler):
        """Loads only trusted classes and functions."""

        def find_class(self, module: str, name: str) -> Any:
            if f"{module}.{name}" not in asked.trusted_types:
                raise DatasetError(
                    f"{asked.origin}: the pickle names {module}.{name}, which is not in trusted_types; nothing was "
                    "called. Add it there only if you know who wrote the file"
                )
            return super().find_class(module, name)

    try:
        estimator = Restricted(BytesIO(content)).load()
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        ImportError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        raise DatasetError(f"{asked.origin}: the file is not a readable pickle ({error})") from None
    return _estimator(estimator, "pickle", asked)


def _estimator(estimator: Any, how: str, asked: Asked) -> Predict:
    """An object with scikit-learn's interface."""
    if not callable(getattr(estimator, "predict", None)):
        raise DatasetError(f"{asked.origin}: {type(estimator).__name__} has no predict; {how} the estimator itself")
    _same_inputs(getattr(estimator, "n_features_in_", len(asked.features)), asked)
    return _one_by_one(lambda row: estimator.predict(row[None]), asked)


def _skops(content: bytes, asked: Asked) -> Predict:
    """Types that skops does not consider safe must be trusted by name."""
    io = _library("skops.io", asked)
    try:
        unknown = sorted(set(io.get_untrusted_types(data=content)) - set(asked.trusted_types))
        if unknown:
            raise DatasetError(
                f"{asked.origin}: the skops file names {', '.join(unknown)}, which are not in trusted_types; nothing "
                "was called. Add them there only if you know who wrote the file"
            )
        estimator = io.loads(content, trusted=list(asked.trusted_types))
    except DatasetError:
        raise
    except Exception as error:
        raise _not_readable(asked, "skops file", error) from error
    return _estimator(estimator, "dump", asked)


def _onnx(content: bytes, asked: Asked) -> Predict:
    """A graph with one input (rows by features) and one output (a value per row), run by ONNX Runtime on the CPU."""
    ort = _library("onnxruntime", asked)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as empty:
        # An empty folder for external tensors: only the file with the verified hash is read.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", empty)
        try:
            session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise _not_readable(asked, "ONNX model", error) from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64}
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type not in types or len(inputs[0].shape) != 2:
        described = [f"{node.name} {node.type}{node.shape}" for node in (*inputs, *outputs)]
        raise DatasetError(
            f"{asked.origin}: the graph's inputs and outputs are {', '.join(described)}; it must have one input of "
            "float or double, rows by features, and one output; export the regressor alone"
        )
    width, name, dtype = inputs[0].shape[1], inputs[0].name, types[inputs[0].type]
    if isinstance(width, int):
        _same_inputs(width, asked)
    return _one_by_one(lambda row: session.run(None, {name: row[None].astype(dtype)})[0], asked)


def _safetensors(content: bytes, asked: Asked) -> Predict:
    read = _library("safetensors.numpy", asked)
    try:
        tensors = read.load(content)
    except Exception as error:
        raise _not_readable(asked, "safetensors file", error) from error
    return _layers(tensors, asked)


def _state_dict(content: bytes, asked: Asked) -> Predict:
    """A file of `torch.save(model.state_dict(), …)`; read with `weights_only`, so that nothing is executed."""
    torch = _library("torch", asked)
    try:
        tensors = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise _not_readable(asked, "torch state dict with only tensors", error) from error
    if not isinstance(tensors, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise DatasetError(f"{asked.origin}: the file is not a state dict of tensors; save model.state_dict()")
    return _layers({str(name): tensor.double().numpy() for name, tensor in tensors.items()}, asked)


def _layers(tensors: Mapping[str, Any], asked: Asked) -> Predict:
    """A sequence of linear layers in double precision, with the activation between them.

    A layer has a `weight` of shape (outputs, inputs) and a `bias` of shape (outputs,) with the same prefix, named as in
    torch's Linear (`0.weight`, `2.bias`, or without a prefix); layers are sorted by the numbers in their names. The
    first layer takes the features, the last returns one value.
    """
    shapes = ", ".join(f"{name} {tuple(np.shape(tensor))}" for name, tensor in sorted(tensors.items()))
    layout = (
        f"{asked.origin}: the tensors are {shapes or 'none'}; they must be pairs of weight (outputs, inputs) and bias "
        f"(outputs,) of linear layers from {len(asked.features)} inputs to 1 output"
    )
    prefixes = sorted({re.sub("(weight|bias)$", "", name) for name in tensors}, key=_natural)
    if set(tensors) != {f"{prefix}{part}" for prefix in prefixes for part in ("weight", "bias")} or not prefixes:
        raise DatasetError(layout)
    layers: list[tuple[FloatArray, FloatArray]] = [
        (np.asarray(tensors[f"{prefix}weight"], np.float64), np.asarray(tensors[f"{prefix}bias"], np.float64))
        for prefix in prefixes
    ]
    width = len(asked.features)
    for weight, bias in layers:
        if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
            raise DatasetError(layout)
        width = len(bias)
    if width != 1:
        raise DatasetError(layout)
    if (asked.activation is None) != (len(layers) == 1):
        raise DatasetError(
            f"{asked.origin}: the file has {len(layers)} layers, parameters.activation is {asked.activation}; set "
            f"it to {', '.join(_ACTIVATIONS)} for several layers, and leave it out for one"
        )

    def ask(row: FloatArray) -> FloatArray:
        for number, (weight, bias) in enumerate(layers):
            row = weight @ (row if number == 0 else _ACTIVATIONS[str(asked.activation)](row)) + bias
        return row

    return _one_by_one(ask, asked)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key by the numbers in a name: `2.` before `10.`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _one_by_one(ask: Callable[[FloatArray], Any], asked: Asked) -> Predict:
    """Forecast one row at a time: in a batch, the rounding of products depends on its size."""

    def of(row: FloatArray) -> float:
        values = np.ravel(ask(row))
        if len(values) != 1:
            raise DatasetError(f"{asked.origin}: it returned {len(values)} values for a row; it must return one")
        return float(values[0])

    return lambda matrix: np.array([of(row) for row in matrix], dtype=np.float64)


def _library(name: str, asked: Asked) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        extra = "deep" if name == "torch" else "external"
        raise DatasetError(
            f"{asked.origin}: its format needs {name.partition('.')[0]} ({error}); install the extra {extra} "
            f"(pip install 'quant-assets[{extra}]')"
        ) from None


def _not_readable(asked: Asked, what: str, error: Exception) -> DatasetError:
    lines: Sequence[str] = str(error).strip().splitlines() or [type(error).__name__]
    return DatasetError(f"{asked.origin}: the file is not a readable {what} ({lines[0][:200]})")


def _same_inputs(of_the_file: tuple[str, ...] | int, asked: Asked, unnamed: str = "") -> None:
    """Refuse a file whose inputs differ from the settings.

    Args:
        of_the_file: names of its inputs in order, or their number if they have no names.
        asked: options with the inputs of the settings.
        unnamed: prefix of the library's names for inputs without names.

    Raises:
        DatasetError: the inputs differ; lists them.

    """
    if isinstance(of_the_file, tuple) and not all(unnamed and name.startswith(unnamed) for name in of_the_file):
        if of_the_file != asked.features:
            raise DatasetError(
                f"{asked.origin}: the file's inputs are {', '.join(of_the_file)}, in this order; "
                f"parameters.features are {', '.join(asked.features)}"
            )
        return
    count = of_the_file if isinstance(of_the_file, int) else len(of_the_file)
    if count != len(asked.features):
        raise DatasetError(
            f"{asked.origin}: the file has {count} inputs, parameters.features are {len(asked.features)}"
        )


#: File suffix in a checkpoint, and the function that opens the content, by format.
FORMATS: dict[str, tuple[str, Callable[[bytes, Asked], Predict]]] = {
    "lightgbm": (".txt", _lightgbm),
    "xgboost": (".json", _xgboost),
    "onnx": (".onnx", _onnx),
    "safetensors": (".safetensors", _safetensors),
    "state_dict": (".pt", _state_dict),
    "skops": (".skops", _skops),
    "pickle": (".pkl", _pickle),
}

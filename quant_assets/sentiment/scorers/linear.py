"""A multinomial logistic regression over features of a text: fitted, stored and read without a pickle."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from quant_assets.sentiment.scorers.base import LABELS, FloatArray, Origin


def fit(features: Any, labels: Sequence[str], strength: float) -> tuple[FloatArray, FloatArray]:
    """Fit with equal weight for each label, whatever its number of texts.

    Args:
        features: of shape (n_texts, n_features), sparse or dense.
        labels: label of each text, all of `LABELS` present.
        strength: inverse of the penalty on squared coefficients.

    Returns:
        Coefficients of shape (n_features, 3) and intercepts of shape (3,), in the order of `LABELS`.

    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1_000, tol=1e-5)
    model.fit(features, np.array([LABELS.index(label) for label in labels]))
    return np.ascontiguousarray(model.coef_.T, np.float64), np.asarray(model.intercept_, np.float64)


def packed(kind: str, about: Mapping[str, Any], arrays: Mapping[str, Any]) -> bytes:
    """One file of arrays and metadata; the same content gives the same bytes.

    Args:
        kind: kind of the scorer that reads it.
        about: metadata for JSON.
        arrays: of numbers or text.

    """
    metadata = json.dumps({"kind": kind} | dict(about), sort_keys=True)
    content = io.BytesIO()
    np.savez_compressed(content, about=np.array(metadata), **arrays)
    return content.getvalue()


def unpacked(content: bytes, origin: Origin, shapes: Mapping[str, int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Contents of a file of `packed`; nothing of the file is executed.

    Args:
        content: verified content of the file.
        origin: for messages.
        shapes: number of dimensions of each required array.

    Raises:
        ModelFileError: it is not such a file, or the settings also have `trained_through`.

    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in shapes}
            metadata = json.loads(str(file["about"]))
            trained = date.fromisoformat(metadata["trained_through"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise origin.refuse(f"the file was not written by `quant sentiment train` ({error})") from None
    if origin.trained_through is not None:
        raise origin.refuse("its file says until when it was trained; leave out sentiment.trained_through")
    if metadata.get("kind") != origin.kind:
        raise origin.refuse(f"the file is of scorer {metadata.get('kind')}; set sentiment.scorer to that")
    wrong = [name for name, dimensions in shapes.items() if arrays[name].ndim != dimensions]
    if wrong or arrays["intercepts"].shape != (3,) or arrays["coefficients"].shape[1] != 3:
        raise origin.refuse("the file's arrays do not fit together; train the scorer again")
    return metadata | {"trained_through": trained}, arrays

"""A multinomial logistic regression over any features of a text: fitted, kept and read without a pickle."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from quant_assets.sentiment.scorers.base import LABELS, FloatArray, Origin


def fit(features: Any, labels: Sequence[str], strength: float) -> tuple[FloatArray, FloatArray]:
    """Fit, each label weighing the same however many texts have it.

    Args:
        features: of shape (n_texts, n_features), sparse or dense.
        labels: of each text, among `LABELS`, of which each must be there.
        strength: inverse of the penalty on squared coefficients.

    Returns:
        Coefficients of shape (n_features, 3) and intercepts of shape (3,), in the order of `LABELS`.

    """
    from sklearn.linear_model import LogisticRegression

    made = LogisticRegression(C=strength, class_weight="balanced", max_iter=1_000, tol=1e-5)
    made.fit(features, np.array([LABELS.index(label) for label in labels]))
    return np.ascontiguousarray(made.coef_.T, np.float64), np.asarray(made.intercept_, np.float64)


def packed(kind: str, about: Mapping[str, Any], arrays: Mapping[str, Any]) -> bytes:
    """One file of arrays and of what is said about them; the same content gives the same bytes.

    Args:
        kind: of the scorer that reads it.
        about: what JSON holds.
        arrays: of numbers or text.

    """
    said = json.dumps({"kind": kind} | dict(about), sort_keys=True)
    content = io.BytesIO()
    np.savez_compressed(content, about=np.array(said), **arrays)
    return content.getvalue()


def unpacked(content: bytes, origin: Origin, shapes: Mapping[str, int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `packed` made; nothing of a file is executed.

    Args:
        content: verified.
        origin: for messages.
        shapes: number of dimensions of each array that must be there.

    Raises:
        ModelFileError: it is no such file, or something else than it says until when it was trained.

    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in shapes}
            said = json.loads(str(file["about"]))
            trained = date.fromisoformat(said["trained_through"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise origin.refuse(f"the file is none that `quant sentiment train` wrote ({error})") from None
    if origin.trained_through is not None:
        raise origin.refuse("its file says until when it was trained; leave out sentiment.trained_through")
    if said.get("kind") != origin.kind:
        raise origin.refuse(f"the file is of scorer {said.get('kind')}; set sentiment.scorer to that")
    wrong = [name for name, dimensions in shapes.items() if arrays[name].ndim != dimensions]
    if wrong or arrays["intercepts"].shape != (3,) or arrays["coefficients"].shape[1] != 3:
        raise origin.refuse("the file's arrays do not fit together; train the scorer again")
    return said | {"trained_through": trained}, arrays

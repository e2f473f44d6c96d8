"""Labelled texts: cleaning and splitting them, training a scorer on them, and its quality."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from typing import Any
from zlib import crc32

import numpy as np
import polars as pl

from quant_assets.errors import SettingsError
from quant_assets.sentiment.scorers.base import LABELS, FloatArray

#: Kinds that can be trained.
TRAINED = ("tfidf", "minilm")

#: Fewest texts of a label.
_FEWEST = 20


def normalised(column: str = "text") -> pl.Expr:
    """A text for comparison: only words and numbers, in lower case."""
    return pl.col(column).str.to_lowercase().str.replace_all(r"[\W_]+", " ").str.strip_chars()


def labelled(rows: pl.DataFrame) -> pl.DataFrame:
    """Each text once with its label; a text with several labels, which is about several companies, is left out.

    Args:
        rows: `text`, `label`, and `dataset` for several; other columns are ignored.

    Returns:
        `text, label, dataset`, in the order of the texts.

    Raises:
        SettingsError: a column is missing, or a label is not in `LABELS`; names it.

    """
    missing = [name for name in ("text", "label") if name not in rows.columns]
    if missing:
        raise SettingsError(f"labelled texts need a column '{missing[0]}'; they have {', '.join(rows.columns)}")
    if "dataset" not in rows.columns:
        rows = rows.with_columns(dataset=pl.lit("texts"))
    rows = rows.drop_nulls(["text", "label"]).with_columns(_words=normalised())
    unknown = sorted(set(rows["label"].unique()) - set(LABELS))
    if unknown:
        raise SettingsError(f"labelled texts have the label '{unknown[0]}'; labels are {', '.join(LABELS)}")
    clear = pl.col("label").n_unique().over("dataset", "_words") == 1
    texts = rows.filter(clear, pl.col("_words") != "").unique(["dataset", "_words"], keep="first", maintain_order=True)
    return texts.select("text", "label", "dataset")


def apart(train: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """The training rows whose text is not in the test rows."""
    return (
        train.with_columns(_words=normalised())
        .join(test.select(_words=normalised()), on="_words", how="anti", maintain_order="left")
        .drop("_words")
    )


def folds(rows: pl.DataFrame, count: int = 5) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    """Splits into training and test rows: every text is in one test set, chosen by the hash of its words.

    No text is in both parts of a split, however it is spelled.
    """
    words = rows.select(normalised()).to_series().to_list()
    number = pl.Series([crc32(text.encode()) % count for text in words], dtype=pl.Int64)
    return [(rows.filter(number != fold), rows.filter(number == fold)) for fold in range(count)]


def train(kind: str, rows: pl.DataFrame, trained_through: date) -> bytes:
    """The file of a scorer, trained on labelled texts.

    Args:
        kind: one of `TRAINED`.
        rows: of `labelled`.
        trained_through: last day on which a text or its label may have been written. Undated texts do not contain it.

    Raises:
        SettingsError: the kind cannot be trained, or there are too few texts of a label.

    """
    if kind not in TRAINED:
        raise SettingsError(f"scorer '{kind}' is not trained here; choose one of {', '.join(TRAINED)}")
    counts = {name: int((rows["label"] == name).sum()) for name in LABELS}
    few = next((name for name, count in counts.items() if count < _FEWEST), None)
    if few:
        raise SettingsError(f"{counts[few]} texts are {few}; {_FEWEST} or more of each label are needed")
    about: dict[str, Any] = {
        "trained_through": trained_through.isoformat(),
        "texts": counts,
        "datasets": sorted(rows["dataset"].unique()),
    }
    content: bytes = import_module(f"quant_assets.sentiment.scorers.{kind}").train(
        rows["text"].to_list(), rows["label"].to_list(), about
    )
    return content


@dataclass(frozen=True)
class Quality:
    """Agreement of a scorer's likeliest labels with the true ones.

    Attributes:
        texts: number of scored texts.
        accuracy: share of correct labels.
        macro_f1: mean over the labels of the harmonic mean of precision and recall; a label that neither occurs nor is
            predicted counts as 0.

    """

    texts: int
    accuracy: float
    macro_f1: float


def quality(labels: Sequence[str], scores: FloatArray) -> Quality:
    """Evaluate scores against the true labels.

    Args:
        labels: label of each text.
        scores: of shape (n_texts, 3), in the order of `LABELS`.

    """
    truth = np.array([LABELS.index(label) for label in labels], np.int64)
    predicted = scores.argmax(axis=1)
    f1 = []
    for label in range(len(LABELS)):
        right = int(((predicted == label) & (truth == label)).sum())
        of_both = int((predicted == label).sum()) + int((truth == label).sum())
        f1.append(2.0 * right / of_both if of_both else 0.0)
    return Quality(len(truth), float((predicted == truth).mean()), float(np.mean(f1)))

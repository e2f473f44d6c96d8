"""Labelled texts: how they are cleaned and divided, how a scorer is trained on them, and how good one is."""

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

#: Kinds that are trained here.
TRAINED = ("tfidf", "minilm")

#: Fewer texts of a label teach nothing.
_FEWEST = 20


def normalised(column: str = "text") -> pl.Expr:
    """A text for comparing: small letters, words and numbers alone."""
    return pl.col(column).str.to_lowercase().str.replace_all(r"[\W_]+", " ").str.strip_chars()


def labelled(rows: pl.DataFrame) -> pl.DataFrame:
    """Each text once with its label; a text with several labels is left out, as one that is about several companies.

    Args:
        rows: `text`, `label`, and `dataset` where they are of several; others are left out.

    Returns:
        `text, label, dataset`, in the order in which the texts came.

    Raises:
        SettingsError: a column is missing, or a label is none of `LABELS`; names it.

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
    one = pl.col("label").n_unique().over("dataset", "_words") == 1
    kept = rows.filter(one, pl.col("_words") != "").unique(["dataset", "_words"], keep="first", maintain_order=True)
    return kept.select("text", "label", "dataset")


def apart(train: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """The rows to train on whose text the test does not have."""
    return (
        train.with_columns(_words=normalised())
        .join(test.select(_words=normalised()), on="_words", how="anti", maintain_order="left")
        .drop("_words")
    )


def folds(rows: pl.DataFrame, count: int = 5) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    """Divisions into what is trained on and what is tested: every text is tested once, by the hash of its words alone.

    No text is in both, however it is written.
    """
    words = rows.select(normalised()).to_series().to_list()
    number = pl.Series([crc32(text.encode()) % count for text in words], dtype=pl.Int64)
    return [(rows.filter(number != each), rows.filter(number == each)) for each in range(count)]


def train(kind: str, rows: pl.DataFrame, trained_through: date) -> bytes:
    """The file of a scorer, trained on labelled texts.

    Args:
        kind: one of `TRAINED`.
        rows: of `labelled`.
        trained_through: last day on which a text or its label may have been written. Undated texts do not say it.

    Raises:
        SettingsError: the kind is not trained here, or there are too few texts of a label.

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
    made: bytes = import_module(f"quant_assets.sentiment.scorers.{kind}").train(
        rows["text"].to_list(), rows["label"].to_list(), about
    )
    return made


@dataclass(frozen=True)
class Quality:
    """How often a scorer's likeliest label is the right one.

    Attributes:
        texts: that were scored.
        accuracy: share of them that is right.
        macro_f1: mean over the labels of the harmonic mean of precision and recall; a label that is neither there nor
            said counts 0.

    """

    texts: int
    accuracy: float
    macro_f1: float


def quality(labels: Sequence[str], scores: FloatArray) -> Quality:
    """Judge scores by the labels that people gave.

    Args:
        labels: of each text.
        scores: of shape (n_texts, 3), in the order of `LABELS`.

    """
    given = np.array([LABELS.index(label) for label in labels], np.int64)
    said = scores.argmax(axis=1)
    f1 = []
    for each in range(len(LABELS)):
        right = int(((said == each) & (given == each)).sum())
        of_both = int((said == each).sum()) + int((given == each).sum())
        f1.append(2.0 * right / of_both if of_both else 0.0)
    return Quality(len(given), float((said == given).mean()), float(np.mean(f1)))

"""Bodies of `quant sentiment`: train, try and evaluate a scorer of news."""

import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from quant_assets.errors import SettingsError, UsageError
from quant_assets.io.whole_file import write_whole
from quant_assets.learning.model_files import sha256
from quant_assets.sentiment.scorers import open_scorer
from quant_assets.sentiment.scorers.base import LABELS, Origin, Scorer
from quant_assets.sentiment.training import labelled, quality, train
from quant_assets.settings.loading import load_settings


def trained(texts: Path, kind: str, trained_through: str, out: Path) -> Iterator[str]:
    """Train a scorer, write its file, and print the settings that use it.

    Raises:
        SettingsError: the texts cannot be used, or the day is not valid.

    """
    rows = labelled(_read(texts))
    content = train(kind, rows, _day(trained_through))
    write_whole(out.expanduser().absolute(), content)
    yield f"{out}: scorer {kind} of {len(rows):,} texts, {len(content) / 1e6:.1f} MB"
    yield "sentiment:"
    yield f"  scorer: {kind}"
    yield f"  path: {out.expanduser().absolute()}"
    yield f"  sha256: {sha256(content)}"


def scored(
    texts: Sequence[str], kind: str | None, path: Path | None, trained_through: str | None, profile: str | None
) -> Iterator[str]:
    """Score and probabilities of texts.

    Raises:
        SettingsError: there are no texts, or no scorer.

    """
    if not texts:
        raise SettingsError('give quoted texts: quant sentiment score "Orders surge" --scorer vader')
    scorer = _scorer(kind, path, trained_through, profile)
    for text, row in zip(texts, scorer.scores(texts), strict=True):
        shares = "  ".join(f"{name} {share:.3f}" for name, share in zip(LABELS, row, strict=True))
        yield f"{row[2] - row[0]:+.3f}  {shares}  {text}"


def evaluated(texts: Path, kind: str, path: Path | None, trained_through: str | None) -> Iterator[str]:
    """Accuracy, macro F1 and time of a scorer, by data set."""
    rows = labelled(_read(texts))
    scorer = _scorer(kind, path, trained_through, None)
    yield f"scorer {scorer.name}, trained through {scorer.trained_through}"
    yield f"sha256: {scorer.sha256}"
    for (dataset,), part in sorted(rows.group_by("dataset", maintain_order=True)):
        labels = part["label"].to_list()
        began = time.process_time()
        scores = scorer.scores(part["text"].to_list())
        seconds = (time.process_time() - began) / len(part)
        measured = quality(labels, scores)
        commonest = max(LABELS, key=labels.count)
        always = quality(labels, np.eye(3)[np.full(len(labels), LABELS.index(commonest))])
        yield (
            f"{dataset}: {measured.texts:,} texts, accuracy {measured.accuracy:.3f}, macro F1 {measured.macro_f1:.3f} "
            f"(always {commonest}: {always.accuracy:.3f}, {always.macro_f1:.3f}), {1e3 * seconds:.2f} ms per text"
        )


def _scorer(kind: str | None, path: Path | None, trained_through: str | None, profile: str | None) -> Scorer:
    through = None if trained_through is None else _day(trained_through)
    if kind is not None:
        return open_scorer(Origin(kind, path, None, through))
    settings = load_settings(profile)
    if settings.sentiment.scorer is None:
        raise SettingsError(f"profile '{settings.profile}' has no scorer; name one with --scorer, or sentiment.scorer")
    sentiment = settings.sentiment
    return open_scorer(Origin(settings.sentiment.scorer, sentiment.path, sentiment.sha256, sentiment.trained_through))


def _read(file: Path) -> pl.DataFrame:
    """Labelled texts of a file."""
    try:
        return pl.read_csv(file) if file.suffix == ".csv" else pl.read_parquet(file, use_statistics=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        why = str(error).splitlines()[0][:120]
        raise SettingsError(f"{file} cannot be read ({why}); name a Parquet or CSV file of labelled texts") from None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"'{text}' is not a day; write --trained-through as YYYY-MM-DD") from None

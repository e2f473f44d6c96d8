"""Accuracy of the scorers of news: `python -m benchmarks.sentiment TEXTS [embeddings.npy]`.

TEXTS is a Parquet file with `text, label, dataset` (Financial PhraseBank, SEntFiN, Twitter financial news; parts of a
corpus begin with its name). A corpus is scored by scorers trained on the others (out of domain), and in five folds by
scorers trained on the rest of it (in domain); no test text is in the training texts, however it is spelled. Texts with
several labels are left out. Embeddings take most of the time: they are stored in the file that is the second argument.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console

from quant_assets.errors import QuantError
from quant_assets.sentiment.scorers import linear, minilm, open_scorer, tfidf
from quant_assets.sentiment.scorers.base import LABELS, FloatArray, Origin
from quant_assets.sentiment.training import Quality, apart, folds, labelled, quality

CORPORA = ("financial_phrasebank", "sentfin", "twitter_financial_news")
_ABOUT = {"trained_through": "2022-12-31"}

#: Function that trains on the first rows and returns scores of the second.
Try = Callable[[pl.DataFrame, pl.DataFrame], FloatArray]


def by_words(learned: pl.DataFrame, tested: pl.DataFrame) -> FloatArray:
    """Scorer tfidf."""
    content = tfidf.train(learned["text"].to_list(), learned["label"].to_list(), dict(_ABOUT))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scorer.npz"
        file.write_bytes(content)
        return open_scorer(Origin("tfidf", file)).scores(tested["text"].to_list())


def by_embedding(embedded: FloatArray) -> Try:
    """Scorer minilm, over embeddings of all texts by their `row`."""

    def scores(learned: pl.DataFrame, tested: pl.DataFrame) -> FloatArray:
        coefficients, intercepts = linear.fit(
            embedded[learned["row"].to_numpy()], learned["label"].to_list(), minilm.STRENGTH
        )
        scorer = minilm.MiniLm(coefficients, intercepts, date(2022, 12, 31), "")
        return scorer.of_embedded(embedded[tested["row"].to_numpy()])

    return scores


def both(first: Try, second: Try) -> Try:
    """The mean of two scorers' probabilities."""
    return lambda learned, tested: (first(learned, tested) + second(learned, tested)) / 2


def always_commonest(learned: pl.DataFrame, tested: pl.DataFrame) -> FloatArray:
    """The most frequent label of the test rows: the baseline of all scorers."""
    labels = tested["label"].to_list()
    return np.eye(3)[np.full(len(labels), LABELS.index(max(LABELS, key=labels.count)))]


def vader(learned: pl.DataFrame, tested: pl.DataFrame) -> FloatArray:
    """Scorer vader."""
    return open_scorer(Origin("vader")).scores(tested["text"].to_list())


def judged(rows: pl.DataFrame, tries: dict[str, Try]) -> Iterator[tuple[str, str, str, Quality, float]]:
    """Corpus, scorer, `out` or `in`, quality, and milliseconds of CPU per text, including training."""
    for corpus in CORPORA:
        corpus_rows = rows.filter(pl.col("dataset").str.starts_with(corpus))
        if corpus_rows.is_empty():
            continue
        others = apart(rows.filter(~pl.col("dataset").str.starts_with(corpus)), corpus_rows)
        for name, of in tries.items():
            began = time.process_time()
            result = quality(corpus_rows["label"].to_list(), of(others, corpus_rows))
            yield corpus, name, "out", result, 1e3 * (time.process_time() - began) / len(corpus_rows)
            if name in ("always the commonest", "vader"):
                continue
            began, labels, scores = time.process_time(), list[str](), list[FloatArray]()
            for learned, tested in folds(corpus_rows):
                scores.append(of(learned, tested))
                labels += tested["label"].to_list()
            result = quality(labels, np.concatenate(scores))
            yield corpus, name, "in", result, 1e3 * (time.process_time() - began) / len(corpus_rows)


def main(arguments: Sequence[str]) -> int:
    """Print the table. Returns the exit status."""
    console = Console(highlight=False, soft_wrap=True)
    if not 1 <= len(arguments) <= 2:
        console.print("usage: python -m benchmarks.sentiment TEXTS [EMBEDDINGS.npy]", markup=False)
        return 2
    rows = labelled(pl.read_parquet(arguments[0])).with_row_index("row")
    tries: dict[str, Try] = {"always the commonest": always_commonest, "tfidf": by_words}
    for name, of in {"vader": vader}.items():
        try:
            of(rows.head(1), rows.head(1))
            tries[name] = of
        except QuantError as error:
            console.print(f"{name}: {error}", markup=False)
    try:
        file = Path(arguments[1]) if len(arguments) == 2 else None
        if file is not None and file.exists():
            embedded = np.load(file, allow_pickle=False).astype(np.float64)
        else:
            began = time.process_time()
            embedded = minilm.embedding()(rows["text"].to_list())
            console.print(f"embedding: {1e3 * (time.process_time() - began) / len(rows):.1f} ms of one core a text")
            if file is not None:
                np.save(file, embedded.astype(np.float32))
        tries |= {"minilm": by_embedding(embedded), "tfidf and minilm": both(by_words, by_embedding(embedded))}
    except QuantError as error:
        console.print(f"minilm: {error}", markup=False)
    for corpus, name, domain, result, milliseconds in judged(rows, tries):
        console.print(
            f"{corpus:24} {name:22} {domain:4} accuracy {result.accuracy:.3f}  macro F1 {result.macro_f1:.3f}  "
            f"{result.texts:6,} texts  {milliseconds:.3f} ms",
            markup=False,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

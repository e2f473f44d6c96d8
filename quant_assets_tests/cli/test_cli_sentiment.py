"""`quant sentiment` as a person meets it: train, use what it prints, judge."""

from datetime import date
from pathlib import Path

import pytest

from quant_assets_tests.command import Quant, status_of
from quant_assets_tests.sentiment.texts import labelled_texts


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    labelled_texts().write_parquet(tmp_path / "texts.parquet")
    return tmp_path / "texts.parquet"


def test_what_training_prints_is_what_a_profile_needs(
    texts: Path, tmp_path: Path, command: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "news.npz"
    made = command("sentiment", "train", str(texts), "--out", str(out), "--trained-through", "2021-12-31")
    assert made.status == 0, made.out
    lines = [line.strip() for line in made.out.splitlines()]
    assert lines[1] == "sentiment:"
    for line in lines[2:5]:
        name, _, value = line.partition(": ")
        monkeypatch.setenv(f"QUANT__SENTIMENT__{name.upper()}", value)
    scored = command("sentiment", "score", "Example profit slumps", "Example sales surge")
    assert scored.status == 0, scored.out
    falls, rises = scored.out.splitlines()
    assert (falls[0], rises[0]) == ("-", "+")
    assert rises.endswith("Example sales surge")

    judged = command("sentiment", "evaluate", str(texts), "--scorer", "tfidf", "--path", str(out))
    assert f"scorer tfidf, trained through {date(2021, 12, 31)}" in judged.out.splitlines()
    assert lines[4] in judged.out.splitlines()
    (figures,) = (line for line in judged.out.splitlines() if line.startswith("made up:"))
    assert "made up: 96 texts, accuracy 1.000, macro F1 1.000 (always negative: 0.333, 0.167)" in figures


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "absent.parquet", "--out", "x", "--trained-through", "2021-12-31"), "absent.parquet cannot be read"),
        (("train", "TEXTS", "--out", "x", "--trained-through", "soon"), "'soon' is not a day"),
        (("train", "TEXTS", "--out", "x", "--trained-through", "2021-12-31", "--scorer", "vader"), "not trained here"),
        (("score", "a text"), "has no scorer; name one with --scorer"),
        (("score", "--scorer", "vader"), "give quoted texts"),
        (("evaluate", "TEXTS", "--scorer", "oracle"), "there is no scorer 'oracle'"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: tuple[str, ...], said: str, texts: Path, command: Quant) -> None:
    outcome = command("sentiment", *(str(texts) if each == "TEXTS" else each for each in arguments))
    assert outcome.status == status_of(outcome.err)
    assert said in " ".join(outcome.err.split() if hasattr(outcome, "err") else outcome.out.split())

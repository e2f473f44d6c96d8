"""Scorers: what they give, that each text stands for itself, and that no file is read which is another or is none."""

import hashlib
import re
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import ModelFileError, SettingsError
from quant_assets.sentiment import scorers
from quant_assets.sentiment.scorers import installed, kinds, libraries, linear, open_scorer, tfidf
from quant_assets.sentiment.scorers.base import LABELS, Origin, in_our_order
from quant_assets.sentiment.training import apart, folds, labelled, quality, train
from quant_assets_tests.sentiment.texts import TRAINED, labelled_texts


@pytest.fixture(scope="module")
def content() -> bytes:
    return train("tfidf", labelled(labelled_texts()), TRAINED)


@pytest.fixture
def file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "scorer.npz"
    path.write_bytes(content)
    return path


def test_the_kinds_are_the_files_of_the_package() -> None:
    assert {"tfidf", "vader", "external", "minilm"} <= set(kinds())
    assert not {"base", "linear", "tokens"} & set(kinds())
    with pytest.raises(SettingsError, match=r"no scorer 'oracle'; choose one of .*tfidf"):
        open_scorer(Origin("oracle"))


def test_tfidf_learns_words_and_says_until_when_it_knows(file: Path, content: bytes) -> None:
    scorer = open_scorer(Origin("tfidf", file, hashlib.sha256(content).hexdigest()))
    found = scorer.scores(
        ["Example Corp profit jumps", "Example Corp sales collapse", "Example Corp names new director"]
    )
    assert [LABELS[place] for place in found.argmax(axis=1)] == ["positive", "negative", "neutral"]
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (scorer.trained_through, scorer.sha256) == (TRAINED, hashlib.sha256(content).hexdigest())


def test_a_text_is_scored_by_itself(file: Path) -> None:
    scorer = open_scorer(Origin("tfidf", file))
    texts = ["profit jumps today", "", "sales collapse, shares tumble 12.5%", "unheard words only"]
    one_by_one = np.concatenate([scorer.scores([each]) for each in texts])
    assert scorer.scores(texts).tobytes() == one_by_one.tobytes()
    assert scorer.scores([]).shape == (0, 3)


def test_training_again_gives_the_same_bytes(content: bytes) -> None:
    assert train("tfidf", labelled(labelled_texts()), TRAINED) == content


def test_the_file_scores_as_scikit_learn_does(content: bytes, file: Path) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    rows = labelled_texts()
    vectors = TfidfVectorizer(analyzer=tfidf.terms, min_df=2, sublinear_tf=True)
    model = LogisticRegression(C=4.0, class_weight="balanced", max_iter=1_000, tol=1e-5)
    model.fit(vectors.fit_transform(rows["text"]), rows["label"])
    texts = ["Company 11 profit jumps in March", "shares tumble as sales surge", "nothing of it"]
    expected = model.predict_proba(vectors.transform(texts))
    assert list(model.classes_) == list(LABELS)
    np.testing.assert_allclose(open_scorer(Origin("tfidf", file)).scores(texts), expected, atol=2e-4)


def test_terms_are_words_numbers_and_pairs() -> None:
    assert tfidf.terms("Profit up 12.5%") == ["profit", "up", "0", "%", "profit up", "up 0", "0 %"]


def test_another_file_is_not_loaded(file: Path, content: bytes) -> None:
    with pytest.raises(ModelFileError, match=r"SHA-256 .* sentiment.sha256 says 000000000000….*nothing was loaded"):
        open_scorer(Origin("tfidf", file, "0" * 64))
    with pytest.raises(ModelFileError, match=r"absent.npz cannot be read \(No such file"):
        open_scorer(Origin("tfidf", file.with_name("absent.npz")))


def _pickled(path: Path) -> None:
    np.savez(path, about=np.array({"kind": "tfidf"}, dtype=object))


def _of_another(path: Path) -> None:
    about = {"trained_through": "2021-12-31"}
    arrays = {
        "coefficients": np.zeros((2, 3)),
        "intercepts": np.zeros(3),
        "vocabulary": np.array(["a"]),
        "idf": np.ones(2),
    }
    path.write_bytes(linear.packed("minilm", about, arrays))


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _unequal(path: Path) -> None:
    about = {"trained_through": "2021-12-31"}
    arrays = {
        "coefficients": np.zeros((2, 3)),
        "intercepts": np.zeros(3),
        "vocabulary": np.array(["a"]),
        "idf": np.ones(2),
    }
    path.write_bytes(linear.packed("tfidf", about, arrays))


def _undated(path: Path) -> None:
    path.write_bytes(
        linear.packed(
            "tfidf",
            {},
            {
                "coefficients": np.zeros((0, 3)),
                "intercepts": np.zeros(3),
                "vocabulary": np.array([], dtype=str),
                "idf": np.ones(0),
            },
        )
    )


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        (_pickled, "not written by `quant sentiment train`"),
        (_torn, "not written by `quant sentiment train`"),
        (_of_another, "the file is of scorer minilm"),
        (_unequal, "do not fit together"),
        (_undated, "not written by `quant sentiment train`"),
    ],
)
def test_a_file_of_something_else_is_refused(file: Path, spoilt: object, why: str) -> None:
    spoilt(file)  # type: ignore[operator]
    with pytest.raises(ModelFileError, match=why):
        open_scorer(Origin("tfidf", file))


def test_labels_are_read_and_never_assumed() -> None:
    origin = Origin("finbert")
    assert in_our_order(["positive", "negative", "neutral"], origin) == [1, 2, 0]
    assert in_our_order(["Neutral", "Positive", "Negative"], origin) == [2, 0, 1]
    for others in (["LABEL_0", "LABEL_1", "LABEL_2"], ["negative", "positive"], []):
        with pytest.raises(ModelFileError, match="they must be negative, neutral, positive"):
            in_our_order(others, origin)


def test_vader_says_what_its_authors_rule_says(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vaderSentiment")
    scorer = open_scorer(Origin("vader"))
    assert scorer.trained_through == date(2020, 5, 22)
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    texts = ["a great success", "a horrible failure", "the office moves", "good but not very good", ""]
    compound = [SentimentIntensityAnalyzer().polarity_scores(text)["compound"] for text in texts]
    rule = [0 if each < -0.05 else 2 if each > 0.05 else 1 for each in compound]
    found = scorer.scores(texts)
    assert found.argmax(axis=1).tolist() == rule
    assert len(set(rule)) == 3
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    with pytest.raises(ModelFileError, match="nothing was loaded"):
        open_scorer(Origin("vader", sha256="0" * 64))
    assert scorer.scores([]).shape == (0, 3)


def test_vader_is_never_older_than_its_publication() -> None:
    pytest.importorskip("vaderSentiment")
    for said, through in ((date(2015, 1, 1), date(2020, 5, 22)), (date(2022, 1, 1), date(2022, 1, 1))):
        assert open_scorer(Origin("vader", trained_through=said)).trained_through == through


def test_a_day_beside_a_file_that_says_its_own_is_refused(file: Path) -> None:
    with pytest.raises(ModelFileError, match=r"its file says until when .*; leave out sentiment\.trained_through"):
        open_scorer(Origin("tfidf", file, trained_through=date(2019, 1, 1)))


def test_what_vader_is_made_of_is_told_without_opening_it() -> None:
    pytest.importorskip("vaderSentiment")
    assert installed("vader") == open_scorer(Origin("vader")).sha256
    assert installed("tfidf") is None, "the settings say the hash of its file"


@pytest.mark.parametrize("kind", kinds())
def test_each_kind_names_the_libraries_that_it_asks_for(kind: str) -> None:
    """Those of the modules that it is written in, by the names under which they are imported."""
    folder = Path(str(scorers.__file__)).parent
    source = (folder / f"{kind}.py").read_text(encoding="utf-8")
    shared = (folder / "tokens.py").read_text(encoding="utf-8").replace("\n\n\ndef session", "\0").split("\0")
    used = source + (shared[0] if "Tokens(" in source else "") + (shared[1] if "session(" in source else "")
    asked = {name.partition(".")[0] for name in re.findall(r'[ =]library\("([\w.]+)"', used)}
    assert asked == set(libraries(kind))


def test_labelled_texts_are_counted_once_and_contradictions_left_out() -> None:
    rows = pl.DataFrame(
        {
            "text": ["Sales rise!", "sales rise", "Both, of two firms", "both of two firms", "...", None],
            "label": ["positive", "positive", "positive", "negative", "neutral", "neutral"],
        }
    )
    assert labelled(rows).rows() == [("Sales rise!", "positive", "texts")]
    with pytest.raises(SettingsError, match="label 'bullish'"):
        labelled(rows.with_columns(label=pl.lit("bullish")))
    with pytest.raises(SettingsError, match="need a column 'label'"):
        labelled(rows.drop("label"))


def test_no_text_is_trained_on_and_tested() -> None:
    rows = labelled_texts()
    test = rows.head(3).with_columns(pl.col("text").str.to_uppercase() + "!")
    assert len(apart(rows, test)) == len(rows) - 3
    divided = folds(rows)
    assert sum(len(test) for _, test in divided) == len(rows)
    for learned, test in divided:
        assert not set(learned["text"]) & set(test["text"])
        assert len(test) > 5


def test_too_few_texts_teach_nothing() -> None:
    rows = labelled(labelled_texts())
    with pytest.raises(SettingsError, match="19 texts are positive; 20"):
        train(
            "tfidf",
            rows.filter(
                pl.int_range(pl.len()).over("label") < pl.when(pl.col("label") == "positive").then(19).otherwise(99)
            ),
            TRAINED,
        )
    with pytest.raises(SettingsError, match="'vader' is not trained here"):
        train("vader", rows, TRAINED)


def test_quality_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    rng = np.random.default_rng(3)
    scores = rng.dirichlet(np.ones(3), 200)
    labels = [LABELS[place] for place in rng.integers(0, 3, 200)]
    said = [LABELS[place] for place in scores.argmax(axis=1)]
    found = quality(labels, scores)
    assert found.texts == 200
    assert found.accuracy == pytest.approx(accuracy_score(labels, said))
    assert found.macro_f1 == pytest.approx(f1_score(labels, said, average="macro"))
    one = quality(["neutral", "neutral"], np.array([[0.1, 0.8, 0.1], [0.2, 0.5, 0.3]]))
    assert (one.accuracy, one.macro_f1) == (1.0, pytest.approx(1 / 3))


def test_a_scorer_needs_what_it_is_made_of() -> None:
    for kind in ("tfidf", "external"):
        with pytest.raises(ModelFileError, match=r"sentiment\.(path|trained_through)"):
            open_scorer(Origin(kind))

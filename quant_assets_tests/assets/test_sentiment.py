"""Asset `sentiment` in the real graph: news of a file, names of the settings, a scorer that was trained here."""

from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.assets import sentiment as wiring
from quant_assets.errors import ModelFileError, SourceError
from quant_assets.sentiment.daily import looks_ahead
from quant_assets.sentiment.scorers import open_scorer, vader
from quant_assets.sentiment.scorers.base import Origin
from quant_assets_tests.graph import Graph
from quant_assets_tests.sentiment.texts import NAMES, TEXTS, given_news

pytestmark = pytest.mark.slow


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    return given_news(tmp_path)


def computed(storage: Path, given: dict[str, Any], first: str = "2021-12", last: str = "2022-02") -> Graph:
    graph = Graph.at(storage, "files", **given)
    ends = zip(("start", "end"), (first, last), strict=True)
    graph.materialise(
        ["universe", "sentiment"],
        tags={f"dagster/asset_partition_range_{name}": f"{month}|energy" for name, month in ends},
    )
    return graph


def test_news_become_scores_of_sessions(tmp_path: Path, given: dict[str, Any]) -> None:
    graph = computed(tmp_path / "storage", given)
    rows = graph.read("sentiment").sort("ticker", "date")
    scorer = open_scorer(Origin("tfidf", tmp_path / "scorer.npz"))
    found = {item: scores[2] - scores[0] for (item, _, title) in TEXTS for scores in scorer.scores([title])}
    mean = (found["b"] + found["c"]) / 2
    expected = [
        ("A", date(2022, 1, 5), 1, 1, found["d"]),
        ("B", date(2021, 12, 30), 1, 0, None),
        ("B", date(2022, 1, 4), 2, 2, mean),
        ("B", date(2022, 2, 1), 1, 1, found["f"]),
    ]
    assert rows.select("ticker", "date", "stories", "scored").rows() == [each[:4] for each in expected]
    assert rows["sentiment"].to_list() == pytest.approx([each[4] for each in expected], nan_ok=True)
    assert rows["scorer"].unique().to_list() == [f"tfidf-{given['sentiment']['sha256'][:12]}"]
    told = graph.told["sentiment", "2022-01|energy"]
    assert told["stories_with_an_ambiguous_name"] == 1
    assert graph.told["sentiment", "2021-12|energy"]["stories_the_scorer_may_know"] == 1
    assert found["b"] > 0.2 > -0.2 > found["c"]


def test_a_range_gives_what_its_months_give(tmp_path: Path, given: dict[str, Any]) -> None:
    whole = computed(tmp_path / "whole", given)
    single = Graph.at(tmp_path / "single", "files", **given)
    for month in ("2022-02", "2022-01", "2021-12"):
        single.materialise(["universe", "sentiment"], partition_key=f"{month}|energy")
    assert_frame_equal(whole.read("sentiment"), single.read("sentiment"), check_exact=True)
    assert whole.metadata(["2022-01"]) == single.metadata(["2022-01"])


def test_without_a_scorer_stories_are_counted_and_it_is_said(tmp_path: Path, given: dict[str, Any]) -> None:
    graph = computed(tmp_path / "storage", given | {"sentiment": {"names": NAMES}})
    rows = graph.read("sentiment")
    assert (rows["stories"].sum(), rows["sentiment"].null_count(), rows["scorer"].null_count()) == (5, 4, 4)
    assert "no scorer is set" in graph.told["sentiment", "2022-01|energy"]["no_scorer"]


def test_without_news_it_is_there_and_empty_and_says_so(tmp_path: Path) -> None:
    graph = Graph.at(tmp_path, as_of=date(2024, 2, 29), partitions={"start": "2024-01"})
    graph.materialise(["universe", "sentiment"], partition_key="2024-01|energy")
    assert graph.read("sentiment").is_empty()
    told = graph.told["sentiment", "2024-01|energy"]
    assert told["stories_of_all_sectors"] == 0
    assert "no scorer is set" in told["no_scorer"]


def test_another_scorer_than_the_settings_say_reads_nothing(tmp_path: Path, given: dict[str, Any]) -> None:
    (tmp_path / "scorer.npz").write_bytes((tmp_path / "scorer.npz").read_bytes() + b" ")
    with pytest.raises(Exception, match="nothing was loaded") as caught:
        computed(tmp_path / "storage", given)
    assert isinstance(caught.value, ModelFileError) or "ModelFileError" in repr(caught.value.__cause__ or caught.value)


def test_news_that_nobody_can_have_read_are_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    file = tmp_path / "news.parquet"
    early = pl.read_parquet(file).with_columns(published=pl.col("known_at") + pl.duration(hours=1))
    early.write_parquet(file)
    source = Graph.at(tmp_path / "storage", "files", **given).profile.source
    with pytest.raises(SourceError, match=r"item a is known at 2021-12-30 15:00.*, before it was published"):
        source.news([], date(2021, 1, 1), date(2023, 1, 1))
    early.drop("title").write_parquet(file)
    with pytest.raises(SourceError, match="no column 'title'"):
        Graph.at(tmp_path / "storage", "files", **given).profile.source.news([], date(2021, 1, 1), date(2023, 1, 1))


@pytest.mark.parametrize("column", ["item", "known_at", "title"])
def test_a_row_of_news_that_lacks_what_it_needs_is_refused(tmp_path: Path, given: dict[str, Any], column: str) -> None:
    file = tmp_path / "news.parquet"
    rows = pl.read_parquet(file).with_row_index("row")
    rows = rows.with_columns(pl.when(~pl.col("row").is_in([2, 4])).then(column).alias(column)).drop("row")
    rows.write_parquet(file)
    source = Graph.at(tmp_path / "storage", "files", **given).profile.source
    named = "title Beta sales collapse again" if column == "item" else "item c"
    with pytest.raises(SourceError, match=rf"news\.parquet: {named} has no {column}, and 1 more of 6 rows lack"):
        source.news([], date(2021, 1, 1), date(2023, 1, 1))


def test_a_scorer_that_was_trained_later_is_caught(
    tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the day through which the scorer knows is forgotten, and the row says an earlier one."""
    real = wiring.daily

    def unaware(*args: Any) -> Any:
        return real(*args[:-1], date(2000, 1, 1))

    def checked(storage: Path) -> dict[str, bool]:
        graph = Graph.at(storage, "files", **given)
        job = graph.defs.resolve_implicit_global_asset_job_def().get_subset(
            asset_selection={dg.AssetKey(name) for name in ("universe", "sentiment")}
        )
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(instance=instance, partition_key="2021-12|energy", raise_on_error=False)
        found = {each.check_name: each for each in result.get_asset_check_evaluations()}
        assert "sessions_that_look_ahead" in found["scored_after_training"].metadata
        return {name: each.passed for name, each in found.items()}

    assert checked(tmp_path / "clean")["scored_after_training"]
    monkeypatch.setattr(wiring, "daily", unaware)
    assert not checked(tmp_path / "leak")["scored_after_training"]


def test_what_looks_ahead_is_told_by_its_day() -> None:
    rows = pl.DataFrame(
        {
            "ticker": ["A", "B", "C", "D"],
            "date": [date(2021, 12, 30), date(2021, 12, 31), date(2022, 1, 3), date(2021, 12, 29)],
            "scored": [0, 1, 1, 0],
            "sentiment": [None, 0.1, 0.2, None],
            "dispersion": [None, 0.0, 0.0, 0.0],
        }
    )
    assert looks_ahead(rows, date(2021, 12, 31))["ticker"].to_list() == ["D", "B"]
    assert looks_ahead(rows, None)["ticker"].to_list() == ["D", "B", "C"]


def test_a_scorers_libraries_and_its_package_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vaderSentiment")

    def recorded() -> tuple[dict[str, str], str]:
        graph = Graph.at(tmp_path, as_of=date(2024, 2, 29), sentiment={"scorer": "vader"})
        recorder = (graph.defs.resources or {})["parquet"].recorder
        made = recorder.now("sentiment", {})("2024-01|energy")
        return recorder.meaning("libraries", made.libraries), made.code

    used, code = recorded()
    assert used["vaderSentiment"] == version("vaderSentiment")
    assert recorded()[1] == code
    monkeypatch.setattr(vader, "installed", lambda: "0" * 64)
    assert recorded()[1] != code, "another lexicon"

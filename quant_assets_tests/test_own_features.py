"""The tutorial's own features, through the real graph: columns, checks, web UI, windows, models, and what happens when
they go."""

import shutil
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from quant_assets.errors import DatasetError, SettingsError
from quant_assets.learning.forecast import load_models
from quant_assets.partitions import month_range, months_covering
from quant_assets.settings.loading import load_settings
from quant_assets_tests.graph import PROJECT, Graph
from quant_assets_tests.pages import blocks

pytestmark = pytest.mark.slow

SECTOR, TRAINED, AFTER, AS_OF = "cons_staples", "2023-12", "2024-01", date(2024, 3, 28)
START = {"start": "2022-12"}
OWN = ("range_20", "jump_60")


def page_example() -> str:
    page = PROJECT / "docs" / "tutorials" / "own-feature.md"
    (example,) = [each.text for each in blocks(page) if each.title == "conf/my_features.py"]
    reference = (PROJECT / "docs" / "extending" / "feature.md").read_text(encoding="utf-8")
    assert example in reference, "two pages show the same example"
    assert len(example.splitlines()) <= 14, "a feature of one's own takes fewer than 15 lines"
    return example


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings' folder of its own with a module of features, as the tutorial says."""
    folder = tmp_path / "conf"
    shutil.copytree(PROJECT / "conf", folder)
    (folder / "my_features.py").write_text(page_example(), encoding="utf-8")
    base = yaml.safe_load((folder / "base.yaml").read_text(encoding="utf-8"))
    (folder / "base.yaml").write_text(
        yaml.safe_dump(base | {"features": {"modules": ["my_features"]}}), encoding="utf-8"
    )
    monkeypatch.setenv("QUANT_CONF_DIR", str(folder))
    return folder


def rebuilt(graph: Graph, names: list[str], first: str, last: str) -> set[tuple[str, str]]:
    """Run assets with their warm-up; which months of which assets were computed."""
    done = set()
    for phase in graph.planner.plan(names, [SECTOR], first, last).phases:
        graph.materialise(phase.assets, tags=phase.range_tags)
        done |= {(name, month) for name in phase.assets for month in month_range(phase.first, phase.last)}
    return done


def test_own_features_appear_everywhere_and_go_cleanly(conf: Path, tmp_path: Path) -> None:
    graph = Graph.at(tmp_path / "storage", as_of=AS_OF, partitions=START)
    assert graph.profile.features.names[-2:] == OWN
    columns = {
        each.name: each
        for each in graph.defs.resolve_asset_graph()
        .get(dg.AssetKey("features"))
        .metadata["dagster/column_schema"]
        .columns
    }
    assert columns["range_20"].description == "mean range [1]"

    rebuilt(graph, ["features", "lightgbm_checkpoint"], TRAINED, TRAINED)
    rebuilt(graph, ["predictions"], AFTER, AFTER)
    found = graph.read("features").filter(pl.col("month") == AFTER)
    marked = graph.read("prices").filter("unexplained")["ticker"].unique()
    assert len(marked) <= 3, "the demo's dirty tickers"
    assert found.filter(~pl.col("ticker").is_in(marked.implode())).select(OWN).null_count().row(0) == (0, 0)
    prices = (
        graph.read("prices")
        .filter(pl.col("ticker") == found["ticker"][0], pl.col("date") <= found["date"][0])
        .sort("date")
        .tail(20)
    )
    assert found["range_20"][0] == pytest.approx((prices["high"] / prices["low"] - 1.0).mean(), rel=1e-12)

    checkpoint = graph.read("lightgbm_checkpoint").filter(pl.col("status") == "trained").row(0, named=True)
    learner, read = graph.profile.models.learners["lightgbm"], graph.profile.store.read_artifact
    (places := tmp_path / "places").mkdir()
    (model,) = load_models([checkpoint], learner, graph.profile.features.names, read, places).values()
    assert model.fitted.features[-2:] == OWN
    assert len(graph.read("predictions"))

    (conf / "base.yaml").write_text(
        (PROJECT / "conf" / "base.yaml").read_text(encoding="utf-8") + "\n", encoding="utf-8"
    )
    without = Graph(
        graph.settings.model_copy(update={"features": graph.settings.features.model_copy(update={"modules": ()})})
    )
    (tmp_path / "again").mkdir()
    with pytest.raises(
        DatasetError, match=r"trained on \d+ \(range_20, jump_60\), the features are \d+ \(none of its own\)"
    ):
        load_models([checkpoint], learner, without.profile.features.names, read, tmp_path / "again")
    with pytest.raises(DatasetError, match="was written with another schema than 'features' has now"):
        without.read("features")
    planned = {
        (name, phase.first)
        for phase in without.planner.plan(["lightgbm_checkpoint"], [SECTOR], TRAINED, TRAINED).phases
        for name in phase.assets
    }
    first = min(month for name, month in planned if name == "features")
    assert first == "2023-03", "features of the whole training window are computed again"
    assert {name for name, _ in planned} == {"features", "lightgbm_checkpoint"}, "and nothing else is"


def test_a_longer_lookback_reaches_the_mapping(conf: Path, tmp_path: Path) -> None:
    module = conf / "my_features.py"
    module.write_text(page_example().replace('("high", "low"), 19', '("high", "low"), 1_500'), encoding="utf-8")
    graph = Graph.at(tmp_path, as_of=AS_OF, partitions=START)
    reads = graph.planner._flow.windows["features"]["prices"]
    assert reads == (-months_covering(1_500), 0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("w.mean(", "w.delayed(", "depends on sessions more than 19"),
        ('w.mean(x["high"] / x["low"] - 1.0, 20)', 'x["high"] - x["high"].max()', "depends on"),
        ('w.mean(x["high"]', 'w.mean(x["open"]', "feature 'range_20' cannot be computed .KeyError: 'open'."),
    ],
)
def test_a_feature_that_needs_more_than_it_declares_ends_the_run(
    conf: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in page_example()
    (conf / "my_features.py").write_text(page_example().replace(old, new), encoding="utf-8")
    with pytest.raises(
        SettingsError,
        match=f"features of my_features: feature 'range_20' .*{message}|features of my_features: {message}",
    ):
        Graph.at(tmp_path, as_of=AS_OF, partitions=START).profile.features.audit_own()


def test_settings_of_the_environment_name_modules_too(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT__FEATURES__MODULES", '["nosuch"]')
    assert load_settings("demo").features.modules == ("nosuch",)

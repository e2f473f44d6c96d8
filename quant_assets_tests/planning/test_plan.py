"""Plans against Dagster's own resolution of the mappings: what is read is planned, in order, and nothing else."""

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.assets.trading import BOOK
from quant_assets.errors import SettingsError
from quant_assets.partitions import key, month_range
from quant_assets.planning.plan import Phase, joined, total_outputs
from quant_assets.settings.sectors import SECTORS
from quant_assets_tests.graph import Graph

START, AS_OF, LATEST = "2021-03", date(2024, 6, 12), "2024-06"
BARS = {"ohlcv", "quarantine", "price_events", "price_disagreements", "price_peaks", "absences", "delistings"}
#: What these read of earlier months is used as far as it exists; of these inputs (all, where none is named) they need
#: the run's own only.
SHOWS_HISTORY: dict[str, set[str]] = {
    "ops_report": set(),
    "factor_statistics": {"indicators", "predictions"},
    "factor_tear_sheet": set(),
    "track_record": {"track_record"},
    "portfolio_track_record": {"portfolio_track_record"},
    "sleeve_allocation": {"sleeve_allocation"},
    "risk": {"var_forecasts"},
    "risk_breakdown": {"episode_returns"},
    "portfolio_risk": {"portfolio_var_forecasts"},
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The assets over an empty store."""
    return Graph.at(tmp_path_factory.mktemp("empty"), as_of=AS_OF, partitions={"start": START})


@pytest.fixture
def filled(tmp_path: Path) -> Graph:
    """Every partition of one sector and of the month grain, without rows."""
    found = Graph.at(tmp_path, as_of=AS_OF, partitions={"start": "2023-06"})
    for name in found.datasets:
        write(found, name, month_range("2023-06", LATEST))
    return found


def write(graph: Graph, name: str, months: Iterable[str], known: date | None = None) -> None:
    """Empty partitions of a dataset, as if written when `known` was the last closed session; by default now."""
    dataset, profile = graph.datasets[name], graph.profile
    matures = graph.defs.resolve_asset_graph().get(dg.AssetKey(name)).metadata["matures_months"]
    keys = {key("it" if dataset.grain.by_sector else None, month): month for month in months}
    for each in profile.store.existing(dataset) & keys.keys():
        Path(profile.store.path(dataset, each)).unlink()
    profile.store.write(
        dataset,
        dataset.empty(),
        keys,
        lambda each: min(profile.known_through(keys[each], matures), known or profile.last_session()),
    )


def ranges(phases: Sequence[Phase]) -> dict[str, tuple[str, str]]:
    """Months planned for each asset, each once."""
    names = [name for phase in phases for name in phase.assets]
    assert len(names) == len(set(names))
    return {name: (phase.first, phase.last) for phase in phases for name in phase.assets}


def months_read(graph: Graph, name: str, first: str, last: str) -> dict[str, set[str]]:
    """Months of every asset of the same grain behind the months of one asset, by Dagster's mappings alone."""
    assets = graph.defs.resolve_asset_graph()
    found = {name: set(month_range(first, last))}
    for each in reversed(assets.toposorted_asset_keys):
        downstream = each.path[-1]
        if downstream not in found:
            continue
        dataset, definition = graph.datasets[downstream], assets.get(each).partitions_def
        # A hole is filled: a run is one range of months.
        wanted = month_range(min(found[downstream]), max(found[downstream])) if found[downstream] else []
        subset = definition.subset_with_partition_keys(
            [key("it" if dataset.grain.by_sector else None, month) for month in wanted]
        )
        for parent in assets.get(each).parent_keys:
            upstream = parent.path[-1]
            if graph.datasets[upstream].grain != dataset.grain:
                continue
            mapping = assets.get_partition_mapping(each, parent)
            result = mapping.get_upstream_mapped_partitions_result_for_partitions(
                subset, definition, assets.get(parent).partitions_def
            )
            months = {each_key.partition("|")[0] for each_key in result.partitions_subset.get_partition_keys()}
            optional = downstream in SHOWS_HISTORY and upstream in (SHOWS_HISTORY[downstream] or {upstream})
            found.setdefault(upstream, set()).update(months & set(wanted) if optional else months)
    return {each: months for each, months in found.items() if months}


@pytest.mark.parametrize(
    ("first", "last"),
    [("2024-01", "2024-02"), (START, "2021-04"), (LATEST, LATEST)],
    ids=["middle", "first", "running"],
)
def test_every_asset_gets_the_months_that_it_reads_and_no_others(graph: Graph, first: str, last: str) -> None:
    for name, dataset in graph.datasets.items():
        plan = graph.planner.plan([name], ["it"], first, last).phases
        expected = months_read(graph, name, first, last)
        for step in (BARS, set(BOOK)):
            if step & set(expected):
                together = set().union(*(expected.get(each, set()) for each in step))
                expected |= dict.fromkeys(step, together)  # one step writes all of them
        assert ranges(plan) == {each: (min(months), max(months)) for each, months in expected.items()}, name
        assert {phase.sectors for phase in plan} == {("it",) if dataset.grain.by_sector else ()}


def test_windows_end_where_the_profile_does(graph: Graph) -> None:
    planned = ranges(graph.planner.plan(["labels", "predictions"], ["it"], START, START).phases)
    assert planned["labels"] == (START, START)
    assert planned["prices"] == (START, "2021-07"), "labels look four months ahead"
    assert "lightgbm_checkpoint" not in planned, "there is no month before the first"
    planned = ranges(graph.planner.plan(["labels"], ["it"], LATEST, LATEST).phases)
    assert planned["prices"] == (LATEST, LATEST), "the months to come do not exist"


def test_a_month_without_a_closed_session_is_not_planned(tmp_path: Path) -> None:
    weekend = Graph.at(tmp_path, as_of=date(2024, 6, 2), partitions={"start": START})
    assert ranges(weekend.planner.plan(["labels"], ["it"], "2024-05", "2024-05").phases)["prices"] == (
        "2024-05",
        "2024-05",
    )


def test_whatever_is_read_comes_first(graph: Graph) -> None:
    assets = graph.defs.resolve_asset_graph()
    parents = {
        each: {up.path[-1] for up in assets.get(dg.AssetKey(each)).parent_keys} - {each}  # its own month before
        for each in graph.datasets
    }
    order = graph.planner.order
    assert sorted(order) == sorted(graph.datasets)
    assert all(order.index(up) < order.index(name) for name, ups in parents.items() for up in ups)
    for phases in (
        graph.planner.plan(order, ["it"], "2024-01", "2024-03").phases,
        graph.planner.plan(order, (), "2024-01", "2024-03").phases,
    ):
        assert len(phases) > 1
        done: set[str] = set()
        for phase in phases:
            for name in phase.assets:
                assert parents[name] & set(ranges(phases)) <= done | set(phase.assets[: phase.assets.index(name)]), name
            done |= set(phase.assets)
    assert {
        name
        for name, span in ranges(graph.planner.plan(order, ["it"], "2024-01", "2024-03").phases).items()
        if span[1] >= "2024-03"
    } == set(order)


def test_month_grain_assets_have_phases_of_their_own(graph: Graph) -> None:
    own = graph.planner.plan(["macro", "portfolio_weights"], ["it"], "2024-01", "2024-02").phases
    assert own == graph.planner.plan(["macro", "portfolio_weights"], (), "2024-01", "2024-02").phases
    assert {phase.sectors for phase in own} == {()}
    assert graph.planner.plan(["prices"], (), "2024-01", "2024-02").phases == []
    assert graph.planner.plan(["prices", "portfolio_backtest"], (), "2024-01", "2024-02").phases == [
        Phase(("portfolio_weights",), "2023-10", "2024-02"),
        Phase(("portfolio_backtest",), "2024-01", "2024-02"),
    ]


def test_a_sectors_warm_up_holds_what_the_total_portfolio_reads_before_the_first_month(graph: Graph) -> None:
    """The portfolio's backtest starts with what was held three months earlier, so each sector decides then too."""
    names = ["weights", "regime_state", "portfolio_backtest"]
    plan = ranges(graph.planner.plan(names, ["it"], "2024-01", "2024-02").phases)
    assert plan["weights"] == plan["regime_state"] == ("2023-10", "2024-02")
    assert ranges(graph.planner.plan(names, (), "2024-01", "2024-02").phases)["portfolio_weights"] == (
        "2023-10",
        "2024-02",
    )
    alone = ranges(graph.planner.plan(names[:2], ["it"], "2024-01", "2024-02").phases)
    assert alone["weights"] == alone["regime_state"] == ("2024-01", "2024-02")
    alone = graph.planner.plan(["portfolio_backtest"], ["it"], "2024-01", "2024-02")
    assert {phase.sectors for phase in alone.phases} == {()}, "it reads the sectors that are there"


def test_a_phase_says_its_range_and_what_it_writes() -> None:
    phase = Phase(("universe", "delistings"), "2024-01", "2024-03", ("it",))
    assert phase.range_tags == {
        "dagster/asset_partition_range_start": "2024-01|it",
        "dagster/asset_partition_range_end": "2024-03|it",
    }
    monthly = Phase(("macro",), "2024-01", "2024-02")
    assert monthly.range_tags == {
        "dagster/asset_partition_range_start": "2024-01",
        "dagster/asset_partition_range_end": "2024-02",
    }
    assert phase.outputs == 6
    assert total_outputs([phase, monthly]) == 8


def test_a_finished_warm_up_is_not_computed_again_and_what_is_asked_is(filled: Graph) -> None:
    plan = filled.planner.plan(filled.planner.order, ["it"], "2024-03", "2024-04").phases
    assert set(ranges(plan).values()) == {("2024-03", "2024-04")}
    assert ranges(filled.planner.plan(["weights"], ["it"], "2024-04", "2024-04").phases) == {
        "weights": ("2024-04", "2024-04")
    }
    assert ranges(filled.planner.plan(["portfolio_backtest"], (), "2024-04", "2024-04").phases) == {
        "portfolio_backtest": ("2024-04", "2024-04")
    }


def test_a_warm_up_is_computed_from_its_first_missing_month(filled: Graph) -> None:
    for month in ("2024-01", "2024-02"):
        Path(filled.profile.store.path(filled.datasets["prices"], key("it", month))).unlink()
    Path(filled.profile.store.path(filled.datasets["price_peaks"], key("it", "2024-03"))).unlink()
    plan = ranges(filled.planner.plan(["features"], ["it"], "2024-04", "2024-04").phases)
    assert plan == {"prices": ("2024-01", "2024-02"), "features": ("2024-04", "2024-04")} | dict.fromkeys(
        BARS, ("2024-03", "2024-03")
    )
    assert (
        ranges(filled.planner.plan(["features"], ["energy"], "2024-04", "2024-04").phases)["prices"][0] < "2024-01"
    ), "another sector"


@pytest.mark.slow
def test_a_month_that_was_written_before_it_was_over_is_computed_again(filled: Graph) -> None:
    """Else the windows of June would miss the second half of May."""
    asked = (["indicators"], ["it"], LATEST, LATEST)
    assert ranges(filled.planner.plan(*asked).phases) == {"indicators": (LATEST, LATEST)}
    for name in ("prices", "universe", *BARS):
        write(filled, name, ["2024-05"], known=date(2024, 5, 15))
    again = dict.fromkeys(("prices", *BARS), ("2024-05", "2024-05"))  # nothing that June reads is in May's universe
    assert ranges(filled.planner.plan(*asked).phases) == again | {"indicators": (LATEST, LATEST)}


@pytest.mark.slow
def test_a_month_that_was_written_with_other_columns_is_computed_again(filled: Graph) -> None:
    """As after a feature has been added: models of the months before would not fit the new ones."""
    path = Path(filled.profile.store.path(filled.datasets["features"], key("it", "2024-02")))
    pl.read_parquet(path).with_columns(added=pl.lit(1.0)).write_parquet(path)
    found = filled.planner.plan(["lightgbm_checkpoint"], ["it"], "2024-04", "2024-04")
    plan = ranges(found.phases)
    assert plan == {"features": ("2024-02", "2024-02"), "lightgbm_checkpoint": ("2024-04", "2024-04")}
    assert "computed again: features (it) 2024-02, 1 partition: written with other columns" in found.notes


@pytest.mark.slow
def test_what_knows_more_than_a_pinned_day_is_computed_again(filled: Graph) -> None:
    earlier = Graph(filled.settings.model_copy(update={"as_of": date(2024, 4, 10)}))
    plan = ranges(earlier.planner.plan(["weights"], ["it"], "2024-04", "2024-04").phases)
    assert plan["prices"] == ("2024-04", "2024-04"), "it holds the second half of April"


@pytest.mark.slow
def test_labels_are_computed_again_until_they_have_matured(filled: Graph) -> None:
    assert ranges(filled.planner.plan(["lightgbm_checkpoint"], ["it"], "2024-04", "2024-04").phases) == {
        "lightgbm_checkpoint": ("2024-04", "2024-04")
    }
    write(filled, "labels", month_range("2023-06", "2024-04"), known=date(2024, 4, 30))
    plan = ranges(filled.planner.plan(["lightgbm_checkpoint"], ["it"], "2024-04", "2024-04").phases)
    assert plan["labels"] == ("2024-01", "2024-04"), "those of December look ahead to April and are complete"


@pytest.mark.slow
def test_shown_history_is_not_made_but_mended(filled: Graph) -> None:
    for name in ("backtest", "weights"):
        Path(filled.profile.store.path(filled.datasets[name], key("it", "2024-02"))).unlink()
    assert ranges(filled.planner.plan(["ops_report"], ["it"], "2024-04", "2024-04").phases) == {
        "ops_report": ("2024-04", "2024-04")
    }
    write(filled, "regime_state", ["2024-03"], known=date(2024, 3, 8))
    assert ranges(filled.planner.plan(["ops_report"], ["it"], "2024-04", "2024-04").phases) == {
        "regime_state": ("2024-03", "2024-03"),
        "ops_report": ("2024-04", "2024-04"),
    }


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        ("prices", ["prices"]),
        ("prices,macro", ["macro", "prices"]),
        ("group:signals", ["candidates", "features", "indicators", "labels"]),
        ("group:signals and not key:labels", ["candidates", "features", "indicators"]),
        ("candidates+", ["candidates", "ops_report", "sector_scorecard", "weights"]),
    ],
)
def test_a_selection_is_dagsters(
    graph: Graph, selection: str, names: list[str], recwarn: pytest.WarningsRecorder
) -> None:
    found = graph.planner.select(selection, graph.defs)
    assert sorted(found) == names
    assert found == [name for name in graph.planner.order if name in names]
    assert not recwarn.list
    assert graph.planner.select(None, graph.defs) == list(graph.planner.order)


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        ("prices..prices", ["prices"]),
        ("indicators..labels", ["indicators", "candidates", "features", "market_features", "market_breadth", "labels"]),
        ("candidates .. features,universe", ["universe", "candidates", "features"]),
        ("fundamentals..indicators,key:weights", ["fundamentals", "sentiment", "macro", "indicators", "weights"]),
    ],
)
def test_two_assets_stand_for_what_lies_between_them(graph: Graph, selection: str, names: list[str]) -> None:
    assert graph.planner.select(selection, graph.defs) == names


def test_from_bars_to_labels_is_the_whole_path_from_prices_to_model_inputs(graph: Graph) -> None:
    found = graph.planner.select("ohlcv..labels", graph.defs)
    assert set(found) >= {"ohlcv", "prices", "fundamentals", "macro", "indicators", "candidates", "features", "labels"}
    assert not {"universe", "lightgbm_checkpoint", "predictions"} & set(found)
    planned = ranges(graph.planner.plan(found, ["it"], "2024-01", "2024-01").phases)
    assert {"universe", *BARS} <= set(planned), "what it reads is added"


@pytest.mark.parametrize(
    ("selection", "says"),
    [
        ("labels..ohlcv", r"selection 'labels..ohlcv': labels comes after ohlcv; write 'ohlcv..labels'"),
        ("ohlcv..label", r"there is no asset 'label'; did you mean labels\?; write"),
        ("ohlcv..nosuch", r"there is no asset 'nosuch'; write 'ohlcv..labels'; assets in order are universe, ohlcv, "),
        ("prices,..labels", r"selection '..labels': there is no asset ''"),
        ("ohlcv..prices..labels", r"it needs two assets"),
    ],
)
def test_a_stretch_without_its_ends_says_how_to_write_one(graph: Graph, selection: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        graph.planner.select(selection, graph.defs)


def test_neighbouring_sectors_with_few_months_become_one_run(graph: Graph) -> None:
    def chains(*sectors: str, last: str) -> list[list[Phase]]:
        return joined(graph.planner.plan(["universe", "ohlcv"], sectors, "2024-01", last).stages[0])

    (chain,) = chains(*SECTORS, last="2024-01")
    assert [phase.sectors for phase in chain] == [tuple(SECTORS)]
    assert chain[0].range_tags["dagster/asset_partition_range_end"] == "2024-01|re"
    assert chain[0].outputs == len({"universe", *BARS}) * 11
    assert [phase.sectors for phase in chain[0].alone()] == [(sector,) for sector in SECTORS]
    assert [chain[0].sectors for chain in chains(*SECTORS, last="2024-06")] == [
        tuple(list(SECTORS)[:6]),
        tuple(list(SECTORS)[6:]),
    ], "36 partitions at most"
    apart = chains("energy", "industrials", "cons_discretionary", last="2024-01")
    assert [chain[0].sectors for chain in apart] == [("energy",), ("industrials", "cons_discretionary")], (
        "a run is a rectangle"
    )


def test_sectors_that_lack_other_months_are_not_joined(filled: Graph) -> None:
    (chains,) = filled.planner.plan(["indicators"], ["it", "telecoms"], "2024-04", "2024-04").stages
    assert [[phase.sectors for phase in chain] for chain in joined(chains)] == [
        [("it",)],
        [("telecoms",)] * len(chains[1]),
    ]
    assert joined([[], chains[0], []]) == [chains[0]]


@pytest.mark.parametrize("selection", ["nosuch", "prices,nosuch", "group:nosuch", "group:((", "", ",", "column:x"])
def test_a_selection_of_nothing_says_how_to_write_one(
    graph: Graph, selection: str, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(SettingsError) as caught:
        graph.planner.select(selection, graph.defs)
    message = str(caught.value)
    assert message.startswith(
        f"selection '{selection}' is not valid or selects nothing; write 'ohlcv,prices', 'ohlcv..labels'"
    )
    assert "lightgbm_checkpoint" in message
    assert "\n" not in message
    assert not recwarn.list

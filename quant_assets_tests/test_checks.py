"""Every generated check passes on good rows and fails, alone, on rows that break what it guards."""

from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.check_results import alone_or_all, by_partition, check_results
from quant_assets.checks import CONTRACT, breaches, broken_references, contract_checks, described, sessions_explained
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets_tests.graph import demo_datasets

DATASETS = demo_datasets()
LAST = date(2024, 6, 28)


def labels(**changes: object) -> pl.DataFrame:
    row = {
        "sector": "it",
        "month": "2024-05",
        "ticker": "AAA",
        "date": date(2024, 5, 1),
        "horizon": 5,
        "forward_return": 0.01,
        "entry_date": date(2024, 5, 2),
        "exit_date": date(2024, 5, 9),
        "known_at": date(2024, 5, 9),
        "delisted": False,
        "unexplained": False,
    } | changes
    return pl.DataFrame([row], schema=DATASETS["labels"].loaded_schema)


def failing(frame: pl.DataFrame, dataset: str = "labels") -> set[str]:
    return {name for name, found in breaches(DATASETS[dataset], frame, LAST).items() if found}


def test_good_rows_pass_every_check() -> None:
    assert failing(labels()) == set()
    for dataset in DATASETS.values():
        frame = pl.DataFrame(schema=dataset.loaded_schema)
        assert breaches(dataset, frame, LAST) == {name: [] for name in CONTRACT}


def test_each_breach_is_caught_by_the_check_that_names_it() -> None:
    assert failing(pl.concat([labels(), labels()])) == {"keys"}
    assert failing(pl.concat([labels(), labels(sector="re")])) == set(), "the same ticker may be in two sectors' panels"
    assert failing(labels(forward_return=None)) == {"nulls"}
    assert failing(labels(forward_return=-1.5)) == {"ranges"}
    assert failing(labels(forward_return=float("nan"))) == {"ranges"}
    assert failing(labels(forward_return=float("inf"))) == {"ranges"}
    assert failing(labels(horizon=0)) == {"ranges"}
    assert failing(labels(known_at=date(2024, 7, 1))) == {"known"}
    assert failing(labels(known_at=date(2024, 4, 30))) == {"known"}
    assert failing(labels().cast({"horizon": pl.Int64})) == {"dtypes"}
    assert failing(labels().drop("delisted")) == {"dtypes"}


def test_bounds_and_legal_values() -> None:
    row = {
        "sector": "it",
        "month": "2024-06",
        "as_of": LAST,
        "regime": "risk_on",
        "volatility": 0.2,
        "drawdown": 0.1,
        "reason": "calm",
        "state": "normal",
        "detection": "rules",
        "rule_state": "normal",
        "rule_reason": "neither calm nor wild",
    }

    def regime(**changes: object) -> pl.DataFrame:
        return pl.DataFrame([row | changes], schema=DATASETS["regime_state"].loaded_schema)

    assert failing(regime(), "regime_state") == set()
    assert failing(regime(regime="panic"), "regime_state") == {"ranges"}
    assert failing(regime(drawdown=1.01), "regime_state") == {"ranges"}
    assert failing(regime(volatility=None), "regime_state") == set(), "nullable"
    assert failing(regime(markov_risk_off=1.01), "regime_state") == {"ranges"}
    assert failing(regime(rule_state="calm"), "regime_state") == {"ranges"}


def test_a_breach_names_column_count_and_first_row() -> None:
    (message,) = breaches(DATASETS["labels"], labels(forward_return=-1.5), LAST)["ranges"]
    assert message.startswith("forward_return below -1: 1 row, first")
    assert "AAA" in message
    assert "2024" in message


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_the_registry_is_consistent(dataset: object) -> None:
    from quant_assets.schemas import Dataset

    assert isinstance(dataset, Dataset)
    assert set(dataset.key) <= set(dataset.columns)
    assert dataset.columns[dataset.dated_by].dtype == pl.Date
    assert dataset.columns[dataset.known_at].dtype == pl.Date
    assert not dataset.columns[dataset.dated_by].nullable
    assert all(column.meaning for column in dataset.columns.values())
    assert not any(dataset.columns[name].nullable for name in dataset.key)


def candidates(**columns: list[object]) -> pl.DataFrame:
    rows = {"sector": ["it"] * 2, "month": ["2024-06"] * 2, "ticker": ["A", "B"], "as_of": [LAST] * 2} | {
        "candidate_type": ["long", "short"],
        "selection_rank": [1, 1],
        "composite_score": [1.0, -1.0],
        "momentum_score": [1.0, -1.0],
        "ma_slope_score": [0.0, 0.0],
        "volatility_score": [0.0, 0.0],
        "universe_count": [2, 2],
        "eligible_count": [2, 2],
    }
    return pl.DataFrame(rows | columns, schema=DATASETS["candidates"].loaded_schema)


def test_what_is_declared_unique_besides_the_key_is_checked_with_it() -> None:
    assert failing(candidates(), "candidates") == set()
    both = candidates(candidate_type=["long", "long"])
    assert breaches(DATASETS["candidates"], both, LAST)["keys"] == [
        "as_of candidate_type selection_rank repeats: 2 rows, first {'sector': 'it', 'ticker': 'A', "
        "'as_of': datetime.date(2024, 6, 28), 'candidate_type': 'long', 'selection_rank': 1}"
    ]
    apart = pl.concat([candidates(), candidates(sector=["re", "re"])])
    assert failing(apart, "candidates") == set(), "a rank of each sector"


def test_a_reference_is_looked_up_in_the_same_partition() -> None:
    dataset = DATASETS["candidates"]
    there = {"sector": "it", "month": "2024-06", "ticker": "A", "date": LAST}
    others = [there, there | {"ticker": "B"}]

    def broken(frame: pl.DataFrame, members: list[dict[str, object]]) -> list[str]:
        found = {
            name: pl.DataFrame(rows, schema_overrides={"date": pl.Date}).lazy()
            for name, rows in (("universe", members), ("indicators", others))
        }
        return broken_references(dataset, frame, found.__getitem__)

    assert described(dataset)["references"].startswith(
        "ticker, as_of is among ticker, date of the same partition of universe; "
    )
    assert "references" not in described(DATASETS["universe"])
    assert broken(candidates(), others) == []
    assert broken(candidates().clear(), others) == []
    for elsewhere in ({"month": "2024-05"}, {"sector": "re"}, {"date": date(2024, 6, 27)}):
        assert broken(candidates(), [there, there | {"ticker": "B"} | elsewhere]) == [
            "ticker as_of not in universe: 1 row, first "
            "{'sector': 'it', 'ticker': 'B', 'as_of': datetime.date(2024, 6, 28)}"
        ]
    assert broken(candidates(ticker=["A", None]), [there]) == [], "what is missing refers to nothing"


@pytest.mark.parametrize("block", [2**20, 1], ids=["at once", "by the month"])
def test_a_row_that_refers_to_nothing_blocks_and_its_month_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr("quant_assets.io.blocks.BLOCK_BYTES", block)
    profile = Profile(load_settings("demo", storage=str(tmp_path), as_of=LAST))
    dataset, keys = DATASETS["data_quality"], ["2024-05|it", "2024-06|it"]
    given = dict.fromkeys(dataset.columns, 0) | {"sector": "it", "tickers": 1, "bars": 1, "member_sessions": 1}
    rows = [given | {"as_of": as_of} for as_of in (date(2024, 5, 31), date(2024, 6, 27))]
    members = [
        {"sector": "it", "ticker": "A", "date": day, "sector_assumed": False} for day in (date(2024, 5, 31), LAST)
    ]
    universe = DATASETS["universe"]
    profile.store.write(universe, pl.DataFrame(members, schema=universe.empty().schema), keys)
    (checks,) = contract_checks(profile, ["data_quality"])

    @dg.asset(
        name="data_quality", partitions_def=profile.months.by_sector, backfill_policy=dg.BackfillPolicy.single_run()
    )
    def data_quality() -> None:
        profile.store.write(dataset, pl.DataFrame(rows, schema=dataset.empty().schema), keys)

    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[1]}
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = dg.materialize([data_quality, checks], tags=tags, run_config=quiet, raise_on_error=False)
    told = result.get_asset_check_evaluations()
    failed = [each for each in told if not each.passed]
    assert not result.success
    assert {each.check_name for each in failed} == {"references"}
    # The partition is an error; the asset, whose last evaluation paints it, is not: May holds.
    assert [(each.partition, each.severity, each.blocking) for each in failed] == [
        ("2024-06|it", dg.AssetCheckSeverity.ERROR, True),
        (None, dg.AssetCheckSeverity.WARN, True),
    ]
    for each in failed:
        assert str(each.description).startswith("2024-06|it: as_of not in universe: 1 row, first {'sector': 'it'")
    assert {each.metadata["rows"].value for each in told if each.partition is None} == {2}
    assert profile.store.missing(dataset, keys) == ["2024-06|it"]


def test_an_asset_of_which_no_partition_holds_is_an_error_and_so_are_partitions_that_break_a_rule_together() -> None:
    spec = dg.AssetCheckSpec("keys", asset="labels", blocking=True)
    *apart, whole = check_results(spec, {"2024-05|it": ["a"], "2024-06|it": ["a", "b"]}, others=False)
    assert [(each.partition, each.description) for each in apart if isinstance(each, dg.AssetCheckEvaluation)] == [
        ("2024-05|it", "2024-05|it: a"),
        ("2024-06|it", "2024-06|it: a; b"),
    ]
    assert (whole.passed, whole.severity) == (False, dg.AssetCheckSeverity.ERROR)
    (held,) = check_results(spec, {}, others=True)
    assert (held.passed, held.description) == (True, None)
    frame = pl.DataFrame({"sector": "it", "month": ["2024-05", "2024-06"], "value": [1, 1]})

    def found_in(rows: pl.DataFrame) -> dict[str, list[str]]:
        return {"keys": ["repeats"] if rows["value"].is_duplicated().any() else [], "nulls": []}

    keys = ["2024-05|it", "2024-06|it"]
    assert by_partition(frame, keys, {"keys": ["repeats"]}, found_in) == {"keys": {key: ["repeats"] for key in keys}}


def test_months_whose_sessions_are_unexplained_only_together_all_fail() -> None:
    """A later month's spell hides the one of the month before."""
    may, june = date(2024, 5, 31), date(2024, 6, 3)
    place = {"sector": "it", "ticker": "A"}
    universe = pl.DataFrame([{**place, "date": day} for day in (may, june)])
    spells = [
        ("2024-05", date(2024, 5, 10), may, 1),
        ("2024-06", date(2024, 5, 20), date(2024, 5, 24), 0),
        ("2024-06", june, june, 1),
    ]
    given = pl.DataFrame(spells, schema=["month", "first_session", "last_session", "sessions"], orient="row")
    absences = given.with_columns(sector=pl.lit("it"), ticker=pl.lit("A"))

    def wrong(*months: str) -> list[str]:
        members = universe.filter(pl.col("date").dt.strftime("%Y-%m").is_in(months))
        return sessions_explained(members, universe.clear(), absences.filter(pl.col("month").is_in(months)))

    both = wrong("2024-05", "2024-06")
    assert "it A: 1 sessions without bar and reason, first 2024-05-31" in both
    assert alone_or_all(["2024-05", "2024-06"], both, wrong) == {"2024-05": both, "2024-06": both}
    assert alone_or_all(["2024-05", "2024-06"], [], wrong) == {}
    lines = {"2024-05": [], "2024-06": ["x"]}
    assert alone_or_all(["2024-05", "2024-06"], ["x"], lines.__getitem__) == {"2024-06": ["x"]}

"""Tests in the header of a SQL model: what the grammar takes, how it refuses, and that each kind catches what it
names."""

import re
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.assets.sql import SqlModel, load_models
from quant_assets.checks import contract_checks
from quant_assets.declared_tests import DeclaredTest, declared_tests
from quant_assets.errors import SettingsError
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets_tests.graph import demo_datasets

DATASETS = demo_datasets()

PATH, DATASET = Path("models/sector_scorecard.sql"), DATASETS["sector_scorecard"]
READS = {name: DATASETS[name] for name in ("candidates", "indicators")}


def parse(text: str) -> tuple[DeclaredTest, ...]:
    return declared_tests(PATH, text, DATASET, READS)


def test_a_header_declares_tests_and_prose_declares_none() -> None:
    found = parse(
        """-- One line for each sector and month. This is unique prose, and not a test: a relationship.
-- test: not_null(as_of, members)
--test:   unique( sector , as_of )

-- warn: accepted_values(regime: risk_on, 'risk_off')
-- test: relationships(best_long, as_of -> candidates: ticker, as_of)
WITH x AS (SELECT 1) -- a comment in the SQL
SELECT * FROM x
"""
    )
    assert found == (
        DeclaredTest("not_null", ("as_of", "members"), blocking=True),
        DeclaredTest("unique", ("sector", "as_of"), blocking=True),
        DeclaredTest("accepted_values", ("regime",), blocking=False, values=("risk_on", "risk_off")),
        DeclaredTest("relationships", ("best_long", "as_of"), blocking=True, to=("candidates", ("ticker", "as_of"))),
    )
    assert [test.name for test in found] == [
        "not_null_as_of_members",
        "unique_sector_as_of",
        "accepted_values_regime",
        "relationships_best_long_as_of_candidates",
    ]
    assert found[3].description == "best_long, as_of is among ticker, as_of of the same partition of candidates"
    assert parse("SELECT 1") == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "-- test: not_nul(as_of)",
            "'-- test: not_nul\\(as_of\\)' is not a test; write '-- test: …' or '-- warn: …' with one of not_null",
        ),
        ("-- tests: not_null(as_of)", "is not a test; write '-- test: …'"),
        ("-- Test: not_null(as_of)", "is not a test; write '-- test: …'"),
        ("-- tset: not_null(as_of)", "is not a test; write '-- test: …'"),
        ("-- test: not_null as_of", "is not a test"),
        ("-- test: not_null(as_of", "is not a test"),
        ("-- test: not_null()", "write it as not_null\\(column, …\\)"),
        ("-- test: unique(as_of: sector)", "write it as unique\\(column, …\\)|has no column 'as_of: sector'"),
        ("-- test: not_null(asof)", "dataset 'sector_scorecard' has no column 'asof'; it has sector, month, as_of,"),
        ("-- test: accepted_values(regime)", "write it as accepted_values\\(column: value, …\\)"),
        ("-- test: accepted_values(regime:)", "write it as accepted_values"),
        ("-- test: accepted_values(regime, as_of: x)", "write it as accepted_values"),
        ("-- test: relationships(best_long)", "write it as relationships\\(column, … -> dataset: column, …\\)"),
        ("-- test: relationships(best_long -> candidates)", "write it as relationships"),
        ("-- test: relationships(best_long, as_of -> candidates: ticker)", "write it as relationships"),
        (
            "-- test: relationships(best_long -> universe: ticker)",
            "that the model reads \\(candidates, indicators\\), not 'universe'",
        ),
        ("-- test: relationships(best_long -> candidates: name)", "dataset 'candidates' has no column 'name'"),
        ("-- test: relationships(best_long -> candidates: as_of)", "of different types: "),
    ],
)
def test_a_malformed_line_is_named_with_file_and_line(line: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        parse(f"-- What the model says.\n{line}\nSELECT 1\n")
    assert str(caught.value).startswith(f"{PATH}, line 2: ")
    assert "\n" not in str(caught.value)


def test_a_test_below_the_header_or_declared_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"line 2: a test must be in the comment before the first line of SQL"):
        parse("SELECT 1\n-- test: not_null(as_of)\n")
    with pytest.raises(SettingsError, match=r"line 2: 'not_null_as_of' is declared twice"):
        parse("-- test: not_null(as_of)\n-- warn: not_null(as_of)\nSELECT 1\n")


def rows(*regimes: str | None, sector: str = "it", month: str = "2024-06") -> pl.DataFrame:
    made = [
        {"sector": sector, "month": month, "as_of": date(2024, 6, 28), "regime": regime, "best_long": "A"}
        for regime in regimes
    ]
    return pl.DataFrame(made, schema=DATASET.loaded_schema)


def related(name: str) -> pl.LazyFrame:
    assert name == "candidates"
    here = {"sector": "it", "month": "2024-06", "ticker": "A"}
    return pl.DataFrame([here, here | {"ticker": "B", "month": "2024-05"}], schema=DATASETS[name].loaded_schema).lazy()


def breaches(line: str, frame: pl.DataFrame) -> list[str]:
    (test,) = parse(f"-- test: {line}\nSELECT 1")
    return test.breaches(frame, related)


def test_each_kind_passes_and_catches() -> None:
    assert breaches("not_null(as_of, regime)", rows("risk_on")) == []
    assert breaches("not_null(as_of, regime)", rows("risk_on", None)) == [
        (
            "regime is null: 1 row, first {'sector': 'it', 'month': '2024-06', 'as_of': "
            "datetime.date(2024, 6, 28), 'regime': None}"
        )
    ]
    assert breaches("unique(sector, as_of)", pl.concat([rows("risk_on"), rows("risk_on", sector="re")])) == []
    assert breaches("unique(sector, as_of)", rows("risk_on", "risk_off"))[0].startswith(
        "sector, as_of repeats: 2 rows, first {'sector': 'it'"
    )
    assert breaches("unique(as_of)", pl.concat([rows("risk_on"), rows("risk_on", sector="re")])) != [], (
        "over all rows of a run"
    )
    assert breaches("accepted_values(regime: risk_on, risk_off)", rows("risk_on", None)) == []
    assert breaches("accepted_values(regime: risk_on)", rows("risk_on", "risk_off"))[0].startswith(
        "regime is not one of risk_on: 1 row, first"
    )
    assert breaches("relationships(best_long -> candidates: ticker)", rows("risk_on")) == []
    assert (
        breaches(
            "relationships(best_long -> candidates: ticker)",
            rows("risk_on").with_columns(best_long=pl.lit(None, pl.String)),
        )
        == []
    )
    for stranger in ("C", "B"):  # B is there in another month only
        found = breaches(
            "relationships(best_long -> candidates: ticker)", rows("risk_on").with_columns(best_long=pl.lit(stranger))
        )
        assert found == [
            (
                f"best_long is not in candidates: 1 row, first {{'sector': 'it', 'month': '2024-06', "
                f"'best_long': '{stranger}'}}"
            )
        ]


def test_a_breach_blocks_or_warns_as_declared_and_a_refused_month_is_set_aside(tmp_path: Path) -> None:
    profile = Profile(load_settings("demo", storage=str(tmp_path), as_of=date(2024, 6, 28)))
    keys = ["2024-05|it", "2024-06|it"]
    written = pl.DataFrame(
        [
            {"sector": "it", "as_of": as_of, "members": 5, "longs": 1, "shorts": 1, "regime": regime}
            for as_of, regime in ((date(2024, 5, 31), "risk_on"), (date(2024, 6, 28), "risk_off"))
        ],
        schema=DATASET.empty().schema,
    )
    tests = parse("-- test: accepted_values(regime: risk_on)\n-- warn: not_null(best_long)\nSELECT 1")
    (checks,) = contract_checks(profile, ["sector_scorecard"], {"sector_scorecard": tests})

    @dg.asset(
        name="sector_scorecard", partitions_def=profile.months.by_sector, backfill_policy=dg.BackfillPolicy.single_run()
    )
    def scorecard() -> None:
        profile.store.write(DATASET, written, keys)

    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[1]}
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = dg.materialize([scorecard, checks], tags=tags, run_config=quiet, raise_on_error=False)
    found = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert not result.success, "what declares `test:` blocks"
    assert {name for name, each in found.items() if not each.passed} == {"accepted_values_regime", "not_null_best_long"}
    assert found["accepted_values_regime"].severity == dg.AssetCheckSeverity.ERROR
    assert found["not_null_best_long"].severity == dg.AssetCheckSeverity.WARN
    told = str(found["not_null_best_long"].description)
    assert re.findall(r"(\S+): best_long is null: 1 row, first", told) == ["2024-05|it", "2024-06|it"]
    assert profile.store.missing(DATASET, keys) == ["2024-06|it"], "a warning refuses nothing"


@pytest.mark.parametrize("model", load_models(DATASETS), ids=lambda model: model.name)
def test_a_header_says_nothing_that_the_schema_says(model: SqlModel) -> None:
    dataset = DATASETS[model.name]
    for test in model.tests:
        columns = [dataset.columns[name] for name in test.columns if name in dataset.columns]
        said = {
            "not_null": not all(each.nullable for each in columns),
            "unique": set(test.columns)
            in [{*dataset.identity}, *({*dataset.grain.head, *each} for each in dataset.unique)],
            "accepted_values": any(each.isin == test.values for each in columns),
            "relationships": (test.columns, test.to)
            in [(each.columns, (each.dataset, each.to)) for each in dataset.references],
        }
        assert not said[test.kind], test.name


def test_what_the_headers_declared_is_in_the_schemas() -> None:
    """The fourteen tests that stood there, but for the warning that a schema cannot say."""
    selected, quality, scorecard = (DATASETS[name] for name in ("candidates_sql", "data_quality", "sector_scorecard"))
    for dataset, columns in (
        (selected, "ticker as_of candidate_type selection_rank composite_score eligible_count"),
        (quality, "as_of member_sessions"),
        (scorecard, "as_of members longs shorts"),
    ):
        assert not any(dataset.columns[name].nullable for name in columns.split())
    assert selected.identity == ["sector", "ticker", "as_of"]
    assert quality.identity == scorecard.identity == ["sector", "as_of"]
    assert selected.unique == (("as_of", "candidate_type", "selection_rank"),)
    assert selected.columns["candidate_type"].isin == ("long", "short")
    assert scorecard.columns["regime"].isin == ("risk_on", "risk_off")
    assert [(each.columns, each.dataset, each.to) for each in selected.references] == [
        (("ticker", "as_of"), "universe", ("ticker", "date")),
        (("ticker", "as_of"), "indicators", ("ticker", "date")),
    ]
    assert [(each.columns, each.dataset, each.to) for each in quality.references] == [
        (("as_of",), "universe", ("date",))
    ]
    assert [(each.columns, each.dataset, each.to) for each in scorecard.references] == [
        (("best_long", "as_of"), "candidates", ("ticker", "as_of"))
    ]
    assert [test.name for model in load_models(DATASETS) for test in model.tests] == ["not_null_best_long_regime"]

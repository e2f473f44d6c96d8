"""SQL models: SELECT only, dependencies read from the SQL, results against the same query in Polars."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.assets.column_lineage import column_lineage, lineage_table
from quant_assets.assets.sql import SQL_DIR, SqlModel, execute, load_model, load_models, parameter_values
from quant_assets.checks import selection_differences
from quant_assets.errors import SettingsError
from quant_assets.settings.loading import load_settings
from quant_assets.signals.candidates import candidates
from quant_assets_tests.graph import demo_datasets

DATASETS = demo_datasets()


def model(tmp_path: Path, sql: str, name: str = "data_quality") -> SqlModel:
    path = tmp_path / f"{name}.sql"
    path.write_text(sql)
    return load_model(path, DATASETS)


def test_dependencies_are_the_datasets_that_the_sql_reads() -> None:
    assert load_model(SQL_DIR / "candidates_sql.sql", DATASETS).reads == ("indicators", "universe")
    assert load_model(SQL_DIR / "sector_scorecard.sql", DATASETS).reads == ("candidates", "indicators", "regime_state")
    assert load_model(SQL_DIR / "data_quality.sql", DATASETS).reads == (
        "absences",
        "ohlcv",
        "price_events",
        "quarantine",
        "universe",
    )


def test_a_cte_is_not_a_dependency(tmp_path: Path) -> None:
    assert model(
        tmp_path, "WITH prices_now AS (SELECT * FROM prices) SELECT * FROM prices_now JOIN universe USING (ticker)"
    ).reads == (
        "prices",
        "universe",
    )


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DROP TABLE prices", "exactly one SELECT"),
        ("SELECT 1; SELECT 2", "exactly one SELECT"),
        ("INSERT INTO prices SELECT * FROM ohlcv", "exactly one SELECT"),
        ("SELECT * FROM pricez", "reads pricez, which is not a dataset"),
        ("SELECT * FROM read_parquet('/etc/*.parquet')", r"reads read_parquet\(\), which is not a dataset"),
        ("SELECT * FROM '/etc/prices.parquet'", "which is not a dataset"),
        (
            "SELECT $candidates__momentum_wieght FROM prices",
            r"\$candidates__momentum_wieght is neither \$decision_sessions nor a setting",
        ),
        ("SELECT $candidates FROM prices", r"\$candidates is neither"),
        ("SELECT $storage__x FROM prices", r"\$storage__x is neither"),
        ("SELECT current_date AS date FROM prices", "calls current_date, which follows from the clock"),
        (
            "SELECT Now() AS at, random() AS score FROM prices",
            "calls now, random, which follows from the clock, chance",
        ),
        ("SELECT FROM WHERE", "cannot be parsed|exactly one SELECT"),
    ],
)
def test_anything_but_a_select_from_datasets_is_refused(tmp_path: Path, sql: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        model(tmp_path, sql)


def test_a_model_without_a_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="declare dataset 'my_model'"):
        model(tmp_path, "SELECT * FROM prices", "my_model")


def test_scorecard_counts_the_last_session_only() -> None:
    days = [date(2024, 6, 27), date(2024, 6, 28)]
    columns = DATASETS["indicators"].loaded_schema
    rows = [
        {
            "sector": "it",
            "month": "2024-06",
            "ticker": ticker,
            "date": day,
            "close": close,
            "moving_average": 10.0,
            "momentum": momentum,
        }
        for day in days
        for ticker, close, momentum in (("A", 11.0, 0.1), ("B", 9.0, 0.3), ("C", 12.0 if day == days[1] else 1.0, 0.2))
    ]
    rows.append(rows[-1] | {"ticker": "D", "moving_average": None, "momentum": None})
    inputs = {
        "indicators": pl.DataFrame(rows, schema=columns),
        "candidates": DATASETS["candidates"].empty().with_columns(month=pl.lit("")),
        "regime_state": DATASETS["regime_state"].empty().with_columns(month=pl.lit("")),
    }
    (row,) = execute(load_model(SQL_DIR / "sector_scorecard.sql", DATASETS), **inputs).rows(named=True)
    assert (row["as_of"], row["members"], row["longs"], row["regime"]) == (days[1], 4, 0, None)
    assert row["above_moving_average"] == pytest.approx(2 / 3)
    assert row["median_momentum"] == pytest.approx(0.2)


def test_parameters_are_decision_sessions_and_settings(tmp_path: Path) -> None:
    found = model(
        tmp_path, "SELECT * FROM prices WHERE list_contains($decision_sessions, date) AND close > $weights__max_weight"
    )
    assert found.parameters == ("decision_sessions", "weights__max_weight")
    days = [date(2024, 6, 28)]
    values = parameter_values(found, found.constants(load_settings("demo", weights={"max_weight": 0.2})), days)
    assert values == {"decision_sessions": days, "weights__max_weight": 0.2}
    rows = [{"date": day, "close": close} for day in (days[0], date(2024, 6, 27)) for close in (0.1, 0.3)]
    prices = pl.DataFrame(rows, schema=DATASETS["prices"].loaded_schema)
    assert execute(found, values, prices=prices).select("date", "close").rows() == [(days[0], 0.3)]


DAYS = [date(2024, 5, 31), date(2024, 6, 28)]


def indicators(rng: np.random.Generator, *, coarse: bool) -> pl.DataFrame:
    """Two decisions of three sectors, and a session that is none; coarse values are full of ties."""
    frames = []
    for sector in ("energy", "it", "re"):
        for day in (*DAYS, date(2024, 6, 27)):
            count = int(rng.integers(1, 45))

            def values(scale: float, count: int = count) -> list[float]:
                drawn = rng.integers(-3, 4, count) / 7 if coarse else rng.normal(size=count)
                return (scale * drawn).tolist()

            def some(given: list[float], share: float) -> list[float | None]:
                return [None if rng.random() < share else value for value in given]

            made = {
                "sector": [sector] * count,
                "month": [f"{day:%Y-%m}"] * count,
                "ticker": [f"T{place:02d}" for place in rng.permutation(count)],
                "date": [day] * count,
                "momentum": some(values(0.2), 0.05),
                "ma_slope": some(values(0.01), 0.05),
                "garch_volatility": some([0.01 + abs(value) for value in values(0.7)], 0.15),
                "dollar_volume": some(rng.choice([5e5, 1e6, 1e8], count).tolist(), 0.1),
                "history_sessions": rng.choice([119, 120, 252], count).tolist(),
                "garch_status": rng.choice(["fitted", "too_young", "too_few_bars", "no_fit"], count).tolist(),
            }
            made["unexplained_sessions"] = [None if rng.random() < 0.9 else int(rng.integers(60)) for _ in range(count)]
            types = {"history_sessions": pl.Int32, "unexplained_sessions": pl.Int32}
            frames.append(pl.DataFrame(made, schema_overrides=types))
    return pl.concat(frames, how="vertical_relaxed")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["zscore", "rank"])
@pytest.mark.parametrize("coarse", [False, True], ids=["continuous", "ties"])
@pytest.mark.parametrize(
    ("longs", "shorts", "unknown"), [(0.15, 0.15, "young"), (0.29, 0.5, "pass"), (0.29, 0.5, "refuse")]
)
def test_the_selection_in_sql_is_that_of_the_domain(
    method: str, coarse: bool, longs: float, shorts: float, unknown: str
) -> None:
    settings = load_settings(
        "demo",
        candidates={
            "standardise": method,
            "long_fraction": longs,
            "short_fraction": shorts,
            "momentum_weight": 0.3,
            "unknown_volatility": unknown,
        },
    )
    sql = load_model(SQL_DIR / "candidates_sql.sql", DATASETS)
    rng = np.random.default_rng(8)
    for _ in range(5):
        rows = indicators(rng, coarse=coarse)
        members = rows.select("sector", "month", "ticker", "date", sector_assumed=pl.lit(False))
        ours = []
        for sector in ("energy", "it", "re"):
            of_sector = (frame.filter(pl.col("sector") == sector).drop("sector", "month") for frame in (rows, members))
            ours.append(candidates(*of_sector, DAYS, settings.candidates).with_columns(sector=pl.lit(sector)))
        expected = pl.concat(ours).with_columns(month=pl.col("as_of").dt.strftime("%Y-%m"))
        values = parameter_values(sql, sql.constants(settings), DAYS)
        found = execute(sql, values, indicators=rows, universe=members)
        found = found.cast(DATASETS["candidates_sql"].empty().schema).with_columns(
            month=pl.col("as_of").dt.strftime("%Y-%m")
        )
        assert len(expected) > 10
        assert selection_differences(expected, found) == {}
        both = expected.join(found, on=["sector", "as_of", "ticker"], suffix="_sql")
        for name in DATASETS["candidates"].columns:
            if name.endswith("_score"):
                np.testing.assert_allclose(both[f"{name}_sql"], both[name], rtol=0, atol=1.5e-9)
            elif name.endswith("_count"):
                assert both[f"{name}_sql"].equals(both[name].rename(f"{name}_sql"))


def test_differences_name_sector_month_and_tickers() -> None:
    row = {
        "sector": "it",
        "month": "2024-06",
        "ticker": "A",
        "candidate_type": "long",
        "selection_rank": 1,
        "composite_score": 0.5,
    }
    ours = pl.DataFrame(
        [row, row | {"ticker": "B", "selection_rank": 2}, row | {"ticker": "C", "candidate_type": "short"}]
    )
    assert selection_differences(ours, ours) == {}
    assert selection_differences(ours, ours.with_columns(pl.col("composite_score") + 1e-9)) == {}, "rounding"
    theirs = pl.DataFrame(
        [row | {"ticker": "B"}, row | {"selection_rank": 2}, row | {"ticker": "D", "candidate_type": "short"}]
    )
    assert selection_differences(ours, theirs) == {
        "2024-06|it": "4 names: A long 1 (+0.500000000), in SQL long 2 (+0.500000000); B long 2 (+0.500000000), "
        "in SQL long 1 (+0.500000000); C short 1 (+0.500000000), in SQL not chosen; D not chosen, "
        "in SQL short 1 (+0.500000000)"
    }
    assert len(selection_differences(ours, ours.with_columns(pl.col("composite_score") + 1e-6))) == 1
    assert len(selection_differences(ours, ours.with_columns(month=pl.lit("2024-05")))) == 2


def test_lineage_goes_through_ctes_to_the_columns_of_datasets(tmp_path: Path) -> None:
    sql = """
        WITH spread AS (SELECT p.month, p.date, p.high - p.low AS width, o.bars FROM prices AS p
                        JOIN (SELECT month, count(*) AS bars, count(ticker) AS named FROM ohlcv GROUP BY month) AS o
                        ON p.month = o.month)
        SELECT 'it' AS sector, max(date) AS as_of, max(bars) AS bars, sum(width) AS tickers, 1 AS refused_bars,
            0 AS bars_without_open, 0 AS unexplained_bars, 0 AS repaired_events, 0 AS listed_events,
            2 AS member_sessions, min(month) AS member_bars
        FROM spread WHERE bars > 3
    """
    lineage = column_lineage("data_quality", sql, DATASETS)
    assert lineage is not None
    found = {
        column: [(dep.asset_key.to_user_string(), dep.column_name) for dep in deps]
        for column, deps in lineage.deps_by_column.items()
    }
    assert found == {
        "as_of": [("prices", "date")],
        "bars": [],
        "tickers": [("prices", "high"), ("prices", "low")],
        **{key: [] for key in ("refused_bars", "bars_without_open", "unexplained_bars")},
        **{key: [] for key in ("repaired_events", "listed_events")},
        "member_sessions": [],
        "member_bars": [],  # month is in the path, not among the columns
    }
    assert "| `tickers` | `prices.high`, `prices.low` |" in lineage_table(lineage)


def test_lineage_of_every_model_names_columns_that_exist() -> None:
    for each in load_models(DATASETS):
        lineage = column_lineage(each.name, each.sql, DATASETS)
        assert lineage is not None
        assert list(lineage.deps_by_column) == list(DATASETS[each.name].columns)
        deps = [dep for found in lineage.deps_by_column.values() for dep in found]
        assert deps
        for dep in deps:
            assert dep.column_name in DATASETS[dep.asset_key.path[-1]].columns
            assert dep.asset_key.path[-1] in each.reads


@pytest.mark.parametrize("function", ["range(3)", "generate_series(1, 3)"])
def test_a_function_is_no_source_of_a_column(function: str) -> None:
    sql = f"SELECT weights.as_of, r.i AS bars FROM weights, {function} AS r(i)"
    weights = DATASETS["weights"]
    two = replace(weights, name="two", columns={"as_of": weights.columns["as_of"], "bars": weights.columns["weight"]})
    lineage = column_lineage("two", sql, {"weights": weights, "two": two})
    assert lineage is not None
    assert [dep.column_name for dep in lineage.deps_by_column["as_of"]] == ["as_of"]
    assert lineage.deps_by_column["bars"] == []


def test_sql_that_only_duckdb_understands_has_no_lineage() -> None:
    assert column_lineage("data_quality", "SELECT max(date AS as_of FROM prices", DATASETS) is None
    assert column_lineage("data_quality", "SELECT date FROM prices", DATASETS) is None, (
        "a column of the dataset is not there"
    )

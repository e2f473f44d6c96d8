"""Versions of statements, and share counts as of their publication."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.base import STATEMENTS
from quant_assets.sources.files import FilesSource
from quant_assets_tests.synthetic_files import SETTINGS, START, THROUGH, Write, every_day, made_bars, small_tables


def test_statements_of_snapshots_and_filings(write: Write) -> None:
    source = write()
    found = source.statements(["A", "B"], THROUGH)
    assert found.schema == STATEMENTS
    columns = ("ticker", "period_end", "published", "version", "revenue", "total_debt", "shares")
    vintages = found.filter(pl.col("provider") == "vintages").select(columns).rows()
    assert vintages == [
        (
            "A",
            date(2019, 12, 31),
            date(2020, 3, 1),
            0,
            3.0,
            None,
            101.0,
        ),  # 606 less 3 for 1 (by the snapshots) less 2 for 1
        ("A", date(2020, 3, 31), date(2020, 5, 1), 0, 1.0, 4.0, 100.0),  # published before the split
        ("A", date(2020, 6, 30), date(2020, 7, 20), 0, 2.0, 5.0, 210.0),  # and after it
        ("A", date(2020, 6, 30), date(2020, 11, 1), 1, 2.5, 5.0, 630.0),  # a restatement is counted as at its own day
        ("B", date(2020, 3, 31), None, 0, 5.0, None, None),
    ]
    filings = (
        found.filter(pl.col("provider") == "filings")
        .select("frequency", "published", "version", "revenue", "total_assets")
        .rows()
    )
    assert filings == [
        ("annual", date(2020, 5, 6), 0, 4.0, 10.0),
        ("quarterly", date(2020, 5, 5), 0, 1.0, 10.0),
        ("quarterly", date(2020, 7, 5), 1, 1.2, 10.0),
    ]
    for cut in (date(2020, 3, 30), date(2020, 5, 5), date(2020, 10, 31)):
        known = pl.coalesce("published", "period_end") <= cut
        assert_frame_equal(source.statements(["A", "B"], cut), found.filter(known))


def test_a_statement_known_from_one_snapshot_does_not_change_with_the_next(write: Write) -> None:
    """The first snapshot has another company under the ticker; the ticker's own comes with the second, with other share
    counts."""
    table = small_tables()["statements"]
    q1, early, late = date(2020, 3, 31), date(2020, 8, 1), date(2020, 11, 1)
    rows = [
        ("B", "B_old", q1, date(2020, 5, 1), early, 5.0, 0.5, None, None, 100.0),
        ("B", "B", q1, date(2020, 5, 2), late, 7.0, 0.5, None, None, 300.0),
        ("B", "B", date(2020, 9, 30), date(2020, 10, 20), late, 8.0, 0.5, None, None, 303.0),
        (
            "B",
            "B_old",
            q1,
            date(2020, 5, 1),
            date(2020, 12, 1),
            6.0,
            0.5,
            None,
            None,
            100.0,
        ),  # alone again, and no restatement of B's
    ]
    first, both = (pl.DataFrame(rows[:count], schema=table.schema, orient="row") for count in (1, 4))
    shown = [
        write(statements=frame).statements(["B"], THROUGH).select("published", "version", "revenue", "shares")
        for frame in (first, both)
    ]
    assert shown[0].rows() == [(date(2020, 5, 1), 0, 5.0, 100.0)]
    # The other company's count is no measure of a split.
    assert shown[1].rows() == [*shown[0].rows(), (late, 1, 7.0, 300.0), (date(2020, 10, 20), 0, 8.0, 303.0)]


def test_a_split_in_a_hole_of_the_better_file_stays_when_that_goes_on(tmp_path: Path) -> None:
    columns = {"split_ratio": "split"}
    prices = [
        {"file": "best.parquet", "provider": "best", "adjustment": "as_traded", "columns": columns},
        {"file": "rest.parquet", "provider": "rest", "adjustment": "total_return", "columns": columns},
    ]
    settings = FilesSettings.model_validate({"prices": prices, "fundamentals": SETTINGS["fundamentals"][:1]})
    split = {date(2020, 1, 15): 3.0, date(2020, 6, 1): 2.0}  # the best file has bars in January, and no split then
    days = every_day(date(2020, 1, 2), date(2020, 12, 31))
    rest = made_bars("A", days, 10.0).with_columns(split=pl.col("date").replace_strict(split, default=1.0))
    rest.write_parquet(tmp_path / "rest.parquet")
    row = ("A", "A", date(2019, 12, 31), date(2020, 1, 10), date(2020, 8, 1), 1.0, 0.5, None, None, 200.0)
    pl.DataFrame([row], schema=small_tables()["statements"].schema, orient="row").write_parquet(
        tmp_path / "statements.parquet"
    )
    for best in (days[:30], days[:30] + days[-30:]):
        made_bars("A", best, 10.0, split=1.0).write_parquet(tmp_path / "best.parquet")
        assert FilesSource(settings, tmp_path, START).statements(["A"], THROUGH)["shares"].to_list() == [100.0]


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        # Half empty until the whole one is published; the half that comes once more says nothing.
        (
            [("A", 5, None, 7.0), ("A", 9, 2.0, 8.0), ("A", 10, None, 9.0)],
            [(5, None, 7.0), (9, 2.0, 8.0)],
        ),
        # One as good as the first.
        ([("A", 5, 0.1, 0.2), ("A", 9, 2.0, 8.0)], [(5, 0.1, 0.2)]),
        # Another company counts until the ticker's own is heard of, however large it is.
        ([("A_old", 5, 90.0, 99.0), ("A", 9, 2.0, 8.0), ("A_old", 10, 91.0, 99.0)], [(5, 90.0, 99.0), (9, 2.0, 8.0)]),
    ],
    ids=["half empty", "as good", "another company"],
)
def test_of_several_statements_of_a_period_the_best_of_those_published_counts(
    write: Write, rows: list[tuple[str, int, float | None, float]], shown: list[tuple[int, float | None, float]]
) -> None:
    def read(through: int) -> pl.DataFrame:
        """What is known of statements that were published by a day of May."""
        given = [
            ("A", company, date(2020, 3, 31), date(2020, 5, day), date(2020, 8, 1), sales, sales, None, long, 7.0)
            for company, day, sales, long in rows
            if day <= through
        ]
        source = write(statements=pl.DataFrame(given, schema=small_tables()["statements"].schema, orient="row"))
        return source.statements(["A"], THROUGH).filter(pl.col("provider") == "vintages")

    known = read(31)
    assert known.select("published", "version", "revenue", "total_debt").rows() == [
        (date(2020, 5, day), version, sales, long) for version, (day, sales, long) in enumerate(shown)
    ]
    for day in range(5, 12):
        assert_frame_equal(read(day), known.filter(pl.col("published") <= date(2020, 5, day)))


def test_a_statement_without_a_day_of_publication_competes_when_it_may_be_used(write: Write) -> None:
    """90 days after the end of March is 29 June: a better one of July replaces it from then on, one of May counts until
    then."""
    schema = small_tables()["statements"].schema

    def read(*rows: tuple[date | None, float, float | None]) -> list[tuple[date | None, int, float]]:
        given = [
            ("A", "A", date(2020, 3, 31), day, date(2020, 8, 1), sales, profit, None, 1.0, 7.0)
            for day, sales, profit in rows
        ]
        found = write(statements=pl.DataFrame(given, schema=schema, orient="row")).statements(["A"], THROUGH)
        return found.filter(pl.col("provider") == "vintages").select("published", "version", "revenue").rows()

    may, july = date(2020, 5, 5), date(2020, 7, 20)
    assert read((None, 1.0, None), (july, 2.0, 1.0)) == [(None, 0, 1.0), (july, 1, 2.0)]
    assert read((None, 2.0, 1.0), (july, 1.0, None)) == [(None, 0, 2.0)]
    assert read((None, 2.0, 1.0), (may, 1.0, None)) == [(may, 0, 1.0), (None, 1, 2.0)]
    assert read((None, 1.0, None), (may, 2.0, 1.0)) == [(may, 0, 2.0)]


def test_statements_of_another_company_are_left_out(tmp_path: Path) -> None:
    rows = [("A", date(2019, 12, 31), 1.0), ("A", date(2020, 3, 31), 2.0), ("B", date(2019, 12, 31), 3.0)]
    table = pl.DataFrame(rows, {"ticker": pl.String, "period_end": pl.Date, "sales": pl.Float64}, orient="row")
    table.with_columns(filed=pl.col("period_end").dt.offset_by("30d"), form=pl.lit("10-Q"), assets=1.0).write_parquet(
        tmp_path / "filings.parquet"
    )
    file = SETTINGS["fundamentals"][1]
    for limits, left in (({}, [3.0]), ({"last": "2019-12-31"}, [2.0, 3.0]), ({"first": "2020-01-01"}, [1.0, 3.0])):
        settings = FilesSettings.model_validate({"fundamentals": [{**file, "not_the_member": {"A": limits}}]})
        assert (
            FilesSource(settings, tmp_path, START).statements(["A", "B"], THROUGH)["revenue"].sort().to_list() == left
        )

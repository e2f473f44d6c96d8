"""Tables of versions: what is new, revised or the same; crashes in between; against a slow reference."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.collectors.tables import FETCHED_AT, Table, Tables
from quant_assets.errors import SourceError

AT = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)
BARS = Table(
    "bars",
    pl.Schema({"ticker": pl.String, "date": pl.Date, "close": pl.Float64, "note": pl.String}),
    ("ticker", "date"),
)


def rows(*given: tuple[str, int, float | None, str | None, int]) -> pl.DataFrame:
    """Rows of (ticker, day of November, close, note, hours after AT)."""
    return pl.DataFrame(
        [
            (ticker, date(2026, 11, day), close, note, AT + timedelta(hours=at))
            for ticker, day, close, note, at in given
        ],
        schema=BARS.stored,
        orient="row",
    )


def test_new_and_revised_versions_are_told_apart_and_what_says_the_same_is_not_kept(tmp_path: Path) -> None:
    tables = Tables(tmp_path, "yahoo", [BARS])
    (change,) = tables.append({"bars": rows(("A", 2, 1.0, None, 0), ("A", 3, None, None, 0))}, ("2026-11-30", 1))
    assert (change.new, len(change.revised), tables.read_through) == (2, 0, ("2026-11-30", 1))
    again = rows(("A", 2, 1.0, None, 1), ("A", 3, 2.0, None, 1), ("B", 2, 5.0, "x", 1))
    (change,) = tables.append({"bars": again}, ("2026-11-30", 2))
    assert change.new == 1
    assert change.revised.rows() == rows(("A", 3, 2.0, None, 1)).rows()
    assert len(tables.versions("bars")) == 4
    assert tables.newest("bars")["close"].to_list() == [1.0, 2.0, 5.0]
    assert tables.newest("bars", AT)["close"].to_list() == [1.0, None]


def test_a_value_that_comes_back_is_a_version_of_its_own(tmp_path: Path) -> None:
    tables = Tables(tmp_path, "yahoo", [BARS])
    tables.append(
        {"bars": rows(("A", 2, 1.0, None, 0), ("A", 2, 2.0, None, 1), ("A", 2, 1.0, None, 2))}, ("2026-11-30", 3)
    )
    assert tables.versions("bars")["close"].to_list() == [1.0, 2.0, 1.0]


def test_parts_that_nothing_names_do_not_count(tmp_path: Path) -> None:
    """As after a crash between the part and made.json: the answers are read again and the part is written over."""
    tables = Tables(tmp_path, "yahoo", [BARS])
    tables.append({"bars": rows(("A", 2, 1.0, None, 0))}, ("2026-11-30", 1))
    made = (tmp_path / "yahoo" / "made.json").read_bytes()
    tables.append({"bars": rows(("A", 3, 7.0, None, 1))}, ("2026-11-30", 2))
    (tmp_path / "yahoo" / "made.json").write_bytes(made)
    assert (tables.read_through[1], len(tables.versions("bars"))) == (1, 1)
    tables.append({"bars": rows(("A", 3, 7.0, None, 1), ("A", 4, 8.0, None, 1))}, ("2026-11-30", 3))
    assert tables.newest("bars")["close"].to_list() == [1.0, 7.0, 8.0]


@pytest.mark.parametrize("damage", ["cut", "gone", "columns", "made"])
def test_damage_is_said_with_the_remedy(tmp_path: Path, damage: str) -> None:
    tables = Tables(tmp_path, "yahoo", [BARS])
    tables.append({"bars": rows(("A", 2, 1.0, None, 0))}, ("2026-11-30", 1))
    part = tmp_path / "yahoo" / "bars" / "000000.parquet"
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:-20])
    elif damage == "gone":
        part.unlink()
    elif damage == "columns":
        pl.read_parquet(part).drop("note").write_parquet(part)
    else:
        (tmp_path / "yahoo" / "made.json").write_text("{")
    with pytest.raises(SourceError, match=r"(000000.parquet|made.json).*quant collect replay"):
        tables.newest("bars")
    again = tables.anew()
    again.append({"bars": rows(("A", 2, 1.0, None, 0))}, ("2026-11-30", 1))
    again.replace()
    assert len(tables.newest("bars")) == 1
    assert [path.name for path in (tmp_path / "yahoo").rglob("*.*")].count("anew.json") == 0
    assert len(list((tmp_path / "yahoo" / "bars").iterdir())) == 1


def test_tables_of_a_count_of_parts_are_read(tmp_path: Path) -> None:
    """As they were written before any could be made again beside what is there."""
    tables = Tables(tmp_path, "yahoo", [BARS])
    for day in (2, 3):
        tables.append({"bars": rows(("A", day, 1.0, None, 0))}, ("2026-11-30", day))
    (tmp_path / "yahoo" / "made.json").write_text('{"read_through": ["2026-11-30", 3], "parts": {"bars": 2}}')
    assert len(tables.newest("bars")) == 2
    tables.append({"bars": rows(("A", 4, 1.0, None, 0))}, ("2026-11-30", 4))
    assert len(tables.newest("bars")) == 3


value = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.0]))
told = st.tuples(st.sampled_from("AB"), st.integers(1, 3), value, st.sampled_from([None, "x"]))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(told, max_size=6), min_size=1, max_size=5))
def test_versions_are_those_of_a_slow_reference(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[Any, ...]]]
) -> None:
    tables = Tables(tmp_path_factory.mktemp("t"), "yahoo", [BARS])
    newest: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    expected = []
    for hours, batch in enumerate(batches):
        unique = {each[:2]: each for each in batch}  # an answer tells a fact once
        given_rows = [(*each, hours) for each in unique.values()]
        (change,) = tables.append({"bars": rows(*given_rows)}, ("2026-11-30", hours))
        new = 0
        for ticker, day, close, note, at in given_rows:
            if newest.get((ticker, day)) != (close, note):
                new += (ticker, day) not in newest
                newest[ticker, day] = close, note
                expected.append((ticker, day, close, note, at))
        assert change.new == new
    found = tables.versions("bars").sort("ticker", "date", FETCHED_AT).rows()
    assert found == rows(*expected).sort("ticker", "date", FETCHED_AT).rows()


def test_a_fact_without_values_is_the_same_when_it_is_told_again(tmp_path: Path) -> None:
    days = Table("days", pl.Schema({"date": pl.Date}), ("date",))
    tables = Tables(tmp_path, "fred", [days])
    for hours, new in ((0, 1), (1, 0)):
        given = pl.DataFrame([(date(2026, 11, 2), AT + timedelta(hours=hours))], schema=days.stored, orient="row")
        (change,) = tables.append({"days": given}, ("2026-11-30", hours))
        assert (change.new, len(change.revised)) == (new, 0)

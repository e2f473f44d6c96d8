"""What had been collected by a time, as files: nothing later is in them, and the provider `files` reads them."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.collectors.tables import Tables
from quant_assets.collectors.view import view
from quant_assets.collectors.yahoo import Yahoo
from quant_assets.collectors.yahoo_chart import ASKED, BARS, EVENTS, LISTED
from quant_assets.market.calendar import sessions
from quant_assets.settings.collecting import CollectingSettings
from quant_assets.settings.loading import load_settings
from quant_assets.sources.files import FilesSource

START, BEGUN = date(2026, 1, 2), datetime(2026, 3, 2, 22, tzinfo=UTC)
DAYS = sessions(START, date(2026, 6, 30)).tolist()


class Collected:
    """Tables of Yahoo's that are written without asking anybody."""

    def __init__(self, folder: Path, *tickers: str) -> None:
        self.settings = CollectingSettings(folder=str(folder), universe={"it": tickers})
        self.tables = Tables(folder / "tables", Yahoo.name, Yahoo.tables)

    def add(self, at: datetime, bars: Sequence[tuple[str, date, float]] = (), events: Sequence[tuple] = ()) -> None:  # type: ignore[type-arg]
        rows = {
            BARS.name: pl.DataFrame(
                [(ticker, day, close, close, close, close, 1e6, 0.0, 0.0) for ticker, day, close in bars],
                BARS.schema,
                orient="row",
            ),
            EVENTS.name: pl.DataFrame([(*each, 0.0) for each in events], EVENTS.schema, orient="row"),
            ASKED.name: pl.DataFrame(
                [(ticker, at.date(), None) for ticker in sorted({each[0] for each in (*bars, *events)})],
                ASKED.schema,
                orient="row",
            ),
        }
        self.tables.append({name: each.with_columns(fetched_at=at) for name, each in rows.items()}, ("", 0))

    def lists(self, at: datetime, ticker: str, since: date, names: str) -> None:
        rows = pl.DataFrame([(ticker, since, at.date(), names)], LISTED.schema, orient="row")
        self.tables.append({LISTED.name: rows.with_columns(fetched_at=at)}, ("", 0))

    def bars(self, by: datetime) -> pl.DataFrame:
        return pl.read_parquet(view(self.settings, by) / "bars.parquet")

    def source(self, by: datetime) -> FilesSource:
        return FilesSource(load_settings("live").files, view(self.settings, by), START)


def evening(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 22, tzinfo=UTC)


@pytest.fixture
def collected(tmp_path: Path) -> Collected:
    """A history of two tickers, collected in one evening."""
    found = Collected(tmp_path, "A", "B")
    found.add(BEGUN, [(ticker, day, 10.0) for ticker in "AB" for day in DAYS if day <= BEGUN.date()])
    return found


def test_a_correction_is_known_when_it_was_fetched(collected: Collected) -> None:
    later = BEGUN + timedelta(days=3)
    collected.add(later, [("A", START, 11.0)])
    assert collected.bars(later)["close"].unique().to_list() == [10.0]
    after = collected.bars(later + timedelta(seconds=1))
    assert after.filter(ticker="A", date=START)["close"].item() == 11.0
    assert collected.bars(later)["close"].unique().to_list() == [10.0]  # made again


def test_what_was_not_collected_by_then_is_not_there(collected: Collected) -> None:
    """Bars of the days after the first collection that came late, and a bar of the past that it had not told."""
    day, later = BEGUN.date() + timedelta(days=1), BEGUN + timedelta(days=9)
    old = date(2025, 12, 31)
    collected.add(later, [("A", day, 12.0), ("A", old, 9.0)])
    before = collected.bars(BEGUN + timedelta(days=2))
    assert before.filter(pl.col("date").is_in([day, old])).is_empty()
    assert len(collected.bars(later + timedelta(days=1))) == len(before) + 2


def test_the_past_that_a_first_collection_tells_counts_as_known_in_it(collected: Collected) -> None:
    bars = collected.bars(datetime(2026, 2, 2, tzinfo=UTC))
    assert bars["date"].max() == DAYS[[day < BEGUN.date() for day in DAYS].count(True) - 1]
    assert bars["told_through"].null_count() == len(bars)


def test_a_ticker_that_is_begun_late_is_in_the_past_as_in_the_end_and_its_late_rows_are_not(
    collected: Collected,
) -> None:
    """Its history is older than its collection; a correction, an older bar and its first evening's come with theirs."""
    wider = collected.settings.model_copy(update={"universe": {"it": ("A", "B", "LATE")}})
    collected.settings = wider
    late, old = BEGUN + timedelta(days=28), date(2025, 12, 31)
    for day in (day for day in DAYS if BEGUN.date() < day <= late.date()):
        collected.add(evening(day), [(ticker, day, 10.0) for ticker in "AB"])
    first = [("LATE", day, 20.0) for day in DAYS if day <= late.date()]
    collected.add(late, first, [("LATE", DAYS[10], "split", 2.0, None)])
    collected.add(late + timedelta(days=1), [("LATE", DAYS[5], 21.0), ("LATE", old, 19.0)])

    def of_late(by: datetime) -> list[tuple[date, float]]:
        return collected.bars(by).filter(ticker="LATE").select("date", "close").rows()

    past = [(day, 20.0) for _, day, _ in first if day < late.date()]
    for by in (BEGUN - timedelta(days=20), BEGUN + timedelta(days=9), late):
        assert of_late(by) == past
        bars = collected.bars(by).filter(ticker="LATE")
        assert bars["split_ratio"].drop_nulls().to_list() == [2.0]
        assert bars["told_through"].null_count() == len(bars)
    assert of_late(late + timedelta(seconds=1)) == [*past, (late.date(), 20.0)]
    corrected = [(day, 21.0 if day == DAYS[5] else close) for day, close in past]
    assert of_late(late + timedelta(days=2)) == [(old, 19.0), *corrected, (late.date(), 20.0)]

    through = DAYS[30]
    early, end = (collected.source(by).bars(["A", "LATE"], START, through) for by in (evening(through), late))
    assert early.equals(end)
    assert early["ticker"].unique().sort().to_list() == ["A", "LATE"]
    assert collected.source(evening(through)).delistings(["LATE"], through).is_empty()


def test_events_stand_on_their_own_days(collected: Collected) -> None:
    holiday = date(2026, 1, 19)
    events = [
        ("A", START, "dividend", 0.5, None),
        ("A", START, "capital_gain", 0.25, None),
        ("A", START, "split", 2.0, None),
        ("B", START, "dividend", 0.5, "EUR"),
        ("B", holiday, "dividend", 0.1, None),
    ]
    collected.add(BEGUN, events=events)
    found = collected.bars(BEGUN + timedelta(days=1)).filter(pl.col("date").is_in([START, holiday]))
    assert found.select("ticker", "date", "close", "dividend", "split_ratio").rows() == [
        ("A", START, 10.0, 0.75, 2.0),
        ("B", START, 10.0, None, None),  # in another currency
        ("B", holiday, None, 0.1, None),
    ]


def test_an_event_that_is_taken_back_is_gone_since_then(collected: Collected) -> None:
    """A split is told a day later than before; what an answer does not reach back to, or lists again, stays."""
    old, moved, new = DAYS[2], DAYS[20], DAYS[21]
    collected.add(BEGUN, events=[("A", old, "dividend", 0.5, None), ("A", moved, "split", 10.0, None)])
    collected.add(BEGUN, events=[("B", moved, "split", 10.0, None)])
    collected.lists(BEGUN, "A", START, f"{old} dividend, {moved} split")
    later = BEGUN + timedelta(days=3)
    collected.add(later, events=[("A", new, "split", 10.0, None)])
    collected.lists(later, "A", DAYS[15], f"{new} split")

    def told(by: datetime) -> list[tuple]:  # type: ignore[type-arg]
        found = collected.bars(by).filter(pl.any_horizontal(pl.col("dividend", "split_ratio").is_not_null()))
        return found.select("ticker", "date", "dividend", "split_ratio").rows()

    of_b = ("B", moved, None, 10.0)
    assert told(later) == [("A", old, 0.5, None), ("A", moved, None, 10.0), of_b]
    assert told(later + timedelta(days=1)) == [("A", old, 0.5, None), ("A", new, None, 10.0), of_b]
    collected.lists(later + timedelta(days=1), "A", DAYS[15], f"{moved} split")
    assert told(later + timedelta(days=2)) == [("A", old, 0.5, None), ("A", moved, None, 10.0), of_b]


def test_a_single_answer_without_events_changes_nothing_and_two_take_them_back(collected: Collected) -> None:
    """The first has prices that are adjusted for the split which it does not list."""
    split = DAYS[20]
    collected.add(BEGUN, events=[("A", split, "split", 2.0, None), ("B", split, "dividend", 0.5, None)])
    collected.lists(BEGUN, "A", START, f"{split} split")
    faulty, again = BEGUN + timedelta(days=3), BEGUN + timedelta(days=4)
    collected.add(faulty, [("A", day, 5.0) for day in DAYS[:20]])
    collected.lists(faulty, "A", START, "")

    def told(by: datetime) -> tuple[list[float], list[float]]:
        found = collected.bars(by).filter(ticker="A")
        return found.filter(date=START)["close"].to_list(), found["split_ratio"].drop_nulls().to_list()

    assert told(faulty + timedelta(hours=1)) == ([10.0], [2.0])
    collected.lists(again, "A", START, "")
    assert told(again) == ([10.0], [2.0])
    assert told(again + timedelta(hours=1)) == ([5.0], [])
    collected.lists(again + timedelta(days=1), "A", DAYS[30], "")  # of days without events: says nothing
    collected.add(again + timedelta(days=2), [("A", day, 10.0) for day in DAYS[:20]])
    collected.lists(again + timedelta(days=2), "A", START, f"{split} split")
    assert told(again + timedelta(days=3)) == ([10.0], [2.0])
    assert collected.bars(again + timedelta(days=3)).filter(ticker="B")["dividend"].drop_nulls().to_list() == [0.5]


def test_only_the_universe_is_in_it_with_its_sectors(collected: Collected) -> None:
    collected.add(BEGUN, [("C", START, 1.0)])
    folder = view(collected.settings, BEGUN + timedelta(days=1))
    assert pl.read_parquet(folder / "bars.parquet")["ticker"].unique().sort().to_list() == ["A", "B"]
    assert pl.read_parquet(folder / "securities.parquet").rows() == [("A", "it", START), ("B", "it", START)]
    wider = collected.settings.model_copy(update={"universe": {"it": ("A",), "energy": ("C",)}})
    assert pl.read_parquet(view(wider, BEGUN + timedelta(days=1)) / "securities.parquet")["sector"].to_list() == [
        "it",
        "energy",
    ]


def test_a_view_is_written_once_and_is_the_same_again(collected: Collected) -> None:
    by = BEGUN + timedelta(days=1)
    folder = view(collected.settings, by)
    content, written = (folder / "bars.parquet").read_bytes(), (folder / "bars.parquet").stat().st_mtime_ns
    assert view(collected.settings, by) == folder
    assert (folder / "bars.parquet").stat().st_mtime_ns == written
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()
    assert (view(collected.settings, by) / "bars.parquet").read_bytes() == content


def test_what_comes_while_the_tables_are_read_is_in_the_view_that_is_named_after_it(
    collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another process collects: its rows come between the name of the view and the reading."""
    by, reads = BEGUN + timedelta(days=9), Tables.versions
    before = view(collected.settings, BEGUN + timedelta(days=8))

    def versions(self: Tables, name: str, through: datetime | None = None) -> pl.DataFrame:
        if name == BARS.name and not came:
            came.append(name)
            collected.add(BEGUN + timedelta(days=1), [("A", START, 11.0)])
        return reads(self, name, through)

    came: list[str] = []
    monkeypatch.setattr(Tables, "versions", versions)
    found = view(collected.settings, by)
    assert (came, found.exists()) == ([BARS.name], True)
    assert pl.read_parquet(found / "bars.parquet").filter(ticker="A", date=START)["close"].item() == 11.0
    assert {each for each in found.parent.iterdir() if each.is_dir()} == {before, found}
    assert view(collected.settings, by) == found


@pytest.mark.parametrize("source", ["view.py", "tables.py", "collected_news.py"])
def test_another_version_of_what_makes_a_view_makes_another(
    collected: Collected, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    before, text = view(collected.settings, BEGUN), Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **given: text(path, **given) + "#" * (path.name == source))
    assert view(collected.settings, BEGUN) != before


def test_without_prices_there_is_none(tmp_path: Path) -> None:
    assert not view(Collected(tmp_path, "A").settings, BEGUN).exists()


def test_the_provider_files_reads_it(collected: Collected) -> None:
    source = collected.source(BEGUN + timedelta(days=1))
    assert source.bars(["A"], START, DAYS[1]).select("date", "close", "adjustment", "provider").rows() == [
        (START, 10.0, "as_traded", "yahoo"),
        (DAYS[1], 10.0, "as_traded", "yahoo"),
    ]
    assert source.sector_snapshots(START).select("ticker", "sector").rows() == [("A", "it"), ("B", "it")]
    assert source.membership(DAYS[-1])["end_date"].to_list() == [None, None]


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_silence_is_one_only_where_yahoo_told_something(tmp_path: Path, told: bool) -> None:
    """A halted ticker of which charts come on counts as delisted; one of which nothing comes does not."""
    found = Collected(tmp_path, "A", "B", "C")
    last = DAYS[40]
    found.add(BEGUN, [(ticker, day, 10.0) for ticker in "ABC" for day in DAYS if day <= BEGUN.date()])
    for day in DAYS:
        if day > BEGUN.date():
            at = datetime(day.year, day.month, day.day, 22, tzinfo=UTC)
            rows = [(ticker, day, 10.0) for ticker in "BC"] + [("A", min(day, last), 10.0)] * (told or day <= last)
            found.add(at, rows)
    delistings = found.source(datetime(2026, 7, 1, tzinfo=UTC)).delistings(["A", "B", "C"], DAYS[-1])
    assert delistings["ticker"].to_list() == (["A"] if told else [])

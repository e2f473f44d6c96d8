"""When tickers of files end, when their silence says nothing, and when they trade again."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import SettingsError, SourceError
from quant_assets.features.labels import labels
from quant_assets.market.adjustment import adjust
from quant_assets.market.bars import company_bars, sector_bars
from quant_assets.market.calendar import sessions
from quant_assets.market.delistings import with_listing, with_returns
from quant_assets.settings.domain import BarSettings, DelistingSettings, LabelSettings
from quant_assets.settings.loading import load_settings
from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.base import SECTOR_SNAPSHOTS
from quant_assets.sources.files import FilesSource
from quant_assets.sources.files_delistings import told_sessions

START = date(2020, 1, 1)
DAYS: list[date] = sessions(date(2019, 1, 2), date(2023, 12, 29)).tolist()
FIRST = DAYS.index(date(2020, 1, 2))
#: Places of sessions from the start on, through the end of 2023.
EVERY = range(len(DAYS) - FIRST)

Open = Callable[..., FilesSource]


def day(place: int) -> date:
    return DAYS[FIRST + place]


@pytest.fixture
def files(tmp_path: Path) -> Open:
    """A source over one file with these tickers at these places, and four that always trade."""

    def opened(bars: dict[str, Sequence[int]], lost: Sequence[int] = (), **settings: Any) -> FilesSource:
        places = {**{f"EVER{k}": EVERY for k in range(4)}, **bars}
        rows = [(ticker, day(k), 10.0, 100.0) for ticker, all_of in places.items() for k in all_of if k not in lost]
        frame = pl.DataFrame(
            rows, {"ticker": pl.String, "date": pl.Date, "close": pl.Float64, "volume": pl.Float64}, orient="row"
        )
        frame.with_columns(open="close", high="close", low="close").write_parquet(tmp_path / "bars.parquet")
        prices = [{"file": "bars.parquet", "provider": "one", "adjustment": "as_traded"}]
        return FilesSource(FilesSettings.model_validate({"prices": prices, **settings}), tmp_path, START)

    return opened


def rows(source: FilesSource, *tickers: str, through: date = DAYS[-1]) -> list[tuple[str, int, int, str | None]]:
    """Ticker, places of the last session and of the day on which it was known, and the reason."""
    found = source.delistings(tickers, through)
    assert found["successor"].null_count() == len(found)
    return [
        (ticker, DAYS.index(last) - FIRST, DAYS.index(known) - FIRST, reason)
        for ticker, last, known, reason, _ in found.rows()
    ]


def test_a_short_silence_is_a_halt_and_a_longer_one_stands_until_the_ticker_trades_again(files: Open) -> None:
    source = files(
        {
            "HALT": [*range(100), *range(114, 300), *range(314, 500)],  # fourteen sessions, twice
            "BACK": [*range(100), *range(140, 500)],
            "GONE": range(100),
        }
    )
    assert rows(source, "HALT", "BACK", "GONE") == [
        ("BACK", 99, 114, None),
        ("BACK", 99, 140, "trades_again"),
        ("BACK", 499, 514, None),  # it had been silent for forty sessions before, more than a year ago
        ("GONE", 99, 114, None),
        ("HALT", 499, 541, None),  # three times fourteen
    ]


def test_nothing_is_known_before_its_day(files: Open) -> None:
    source = files({"BACK": [*range(100), *range(140, 500)]})
    every = rows(source, "BACK")
    cuts = (113, 114, 139, 140, 700)
    known = [[each for each in every if each[2] <= through] for through in cuts]
    assert [rows(source, "BACK", through=day(through)) for through in cuts] == known
    for through, expected in zip(cuts, known, strict=True):
        cut = [k for k in [*range(100), *range(140, 500)] if k <= through]
        assert rows(files({"BACK": cut}, range(through + 1, len(EVERY))), "BACK") == expected


def test_a_ticker_is_judged_by_its_own_habit(files: Open) -> None:
    source = files({"WEEKLY": range(0, 900, 7), "MONTHLY": range(0, 900, 21)})
    assert rows(source, "WEEKLY") == [("WEEKLY", 896, 896 + 18, None)]
    # Nobody knows its habit at the first silence. From then on three times its twenty silent sessions are allowed.
    assert rows(source, "MONTHLY") == [
        ("MONTHLY", 0, 15, None),
        ("MONTHLY", 0, 21, "trades_again"),
        ("MONTHLY", 882, 942, None),
    ]
    assert rows(files({"WEEKLY": range(0, 900, 7)}, delisted_after_habit=5.0), "WEEKLY")[0][2] == 896 + 30


def test_after_a_years_silence_the_symbol_is_another_companys(files: Open) -> None:
    year = 252
    source = files({"SAME": [*range(100), *range(100 + year, 500)], "OTHER": [*range(100), *range(101 + year, 500)]})
    found = rows(source, "SAME", "OTHER")
    assert [each for each in found if each[1] == 99] == [
        ("OTHER", 99, 114, None),
        ("SAME", 99, 114, None),
        ("SAME", 99, 100 + year, "trades_again"),
    ]
    given, gone = source.bars(["OTHER", "SAME"], START, DAYS[-1]), source.delistings(["OTHER", "SAME"], DAYS[-1])
    begun = with_listing(given, gone).group_by("ticker").agg(pl.col("listed").unique().sort()).sort("ticker").rows()
    assert begun == [("OTHER", [day(0), day(101 + year)]), ("SAME", [day(0)])]
    # What the other company does is judged by its own habits.
    assert ("OTHER", 499, 514, None) in found
    assert rows(files({"SAME": [*range(100), *range(150, 500)]}, another_company_after_sessions=40), "SAME")[:2] == [
        ("SAME", 99, 114, None),
        ("SAME", 499, 514, None),
    ]


@pytest.mark.parametrize("lost", [range(100, 105), range(100, 140)])
def test_sessions_that_the_file_lost_are_nobodys_silence(files: Open, lost: range) -> None:
    """No bar of anybody, for a week or two months; a name that ends just before is known to once the file goes on."""
    names = {"ENDS": range(100), "STAYS": EVERY}
    assert rows(files(names, lost), "ENDS", "STAYS") == [("ENDS", 99, 114 + len(lost), None)]


def test_sessions_on_which_most_are_lacking_are_nobodys_silence(files: Open) -> None:
    """Of six, four are lacking; two that end on one day are no lost session."""
    half = [*range(100), *range(116, len(EVERY))]
    names: dict[str, Sequence[int]] = {f"LOST{k}": half for k in range(12)}
    assert rows(files(names), *names) == []  # twelve of sixteen for sixteen sessions, the first five of them lost
    two = {f"END{k}": range(100) for k in range(2)}
    assert rows(files(two), *two) == [("END0", 99, 114, None), ("END1", 99, 114, None)]


def test_rows_that_a_file_repeats_are_no_tickers_that_it_lost_later(files: Open, tmp_path: Path) -> None:
    source = files({"ENDS": range(100)})
    once = pl.read_parquet(tmp_path / "bars.parquet")
    thrice = once.filter(pl.col("date").is_in([day(place) for place in (105, 110)]))
    pl.concat([once, thrice, thrice]).write_parquet(tmp_path / "bars.parquet")
    assert rows(source, "ENDS") == [("ENDS", 99, 114, None)]


@pytest.mark.parametrize(("lost", "thin"), [(range(0), True), (range(200, 205), False), (range(200, 205), True)])
def test_one_history_and_no_delisting_return_of_a_thin_or_a_lost_name(files: Open, lost: range, thin: bool) -> None:
    """A name below a dollar, which trades on two of nine sessions, or of which a week was lost with all the others."""
    source = files({"CHEAP": [k for k in range(400) if not thin or k % 9 < 2]}, lost)
    names, days = ["CHEAP", "EVER0"], np.array(DAYS[FIRST : FIRST + 400], dtype="datetime64[D]")
    gone = source.delistings(names, day(399))
    assert gone.is_empty()
    given = source.bars(names, START, day(399)).with_columns(
        pl.when(pl.col("ticker") == "CHEAP").then(0.5).otherwise(pl.col(name)).alias(name)
        for name in ("open", "high", "low", "close")
    )
    snapshots = pl.DataFrame([(name, "it", START, None) for name in names], SECTOR_SNAPSHOTS, orient="row")
    ohlcv, *_ = sector_bars(company_bars(given, gone, days, BarSettings()), snapshots, "it", days)
    assert dict(ohlcv.group_by("ticker").agg(pl.col("listed").n_unique()).iter_rows()) == {"CHEAP": 1, "EVER0": 1}
    asked = labels(
        adjust(ohlcv),
        with_returns(gone, ohlcv, DelistingSettings()),
        ohlcv.select("ticker", "date"),
        LabelSettings(),
        days,
        day(399),
        START,
        day(300),
    ).filter(pl.col("ticker") == "CHEAP")
    assert asked.height > 25
    assert asked.select(pl.col("delisted").any(), pl.col("forward_return").abs().max()).row(0) == (False, 0.0)


def test_what_another_file_has_is_no_silence(files: Open, tmp_path: Path) -> None:
    """Of a session that one of the ticker's files lost, the other one tells."""
    full = rows(files({"A": range(100)}), "A")
    (tmp_path / "bars.parquet").rename(tmp_path / "other.parquet")
    one = rows(files({"A": range(100)}, range(100, 130)), "A")
    both = FilesSource(
        FilesSettings.model_validate(
            {
                "prices": [
                    {"file": f"{name}.parquet", "provider": name, "adjustment": "as_traded"}
                    for name in ("bars", "other")
                ]
            }
        ),
        tmp_path,
        START,
    )
    assert one == [("A", 99, 144, None)]
    assert full == rows(both, "A") == [("A", 99, 114, None)]


def test_the_users_list_counts_in_place_of_the_silence(files: Open, tmp_path: Path) -> None:
    listed = pl.DataFrame(
        {
            "symbol": ["BACK", "GONE", "QUICK"],
            "last_session": [day(99), day(99) + timedelta(days=2), day(99)],
            "known_at": [None, day(101), day(90)],
            "why": ["merged", "bankrupt", None],
        }
    )
    listed.write_csv(tmp_path / "ends.csv")
    bars = {"BACK": [*range(100), *range(130, 500)], "GONE": range(100), "QUICK": [*range(100), *range(102, 500)]}
    columns = {"ticker": "symbol", "known_at": "known_at", "reason": "why"}
    reasons = {"merged": "takeover", "bankrupt": "failure"}
    source = files(bars, delistings={"file": "ends.csv", "columns": columns, "reasons": reasons})
    expected = [
        ("BACK", 99, 100, "takeover"),  # announced by the next session at the latest
        ("BACK", 499, 514, None),
        ("GONE", 101, 101, "failure"),  # the last day of trading, after the last bar
        ("QUICK", 99, 99, None),
        ("QUICK", 499, 514, None),
    ]
    assert rows(source, *bars) == expected
    given = source.bars(list(bars), START, DAYS[-1])
    begun = with_listing(given, source.delistings(list(bars), DAYS[-1]))
    assert sorted(begun.group_by("ticker").agg(pl.col("listed").n_unique()).rows()) == [
        ("BACK", 2),
        ("GONE", 1),
        ("QUICK", 2),
    ]
    inline = [{"ticker": "BACK", "last_session": str(day(99)), "reason": "takeover"}]
    assert rows(files(bars, delisted=inline), "BACK") == expected[:2]
    assert rows(files(bars, delisted=inline), "GONE") == [("GONE", 99, 114, None)]


@pytest.mark.parametrize(("known", "expected"), [(110, (110, "failure")), (114, (114, "failure")), (600, (114, None))])
def test_a_list_that_was_made_later_is_known_when_the_silence_tells(
    files: Open, known: int, expected: tuple[int, str | None]
) -> None:
    listed = [{"ticker": "GONE", "last_session": str(day(99)), "known_at": str(day(known)), "reason": "failure"}]
    assert rows(files({"GONE": range(100)}, delisted=listed), "GONE") == [("GONE", 99, *expected)]
    # Another company has the symbol, ten sessions later: known on that day at the latest.
    handed_on = rows(files({"GONE": [*range(100), *range(110, 400)]}, delisted=listed), "GONE")
    assert handed_on[0] == ("GONE", 99, 110, "failure" if known == 110 else None)
    never_traded = rows(files({"OTHER": range(100)}, delisted=listed), "GONE")
    assert never_traded == [("GONE", 99, known, "failure")]


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        ({"reason": "eaten"}, r"ends.csv: ticker A, last session 2020-05-22, has the unknown reason 'eaten'; map it"),
        ({"last_session": None}, r"ends.csv: a row of ticker A, last session None, lacks one of the two"),
        (
            {"ticker": ["A", "A"]},
            r"ticker A is delisted twice on 2020-05-22; remove one from ends.csv or files.delisted",
        ),
    ],
)
def test_a_list_that_cannot_be(files: Open, tmp_path: Path, listed: dict[str, Any], says: str) -> None:
    frame = pl.DataFrame({"ticker": "A", "last_session": date(2020, 5, 22), "reason": "failure"} | listed)
    frame.write_csv(tmp_path / "ends.csv")
    source = files({"A": range(100)}, delistings={"file": "ends.csv", "columns": {"reason": "reason"}})
    with pytest.raises(SourceError, match=says):
        source.delistings(["A"], DAYS[-1])


def test_another_company_may_not_begin_before_the_end_of_the_one_before() -> None:
    with pytest.raises(SettingsError, match="another_company_after_sessions is 20; use delisted_after_sessions"):
        load_settings("files", files={"delisted_after_sessions": 30, "another_company_after_sessions": 20})


def test_an_answer_depends_neither_on_who_is_asked_for_nor_on_the_start(files: Open) -> None:
    rng = np.random.default_rng(5)
    names = {
        f"T{k}": np.flatnonzero(rng.random(len(EVERY)) < share).tolist()
        for k, share in enumerate((0.02, 0.03, 0.05, 0.1, 0.2))
    }
    source = files(names)
    whole = source.delistings([*names, "EVER0"], DAYS[-1])
    assert whole.height > 3
    for name in names:
        assert source.delistings([name], DAYS[-1]).equals(whole.filter(pl.col("ticker") == name))
    later = source.altered(None, day(400)).delistings(list(names), DAYS[-1])
    assert later.equals(whole.filter(pl.col("known_at") >= day(400)))


def test_a_file_may_reach_to_the_last_of_all_dates() -> None:
    counts = pl.DataFrame({"date": [date(2024, 5, 15), date.max], "tickers": [2, 2]})
    assert told_sessions(counts, date.max, date.max).tolist() == [date(2024, 5, 15), date.max]
    later = told_sessions(counts.head(1), date(2024, 5, 15), date(2024, 5, 17))
    assert later.tolist() == [date(2024, 5, day) for day in (15, 16, 17)]

"""Why a universe and its bars do not meet, each cause by name."""

from datetime import date
from pathlib import Path

import pytest

from quant_assets.market.calendar import sessions
from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.files import FilesSource
from quant_assets.sources.matching import undecided, unmatched

FIRST, LAST = date(2023, 6, 1), date(2023, 6, 30)
SETTINGS = {
    "prices": [{"file": "prices.csv", "provider": "p", "adjustment": "as_traded"}],
    "membership": {"file": "members.csv"},
    "securities": {"file": "sectors.csv", "sectors": {"Tech": "it", "Phones": "telecoms"}},
}


def source(folder: Path, bars: str, members: str, sectors: str) -> FilesSource:
    """Files with a bar, a member and a sector for each of the given `ticker` or `ticker,day` or `ticker,sector`."""
    tables = {
        "prices.csv": ("ticker,date,open,high,low,close,volume", bars, "2023-06-01", ",1,1,1,1,1"),
        "members.csv": ("ticker,start_date,end_date", members, "2020-01-02", ","),
        "sectors.csv": ("ticker,sector,known_at", sectors, "Tech", ",2020-01-02"),
    }
    for name, (head, rows, usual, rest) in tables.items():
        lines = [f"{row if ',' in row else f'{row},{usual}'}{rest}" for row in rows.split()]
        (folder / name).write_text("\n".join([head, *lines, ""]))
    return FilesSource(FilesSettings.model_validate(SETTINGS), folder, date(2020, 1, 1))


@pytest.mark.parametrize(
    ("bars", "members", "sectors", "said"),
    [
        ("A", "A", "A", None),
        ("A", "A B", "A B", None),
        (
            "aaaa bbbb",
            "AAAA BBBB CC",
            "AAAA BBBB CC",
            "none of AAAA, BBBB, CC has a bar from 2023-06-01 to 2023-06-30, but there is aaaa, bbbb: spell tickers "
            "alike in all files",
        ),
        ("A", "A", "a", "none of A has a sector; tickers with a sector are a, but there is a: spell tickers"),
        ("A", "A,2023-07-03", "A", "no ticker is a member of the universe from 2023-06-01 to 2023-06-30"),
        ("A", "A", "B", "none of A has a sector; tickers with a sector are B"),
        ("A", "A", "A,Phones", "none of A is in it; they are in telecoms"),
        ("A", "B", "B", "none of B has a bar from 2023-06-01 to 2023-06-30"),
        (
            "A,2021-01-04 A,2022-01-04",
            "A",
            "A",
            "none of A has a bar from 2023-06-01 to 2023-06-30; there are bars of them from 2021-01-04 to 2022-01-04",
        ),
        ("A", "B C D E F G", "B C D E F G", "none of B, C, D, E, F and 1 more has a bar"),
    ],
)
def test_the_cause_is_named(bars: str, members: str, sectors: str, said: str | None, tmp_path: Path) -> None:
    found = unmatched(source(tmp_path, bars, members, sectors), ["it"], FIRST, LAST)
    assert found == said if said is None else (found or "").startswith(said)


def test_without_any_sector_that_is_said(tmp_path: Path) -> None:
    assert unmatched(source(tmp_path, "A", "A", ""), ["it"], FIRST, LAST) == "no sector is known for any of A"


def test_a_decision_on_a_day_that_the_files_lack_is_said(tmp_path: Path) -> None:
    """May is complete, June ends three sessions early for all but one in `it`, and for one of three in `telecoms`."""
    days = [day.isoformat() for day in sessions(date(2023, 5, 1), LAST).tolist()]
    lacked = {"A": 0, "B": 3, "C": 3, "D": 0, "E": 0, "F": 3}  # nothing has a bar of G
    bars = " ".join(f"{ticker},{day}" for ticker, count in lacked.items() for day in days[: len(days) - count])
    given = source(tmp_path, bars, "A B C D E F G", "A B C D,Phones E,Phones F,Phones G,Phones")
    asked = ["it", "telecoms", "energy"]
    said = (
        "it: on 2023-06-30 most members have no bar, so that none of these is chosen or bought then; complete the "
        "prices, or set as_of in mine.yaml to their last day"
    )
    assert undecided(given, asked, [date(2023, 5, 31), LAST], "mine.yaml") == [said]
    assert undecided(given, asked, [date(2023, 5, 31)], "mine.yaml") == []
    nobody = source(tmp_path, " ".join(f"A,{day}" for day in days[:-8]), "A D", "A D,Phones")
    assert undecided(nobody, asked, [LAST], "mine.yaml") == [said.replace("it:", "it, telecoms:")]
    assert undecided(nobody, asked, [], "mine.yaml") == []

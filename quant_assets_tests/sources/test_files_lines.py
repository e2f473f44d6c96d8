"""The line that a message names is that of an editor, whatever stands above it."""

import gzip
from datetime import date
from pathlib import Path

import pytest

from quant_assets.errors import SourceError
from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.files import FilesSource

HEAD = "ticker,date,open,high,low,close,volume\n"
ROW = "AAAA,2024-01-02,10,10.5,9.5,10.2,1000000\n"
BAD = "BBBB,2024-01-03,10,10.5,9.5,?!,1000000\n"


def first(folder: Path, file: str, **entry: object) -> str:
    """What is said of the first value that is none."""
    given = {"file": file, "provider": "mine", "adjustment": "as_traded", **entry}
    source = FilesSource(FilesSettings.model_validate({"prices": [given]}), folder, date(2020, 1, 1))
    source.bars(["AAAA", "BBBB"], date(2020, 1, 1), date(2025, 1, 1))
    (told,) = source.told()
    return told.shown


@pytest.mark.parametrize(
    "above",
    [
        HEAD + 7 * ROW,
        "Downloaded from a page\n\n" + HEAD + 7 * ROW,
        "# a remark\n" + HEAD + 4 * ROW + "# another\n" + 3 * ROW,
        HEAD + 4 * ROW + "\n\n" + 4 * ROW,
        HEAD + 4 * ROW + ROW.replace("\n", ",too,many\n") + 4 * ROW,
        (HEAD + 7 * ROW).replace("\n", "\r\n"),
        "\ufeff" + HEAD + 7 * ROW,
        HEAD.replace("\n", ",note\n") + 4 * ROW.replace("\n", ',"on two\nlines"\n') + 4 * ROW.replace("\n", ",x\n"),
    ],
    ids=["names", "a title", "remarks", "blank lines", "a row too long", "Windows", "a mark", "texts on two lines"],
)
def test_the_line_is_that_of_an_editor(tmp_path: Path, above: str) -> None:
    text = above + (BAD.replace("\n", ",x\n") if ",note" in above else BAD)
    line = text.replace("\r\n", "\n").split("\n").index((BAD if ",note" not in above else BAD[:-1] + ",x\n")[:-1]) + 1
    (tmp_path / "prices.csv").write_bytes(text.encode())
    assert f"first not_a_number: line {line}, column 'close', ticker BBBB, '?!'" in first(tmp_path, "prices.csv")


def test_of_several_files_the_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "AAAA.csv").write_text(HEAD[7:] + 7 * ROW[5:])
    with gzip.open(tmp_path / "BBBB.csv.gz", "wt") as file:
        file.write(HEAD[7:] + ROW[5:] + BAD[5:])
    (tmp_path / "CCCC.csv").write_text(HEAD[7:] + ROW[5:])
    said = first(tmp_path, "{ticker}.csv*")
    assert "first not_a_number: line 3 of BBBB.csv.gz, column 'close', ticker BBBB, '?!'" in said


def test_rows_that_are_not_asked_for_count_as_lines(tmp_path: Path) -> None:
    other = "AAAA,2024-01-02,1,1,1,1,1,other\n"
    mine = [row.replace("\n", ",mine\n") for row in (ROW, ROW, ROW, BAD)]
    (tmp_path / "prices.csv").write_text(HEAD.replace("\n", ",source\n") + 3 * other + "".join(mine))
    assert "first not_a_number: line 8, column 'close'" in first(tmp_path, "prices.csv", where={"source": "mine"})


def test_records_have_no_lines(tmp_path: Path) -> None:
    names = HEAD.strip().split(",")
    rows = [dict(zip(names, row.strip().split(","), strict=True)) for row in (ROW, ROW, BAD)]
    (tmp_path / "prices.json").write_text(str(rows).replace("'", '"'))
    assert "first not_a_number: row 3 below the head, column 'close', ticker BBBB" in first(tmp_path, "prices.json")


def test_a_quote_that_nothing_closes_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text(HEAD + 3 * ROW + '"' + ROW + 3 * ROW + 'x"' + ROW)
    with pytest.raises(
        SourceError, match=r"^prices\.csv: line 5, column 'ticker': the text that begins with 'AAAA,2024"
    ):
        first(tmp_path, "prices.csv")

"""What `quant files` prints of a folder and writes for it: mappings as YAML, rows as understood, what is refused."""

import re
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from rich.markup import escape
from rich.table import Table

from quant_assets.errors import SettingsError, SourceError
from quant_assets.settings.origin import conf_dir
from quant_assets.sources.files_check import SEVERAL, Checked, looked_at
from quant_assets.sources.files_evidence import span

_ROWS = 10
#: Of every ticker where no file tells their sectors: the profile has it, and whoever knows better changes it there.
_SECTOR = "it"


def checked(folder: Path) -> Iterator[str | Table]:
    """What the command prints of a folder.

    Raises:
        SourceError: there is no such folder, or no table in it that can be read.

    """
    found = looked_at(folder)
    for each in found:
        yield from _shown(each)
    usable = [each for each in found if each.kind and not each.error]
    if usable:
        yield "files:"
        yield _yaml(usable)
        yield ""
    for each in found:
        if not each.kind:
            yield _left_out(each)
    if not usable:
        raise SourceError(f"no file of {folder} can be read; docs/files.md has the forms that can")
    yield "Write it into a profile with: quant files init FOLDER --name NAME"


def write(folder: Path, name: str) -> Iterator[str]:
    """Write a profile that reads the folder.

    Raises:
        SettingsError: there is such a profile, or its name is none.
        SourceError: no price file can be read.

    """
    path = conf_dir() / "profiles" / f"{name}.yaml"
    if not re.fullmatch("[a-z0-9][a-z0-9_-]*", name):
        raise SettingsError(f"'{name}' cannot be a profile's name: write a to z, 0 to 9, _ and -")
    if path.exists():
        raise SettingsError(f"{path} exists; choose another --name, or remove it first")
    found = looked_at(folder)
    usable = [each for each in found if each.kind and not each.error]
    bars = [each for each in usable if each.kind == "prices"]
    if not bars:
        reasons = "; ".join(f"{each.file}: {each.error}" for each in found if each.error)
        raise SourceError(f"{folder} has no price file that can be read{f' ({reasons})' if reasons else ''}")
    days = span(pl.concat([each.rows["date"] for each in bars]))
    if days is None:
        raise SourceError(f"the price files of {folder} have no bars")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(_profile(folder, days, usable))
    for each in found:
        if each.kind and not each.error:
            yield (
                f"{each.file}: {each.kind}, {'; '.join(each.evidence)}"
                if each.evidence
                else f"{each.file}: {each.kind}"
            )
        else:
            yield _left_out(each)
    kinds = {each.kind for each in usable}
    if "membership" not in kinds:
        yield "no file of membership was found: every ticker with a price is a member (docs/files.md)"
    if "securities" not in kinds:
        yield f"no file of securities was found: every ticker is put into sector '{_SECTOR}' (docs/files.md)"
    yield f"written: {path}"
    sector = "" if "securities" in kinds else f" --sector {_SECTOR}"
    yield f"next: quant run -p {name}{sector} --to {days[1]:%Y-%m}"
    yield f"then: quant picks -p {name}{sector} --month {days[1]:%Y-%m}"


def imported(file: Path, out: Path, ticker: str | None) -> Iterator[str]:
    """Write the bars of a frame of yfinance.download as a price file.

    Raises:
        SettingsError: the file to write is there.
        SourceError: the frame cannot be read, or is none of yfinance's.

    """
    from quant_assets.yahoo_download import read, written

    if out.exists():
        raise SettingsError(f"{out} exists; choose another --out, or remove it first")
    bars = read(file, ticker)
    entry = written(bars, out)
    yield (
        f"written: {out}, {len(bars):,} bars of {bars['ticker'].nunique()} tickers, {bars['date'].min():%Y-%m-%d} to "
        f"{bars['date'].max():%Y-%m-%d}"
    )
    yield f"files.prices of the profile: - {_flow(entry, braces=True)}"


def _profile(folder: Path, days: tuple[date, date], usable: Sequence[Checked]) -> str:
    head = {"source": "files", "data_dir": str(folder.resolve())}
    months = {"partitions": {"start": f"{days[0]:%Y-%m}", "end": f"{days[1]:%Y-%m}"}}
    told = any(each.kind == "securities" for each in usable)
    sector = "" if told else f"  sector: {_SECTOR} # of every ticker, since no file tells their sectors\n"
    return (
        "# Written by `quant files init`. How files are read, and what else can be said of them: docs/files.md.\n"
        "# All other settings have their defaults: conf/base.yaml and docs/reference/settings.md list them.\n"
        f"{yaml.safe_dump(head, sort_keys=False)}"
        f"as_of: {days[1]} # last day of the prices; results are those of its close\n"
        f"{_flow(months)} # of the prices\n"
        f"files:\n{sector}{_yaml(usable)}\n"
    )


def _yaml(usable: Sequence[Checked]) -> str:
    """The group `files` of a profile, an entry a line."""
    lines: list[str] = []
    for kind in dict.fromkeys(each.kind for each in usable):
        entries = [each.entry for each in usable if each.kind == kind]
        if kind in SEVERAL:
            lines += [f"  {kind}:", *(f"    - {_flow(entry, braces=True)}" for entry in entries)]
        else:
            lines.append(f"  {kind}: {_flow(entries[0], braces=True)}")
            lines += [f"  # or {_flow(entry, braces=True)}" for entry in entries[1:]]
    return "\n".join(lines)


def _flow(value: dict[str, Any], *, braces: bool = False) -> str:
    text = yaml.safe_dump(value, sort_keys=False, default_flow_style=True, width=10_000, allow_unicode=True).strip()
    return text if braces else text[1:-1]


def _left_out(each: Checked) -> str:
    """The file and why nothing of it is read; an error that begins with the file's name says it once."""
    above, _, name = each.file.rpartition("/")
    named = each.error.startswith(name)
    return f"{above}/{each.error}".removeprefix("/") if named else f"{each.file}: left out, {each.error}"


def _shown(each: Checked) -> Iterator[str | Table]:
    if not each.kind:
        return
    yield f"{each.file}: {each.kind}"
    yield from (f"  {sentence}" for sentence in each.evidence)
    if each.error:
        yield f"  cannot be read so: {each.error}"
        yield ""
        return
    if each.read:
        yield f"  {each.read}"
    refused = ", ".join(f"{count} {reason}" for reason, count in each.refused.items())
    yield f"  {len(each.rows)} rows; {f'refused {refused}' if refused else 'none would be refused'}"
    yield _table(each.rows)
    yield ""


def _table(rows: pl.DataFrame) -> Table:
    """The first rows, without columns that have nothing."""
    first = rows.head(_ROWS)
    names = [name for name in first.columns if first[name].null_count() < len(first)]
    table = Table()
    for name in names:
        table.add_column(name, justify="right" if first[name].dtype.is_numeric() else "left")
    for row in first.select(names).iter_rows():
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: object) -> str:
    return "" if value is None else escape(f"{value:.10g}" if isinstance(value, float) else str(value))

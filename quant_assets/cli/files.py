"""Bodies of `quant files`: mappings of a folder's files as YAML, parsed rows, refused rows, a profile."""

import re
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from rich.markup import escape
from rich.table import Table

from quant_assets.errors import SettingsError, SourceError, UsageError
from quant_assets.partitions import month_range, shift_month
from quant_assets.profile import Profile
from quant_assets.reporting.pages import counted
from quant_assets.settings.origin import conf_dir, profile_file
from quant_assets.settings.results import ReportSettings
from quant_assets.settings.sectors import SECTORS
from quant_assets.sources.files_check import SEVERAL, Checked, looked_at, mapped
from quant_assets.sources.files_columns import KINDS
from quant_assets.sources.files_evidence import span
from quant_assets.sources.files_report import said_without_sector

_ROWS = 10
#: Sector of every ticker if no file has sectors; the user can change it in the profile.
_SECTOR = "it"
#: Months of prices with which a backtest is short: a year goes by before most windows are full.
_FEW_MONTHS = 18


def checked(folder: Path) -> Iterator[str | Table]:
    """Lines and tables about the files of a folder.

    Raises:
        SourceError: the folder does not exist or has no readable table, or a file of a known kind cannot be read.

    """
    files = looked_at(folder)
    for file in files:
        yield from _shown(file)
    usable = [file for file in files if file.kind and not file.error]
    if usable:
        yield "files:"
        yield _yaml(usable)
        yield ""
    yield from _unused(files)
    yield from _without_sector(usable)
    _refuse_broken(
        files,
        f"quant files init refuses it too: fix the file, move it out of {folder} to go without it, or write a profile "
        "with its mapping by hand and check that with quant files check -p NAME",
    )
    if not usable:
        raise SourceError(f"no file of {folder} can be read; docs/files.md has the supported forms")
    yield "Write it into a profile with: quant files init FOLDER --name NAME"


def checked_by(profile: Profile, folder: Path | None) -> Iterator[str | Table]:
    """Lines and tables about the files of a profile, read by its mapping.

    Args:
        profile: with source `files`.
        folder: of the files; None for that of the profile.

    Raises:
        UsageError: the profile reads no files.
        SourceError: the folder is not set, missing or empty, or a file cannot be read.

    """
    settings, name = profile.settings, profile.settings.profile
    if settings.source != "files":
        raise UsageError(f"--profile {name} reads no files (its source is {settings.source}); leave it out")
    mapping = profile_file(name)
    files = mapped(settings.files, folder or profile.data_dir, mapping)
    for file in files:
        yield from _shown(file)
    yield from _without_sector(files)
    _refuse_broken(files, f"fix the file, or its entry in {mapping}")
    yield f"every file can be read by the mapping of {mapping}"


def write(folder: Path, name: str) -> Iterator[str]:
    """Write a profile that reads the folder.

    Raises:
        UsageError: the name of the profile is not valid.
        SettingsError: the profile exists.
        SourceError: no price file can be read, or a file of a known kind cannot: without it results would differ.

    """
    path = conf_dir() / "profiles" / f"{name}.yaml"
    if not re.fullmatch("[a-z0-9][a-z0-9_-]*", name):
        raise UsageError(f"'{name}' cannot be a profile's name: write a to z, 0 to 9, _ and -")
    if path.exists():
        raise SettingsError(f"{path} exists; choose another --name, or remove it first")
    files = looked_at(folder, str(path))
    _refuse_broken(
        files,
        f"{path} is not written: fix the file, move it out of {folder} to go without it, or write {path} by hand from "
        "what quant files check shows",
    )
    usable = [file for file in files if file.kind]
    bars = [file for file in usable if file.kind == "prices"]
    if not bars:
        reasons = "; ".join(map(_named_once, files))
        raise SourceError(f"{folder} has no price file that can be read{f' ({reasons})' if reasons else ''}")
    days = span(pl.concat([file.rows["date"] for file in bars]))
    if days is None:
        raise SourceError(f"the price files of {folder} have no bars")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as handle:
        handle.write(_profile(folder, days, usable))
    for file in usable:
        yield f"{file.file}: {', '.join(filter(None, (file.kind, '; '.join(file.evidence))))}"
    kinds = {file.kind for file in usable}
    yield from _unused(files)
    if "membership" not in kinds:
        yield "there is no membership file: every ticker with a price is a member (docs/files.md)"
    if "securities" not in kinds:
        yield f"there is no securities file: every ticker is put into sector '{_SECTOR}' (docs/files.md)"
    yield from _without_sector(usable)
    months = len(month_range(f"{days[0]:%Y-%m}", f"{days[1]:%Y-%m}"))
    if months < _FEW_MONTHS:
        yield (
            f"the prices are of {counted(months, 'month')}: most windows are full after a year only, and a training "
            "needs more, so that ratios of returns say little or nothing"
        )
    yield f"written: {path}"
    given = {slug for file in usable if file.kind == "securities" for slug in file.rows["sector"].unique()}
    held = [slug for slug in SECTORS if slug in (given or {_SECTOR})]
    sector = "" if len(held) == len(SECTORS) else f" --sector {','.join(held)}"
    last = f"{days[1]:%Y-%m}"
    first = max(f"{days[0]:%Y-%m}", shift_month(last, 1 - ReportSettings().history_months))
    yield f"next: quant run -p {name}{sector} --from {first} --to {last}"
    yield f"then: quant picks -p {name}{sector} --month {last}"
    yield (
        f"the profile ends with the files' last day, {days[1]}: to run it every day, remove as_of and partitions.end "
        "from it, so that sessions added to the files count"
    )


def imported(file: Path, out: Path, ticker: str | None) -> Iterator[str]:
    """Write the bars of a yfinance.download frame as a price file.

    Raises:
        SettingsError: the output file exists.
        SourceError: the frame cannot be read, or is not from yfinance.

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


def _refuse_broken(files: Sequence[Checked], remedy: str) -> None:
    """Raise a SourceError that names the files of a known kind that cannot be read, with the remedy."""
    broken = [file for file in files if file.kind and file.error]
    if broken:
        raise SourceError("\n".join([*(f"{file.kind}: {_named_once(file)}" for file in broken), remedy]))


def _without_sector(files: Sequence[Checked]) -> Iterator[str]:
    """A note on members with prices that have no row in the file of sectors."""
    read = {kind: [file for file in files if file.kind == kind and not file.error] for kind in KINDS.values()}
    priced, members = (
        {ticker for file in read[kind] for ticker in file.rows["ticker"]} for kind in ("prices", "membership")
    )
    for file in read["securities"][:1]:  # one is read
        yield from said_without_sector(file.file, priced & (members or priced), file.rows["ticker"])


def _profile(folder: Path, days: tuple[date, date], usable: Sequence[Checked]) -> str:
    head = {"source": "files", "data_dir": str(folder.resolve())}
    months = {"partitions": {"start": f"{days[0]:%Y-%m}", "end": f"{days[1]:%Y-%m}"}}
    with_sectors = any(file.kind == "securities" for file in usable)
    sector = "" if with_sectors else f"  sector: {_SECTOR} # of every ticker, because no file has sectors\n"
    return (
        "# Written by `quant files init`. How files are read, and all settings: docs/files.md.\n"
        "# All other settings have their defaults: conf/base.yaml and docs/reference/settings.md list them.\n"
        f"{yaml.safe_dump(head, sort_keys=False)}"
        f"as_of: {days[1]} # last day of the prices; results are those of its close\n"
        f"{_flow(months)} # of the prices\n"
        f"files:\n{sector}{_yaml(usable)}\n"
    )


def _yaml(usable: Sequence[Checked]) -> str:
    """The group `files` of a profile, one entry per line."""
    lines: list[str] = []
    for kind in dict.fromkeys(file.kind for file in usable):
        entries = [file.entry for file in usable if file.kind == kind]
        if kind in SEVERAL:
            lines += [f"  {kind}:", *(f"    - {_flow(entry, braces=True)}" for entry in entries)]
        else:
            lines.append(f"  {kind}: {_flow(entries[0], braces=True)}")
            lines += [f"  # or {_flow(entry, braces=True)}" for entry in entries[1:]]
    return "\n".join(lines)


def _flow(value: dict[str, Any], *, braces: bool = False) -> str:
    text = yaml.safe_dump(value, sort_keys=False, default_flow_style=True, width=10_000, allow_unicode=True).strip()
    return text if braces else text[1:-1]


def _unused(files: Sequence[Checked]) -> Iterator[str]:
    """Lines on files that the profile does not read."""
    first: dict[str, str] = {}
    for file in files:
        if not file.kind:
            yield f"NOT USED: {_named_once(file)}"
        elif file.kind not in SEVERAL and first.setdefault(file.kind, file.file) != file.file:
            yield f"NOT USED: {file.file}: another file of {file.kind}, and one is read: {first[file.kind]}"


def _named_once(file: Checked) -> str:
    """The file and why it is not read; an error that begins with the file's name is not prefixed with it."""
    above, _, name = file.file.rpartition("/")
    named = file.error.startswith(name)
    return f"{above}/{file.error}".removeprefix("/") if named else f"{file.file}: {file.error}"


def _shown(file: Checked) -> Iterator[str | Table]:
    if not file.kind:
        return
    yield f"{file.file}: {file.kind}"
    yield from (f"  {sentence}" for sentence in file.evidence)
    if file.error:
        entry = f" as {_flow(file.entry, braces=True)}" if file.entry else ""
        yield f"  cannot be read{entry}: see the error below"
        yield ""
        return
    if file.read:
        yield f"  {file.read}"
    if file.kind == "prices":
        reasons = ", ".join(f"{count} {reason}" for reason, count in file.quarantined.items())
        bars = f"{sum(file.quarantined.values())} of them would go into quarantine ({reasons})" if reasons else ""
        yield f"  {len(file.rows)} bars; {bars or 'none would go into quarantine'}"
    else:
        yield f"  {len(file.rows)} rows"
    yield _table(file.rows)
    yield ""


def _table(rows: pl.DataFrame) -> Table:
    """The first rows, without empty columns."""
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

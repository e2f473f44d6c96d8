"""Inspection of files: kind, proposed mapping, and refused rows of each in a folder, or of those of a profile.

The provider itself reads the rows, through the proposed mapping or that of the profile.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from pydantic import ValidationError

from quant_assets.errors import SourceError
from quant_assets.market import calendar
from quant_assets.market.quarantine import judge
from quant_assets.settings.formats import Reading
from quant_assets.settings.providers import FilesSettings
from quant_assets.settings.sectors import SECTORS
from quant_assets.sources.files import FilesSource
from quant_assets.sources.files_columns import KINDS, MAPPING, named
from quant_assets.sources.files_evidence import adjustment_of, frequency_of, series_of, slugs_of, span
from quant_assets.sources.files_found import parts, tables, workbook, workbooks
from quant_assets.sources.files_guess import Columns, guessed, patterns, ticker_in, unknown
from quant_assets.sources.files_reading import collect, columns_in

#: Columns by which a provider is recognised, all of them required.
_PROVIDERS = {
    "stooq": {"<TICKER>", "<DATE>"},
    "simfin": {"SimFinId"},
    "compustat": {"datadate", "tic"},
    "quandl_wiki": {"ex-dividend", "adj_close"},
    "investing": {"Price", "Vol.", "Change %"},
    "yahoo": {"Date", "Adj Close"},
}
_MILLIONS = ("compustat",)
#: Kinds of data with several files per profile.
SEVERAL = ("prices", "fundamentals", "macro")


class Checked(NamedTuple):
    """One file, or several of one kind.

    Attributes:
        file: its name in the settings.
        kind: group of files in the settings; empty if unknown.
        entry: proposed entry in the settings.
        evidence: reasons for it, as sentences.
        rows: as read.
        read: format of the texts and refused rows, a sentence; empty for Parquet.
        quarantined: bars by reason.
        error: why it cannot be read with the entry; empty if it can.

    """

    file: str
    kind: str
    entry: dict[str, Any]
    evidence: tuple[str, ...]
    rows: pl.DataFrame
    read: str
    quarantined: dict[str, int]
    error: str


class _Whole(FilesSource):
    """The provider, with access to all rows of its files."""

    def everything(self, kind: str) -> pl.DataFrame:
        """All rows of a kind of files (`prices`, `membership` and so on), as in the provider's answers."""
        if kind == "prices":
            places = range(len(self._settings.prices))
            return self.bars(
                [ticker for place in places for ticker in self._spans(place)["ticker"]], date.min, date.max
            )
        if kind == "fundamentals":
            return self._statements
        if kind == "rates":
            return self._rates.rows if self._rates is not None else pl.DataFrame()
        if kind == "delistings":
            return self._listed
        if kind == "news":
            return self._news
        found = {
            "membership": self.membership,
            "securities": self.sector_snapshots,
            "macro": self.macro,
            "crypto": self.crypto,
            "indices": self.indices,
        }[kind]
        return found(date.max)

    def series(self) -> pl.DataFrame:
        """All series of the macro files, also those not in the settings: `series_id` and `period`."""
        names = ("series_id", "period")
        found = [self._scan(file, named(file.columns, names)).select(names) for file in self._settings.macro]
        return pl.concat([collect(each, file.file) for each, file in zip(found, self._settings.macro, strict=True)])

    def rates_as_given(self) -> pl.DataFrame:
        """The rows of the file of rates."""
        file = self._settings.rates
        if file is None:
            return pl.DataFrame()
        return collect(self._scan(file, named(file.columns, ("date", "from", "to", "rate"))), file.file)

    def sector_names(self) -> list[str]:
        """The file's names of sectors, also those that the settings do not map."""
        file = self._settings.securities
        if file is None:
            return []
        given = collect(self._scan(file, named(file.columns, ("sector",))), file.file)["sector"]
        return given.drop_nulls().unique().sort().to_list()


def looked_at(folder: Path, profile: str = "your profile") -> list[Checked]:
    """Every table below a folder, sorted by kind.

    Args:
        folder: of the files.
        profile: name of the profile's file in which a mapping would stand, for messages.

    Raises:
        SourceError: the folder does not exist, or has no table.

    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; name the one with your files")
    columns: dict[str, Sequence[str]] = {}
    found = [_none(name, str(workbook(name))) for name in workbooks(folder)]
    there, closed = tables(folder)
    found += [_none(name, str(error)) for name, error in closed]
    for part in there:
        below = part.path.relative_to(folder).as_posix()
        name = f"{below}/{part.member}" if part.member else below
        try:
            columns[name] = columns_in(part, Reading())
        except SourceError as error:
            found.append(_none(name, str(error)))
    if not columns and not found:
        raise SourceError(f"{folder} has no table: no .parquet, .csv, .txt, .tsv or .json, compressed or not")
    taken: set[str] = set()
    groups = {_shortest(file, columns): members for file, members in patterns(columns).items()}
    for file, members in groups.items():
        look = _Look(folder, file, columns[members[0]], columns.keys() - members if "{ticker}" in file else ())
        found.append(_checked(look, len(members), taken))
    named = {each.file for each in found if each.kind and not each.error}
    for each in found:
        if each.kind and "{ticker}" in each.file:
            matching = {part.path.relative_to(folder).as_posix() for part in parts(folder, each.file, named)}
            strange = sorted(matching & columns.keys() - set(groups[each.file]))
            each.entry.update({"apart": strange} if strange else {})
    order = ("prices", "membership", "securities", "fundamentals", "macro", "rates", "")
    found = [each._replace(error=each.error.replace(MAPPING, profile)) for each in found]
    return sorted(found, key=lambda each: order.index(each.kind))


def mapped(settings: FilesSettings, folder: Path | None, profile: str) -> list[Checked]:
    """Every file of a profile, read by its mapping.

    Args:
        settings: the mapping.
        folder: of the files.
        profile: name of the profile's file, for messages.

    Raises:
        SourceError: the folder is not set, missing or empty.

    """
    kinds = (*KINDS.values(), "news")
    nothing = {kind: () if kind in SEVERAL else None for kind in kinds} | {"renames": (), "rates": settings.rates}
    found = []
    for kind in kinds:
        given = getattr(settings, kind)
        for entry in given if kind in SEVERAL else (given,) if given is not None else ():
            alone = settings.model_copy(update={**nothing, kind: (entry,) if kind in SEVERAL else entry})
            source, checked = _Whole(alone, folder, date.min, mapping=profile), _none(entry.file)._replace(kind=kind)
            try:
                found.append(_read(checked, source))
            except SourceError as error:
                found.append(checked._replace(error=str(error).replace(MAPPING, profile)))
    return found


def _none(file: str, error: str = "") -> Checked:
    return Checked(file, "", {}, (), pl.DataFrame(), "", {}, error)


def _shortest(file: str, every: Iterable[str]) -> str:
    """The archive's own name if it has only this file."""
    archive, inside, _ = file.partition(".zip/")
    if inside and "{ticker}" not in file and sum(each.startswith(f"{archive}.zip/") for each in every) == 1:
        return f"{archive}.zip"
    return file


class _Look(NamedTuple):
    """A file, its column names, and files that its pattern must not match."""

    folder: Path
    file: str
    names: Sequence[str]
    others: Collection[str]

    def source(self, kind: str, entry: dict[str, Any]) -> _Whole:
        """The provider of this file alone."""
        entry = {**entry, "apart": [*self.others]}
        settings = FilesSettings.model_validate({kind: [entry] if kind in SEVERAL else entry})
        return _Whole(settings, self.folder, date.min)


def _checked(look: _Look, count: int, taken: set[str]) -> Checked:
    file, names = look.file, look.names
    kind, columns = guessed(names, has_ticker="{ticker}" in file)
    if not kind:
        lacks = unknown(names)
        return _none(file, lacks.said)._replace(kind=lacks.misspelt)
    provider = _provider(file, names, taken if kind == "prices" else set())
    entry: dict[str, Any] = {"file": file, "columns": {ours: each for ours, each in columns.items() if each != ours}}
    evidence = [f"{count} similar files, with the ticker in the name"] if count > 1 else []
    if kind == "prices" and "{ticker}" not in file and "ticker" not in columns and (ticker := ticker_in(file)):
        entry["read"] = {"ticker": ticker}
        evidence.append(f"the ticker in the file's name, {ticker}")
    try:
        propose = {
            "prices": _prices,
            "fundamentals": _statements,
            "macro": _macro,
            "securities": _securities,
            "rates": _exchange,
        }
        if kind in propose:
            entry, more = propose[kind](look, {**entry, "provider": provider}, columns)
            evidence += more
        entry = {name: value for name, value in entry.items() if value not in ({}, None)}
        return _read(_none(file)._replace(kind=kind, entry=entry, evidence=tuple(evidence)), look.source(kind, entry))
    except (SourceError, ValidationError) as error:
        message = str(error) if isinstance(error, SourceError) else str(error.errors()[0]["msg"])
        return _none(file, message)._replace(kind=kind, entry=entry, evidence=tuple(evidence))


def _read(checked: Checked, source: _Whole) -> Checked:
    """The file with what its source reads."""
    rows, quarantined = source.everything(checked.kind), {}
    days = span(rows["date"]) if checked.kind == "prices" else None
    if days is not None:
        judged = judge(rows, calendar.sessions(*days))
        quarantined = dict(judged.drop_nulls("reason").group_by("reason").len().sort("reason").iter_rows())
    said = "; ".join(each.shown for each in source.told() if each.kind == checked.kind)
    return checked._replace(rows=rows, read=said, quarantined=quarantined)


def _prices(look: _Look, entry: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], list[str]]:
    """Entry of a price file, with the adjustment of its prices."""
    plain = {ours: each for ours, each in entry["columns"].items() if ours != "adjusted_close"}
    events = {ours: columns[ours] for ours in ("dividend", "split_ratio") if ours in columns}
    money = {ours: columns[ours] for ours in ("currency",) if ours in columns}
    adjusted = columns.get("adjusted_close")
    # Mapped to dividend, the column is read unchanged.
    looked = {**plain, **events, **({"dividend": adjusted} if adjusted is not None else {})}
    bars = look.source("prices", {**entry, "adjustment": "as_traded", "columns": looked}).everything("prices")
    known = bars.with_columns(split_ratio=pl.when(pl.col("split_ratio") != 0.0).then("split_ratio"))
    found = adjustment_of(
        known, bars["dividend"] if adjusted is not None else None, f"{entry['file']} {' '.join(look.names)}"
    )
    mapped = {**plain, **events, **money}
    if adjusted is not None and "dividend" not in events and found.adjustment != "total_return":
        mapped["adjusted_close"] = adjusted
    made = {
        "file": entry["file"],
        "provider": entry["provider"],
        "adjustment": found.adjustment,
        "columns": mapped,
        "read": entry.get("read"),
    }
    if "split_ratio" in events and (bars["split_ratio"] == 0.0).any():
        made["no_split"] = 0.0
    evidence = [f"{found.adjustment}: {found.evidence}"]
    if not {"dividend", "adjusted_close"} & mapped.keys() and found.adjustment != "total_return":
        evidence.append("no column of dividends: returns leave dividends out")
    return made, evidence


def _statements(look: _Look, entry: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], list[str]]:
    """Entry of a file of statements."""
    # A column is read only if it is named.
    mapped = {ours: each for ours, each in columns.items() if ours != each or ours not in ("ticker", "period_end")}
    made = {**entry, "columns": mapped, "frequency": "quarterly"}
    evidence = []
    if entry["provider"].startswith(_MILLIONS):
        made["read"] = {"scale": 1e6}
        evidence.append("figures in millions, as in Compustat")
    if "published" not in columns:
        evidence.append(
            "no day of publication: each statement counts fundamentals.default_publication_lag_days after its period"
        )
    rows = look.source("fundamentals", made).everything("fundamentals")
    made["frequency"] = frequency_of(rows)
    return made, [*evidence, f"{made['frequency']}: by the days between the ends of periods"]


def _macro(look: _Look, entry: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], list[str]]:
    """Entry of a file of macro series, with all series."""
    made = {"file": entry["file"], "columns": entry["columns"]}
    if "released" in columns:
        made["columns"] = {**made["columns"], "released": columns["released"]}
        name = str(columns["released"]).lower()
        coarse = next((each for each in ("quarter", "month") if each in name), None)
        if coarse:
            made["vintage"] = f"{coarse}ly"
    told = look.source("macro", {**made, "series": {}}).series()
    series = series_of(told)
    evidence = [
        "frequency by the days between observations; lag_days are wide guesses: set each series' release calendar"
    ]
    if "series_id" not in columns:
        evidence.append("one column per series, as in FRED's files")
    rare = sorted(set(told["series_id"].drop_nulls()) - series.keys())
    if rare:
        evidence.append(f"left out, because their observations are more than a year apart: {', '.join(rare)}")
    return {**made, "series": series}, evidence


def _exchange(look: _Look, entry: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], list[str]]:
    """Entry of a file of rates of exchange."""
    made = {"file": entry["file"], "columns": entry["columns"]}
    rows = look.source("rates", made).rates_as_given().with_columns(series_id=pl.concat_str("from", "to"))
    found = {each["frequency"] for each in series_of(rows.select("series_id", period="date")).values()}
    if found & {"daily", "weekly"} or not found:
        return made, ["a rate applies to its day"]
    return {**made, "frequency": "monthly"}, ["a rate applies to the month of its day, and is known at its end"]


def _securities(look: _Look, entry: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], list[str]]:
    """Entry of a file of sectors."""
    made = {"file": entry["file"], "columns": entry["columns"]}
    unread = {"": next(iter(SECTORS))}  # an entry needs a mapping; the names to map are not known yet
    source = look.source("securities", {**made, "sectors": unread})
    sectors, strange = slugs_of(source.sector_names())
    if not sectors:
        source.everything("securities")  # raises the error that names one of them
    evidence = [f"unknown sector '{name}': map it in `sectors`" for name in strange]
    return {**made, "sectors": sectors}, evidence


def _provider(file: str, names: Sequence[str], taken: set[str]) -> str:
    known = next((provider for provider, signs in _PROVIDERS.items() if signs <= set(names)), None)
    stem = re.sub(r"\{ticker\}|\*|\..*$", "", file)
    plain = known or re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_") or "files"
    name, place = plain, 2
    while name in taken:
        name, place = f"{plain}_{place}", place + 1
    taken.add(name)
    return name

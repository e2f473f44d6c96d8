"""Mapping of a file's columns to ours: by the settings, by similar names, or without a column."""

import re
from collections.abc import Iterable, Mapping, Sequence

from quant_assets.errors import SourceError, nearest
from quant_assets.settings.economy import CryptoFile, IndexFile, MacroFile, RatesFile
from quant_assets.settings.providers import FundamentalFile, MembershipFile, PriceFile, SecuritiesFile
from quant_assets.settings.symbols import DelistingsFile
from quant_assets.sources.files_found import Part

#: File in which the user changes a mapping.
MAPPING = "conf/profiles/files.yaml"

#: What else helps where a column is missing, by its name.
_REMEDIES = {
    "ticker": "; or write {ticker} in the file's name, or set read: {ticker: …}",
    "known_at": "; known_at is the day from which on the sector was known: without it a later sector would be used in "
    "earlier months",
}

Columns = Mapping[str, str | tuple[str, ...]]
File = (
    PriceFile
    | MembershipFile
    | SecuritiesFile
    | DelistingsFile
    | FundamentalFile
    | MacroFile
    | RatesFile
    | CryptoFile
    | IndexFile
)


#: Names of the kinds of files in the settings.
KINDS: dict[type[File], str] = {
    PriceFile: "prices",
    MembershipFile: "membership",
    SecuritiesFile: "securities",
    DelistingsFile: "delistings",
    FundamentalFile: "fundamentals",
    MacroFile: "macro",
    RatesFile: "rates",
    CryptoFile: "crypto",
    IndexFile: "indices",
}


def named(columns: Columns, names: Iterable[str]) -> dict[str, str | tuple[str, ...]]:
    """The file's names of required columns [default: our names]."""
    return {name: columns.get(name, name) for name in names}


def optional(columns: Columns, names: Iterable[str]) -> dict[str, str | tuple[str, ...]]:
    """The file's names of columns that are read only if they are in the settings."""
    return {name: columns[name] for name in names if name in columns}


def where_of(of: File) -> dict[str, str]:
    """Columns of the file with the value that rows must have."""
    return of.where if isinstance(of, PriceFile) else {}


def resolved(
    of: File, columns: Columns, existing: Sequence[str], part: Part
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The file's columns by our names, and notes.

    A column that is not in the settings is found by its name, ignoring case and punctuation (<DATE>). A ticker from the
    file's name or the settings needs no column.

    Raises:
        SourceError: a column is missing; names it and the remedy.

    """
    found: dict[str, tuple[str, ...]] = {}
    notes = []
    for ours, theirs in columns.items():
        if ours == "ticker" and (of.read.ticker is not None or (part.ticker is not None and ours not in of.columns)):
            notes.append("the ticker of the settings" if of.read.ticker is not None else "ticker from the file's name")
            continue
        names = (theirs,) if isinstance(theirs, str) else theirs
        if ours not in of.columns and ours not in existing:
            alike = [name for name in existing if re.sub(r"[\W_]", "", name).lower() == ours.replace("_", "")]
            if len(alike) == 1:
                names = (alike[0],)
            elif ours == "published":
                notes.append(
                    "without a day of publication: a statement counts fundamentals.default_publication_lag_days "
                    "after the end of its period"
                )
                continue
        found[ours] = names
    for name in [*(name for names in found.values() for name in names), *where_of(of)]:
        if name not in existing:
            where = "" if of.file == part.name else f" ({part.name})"
            near = nearest(name, existing)
            raise SourceError(
                f"{of.file}{where} has no column '{name}'{f'; nearest: {near[0]}' if near else ''}; it has "
                f"{', '.join(existing)}; fix the file or its columns in {MAPPING}{_REMEDIES.get(name, '')}"
            )
    return found, notes


def undated(columns: Columns, names: Mapping[str, object]) -> bool:
    """Whether the file has statements without a day of publication."""
    return "published" in columns and "published" not in names

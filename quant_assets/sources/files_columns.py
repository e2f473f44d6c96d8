"""Which columns of a file are ours: what the settings name, what is found by its name, what the file does without."""

import re
from collections.abc import Iterable, Mapping, Sequence

from quant_assets.errors import SourceError
from quant_assets.settings.economy import CryptoFile, MacroFile, RatesFile
from quant_assets.settings.providers import FundamentalFile, MembershipFile, PriceFile, SecuritiesFile
from quant_assets.settings.symbols import DelistingsFile
from quant_assets.sources.files_found import Part

#: Where the user mends a mapping.
MAPPING = "conf/profiles/files.yaml"

Columns = Mapping[str, str | tuple[str, ...]]
File = (
    PriceFile | MembershipFile | SecuritiesFile | DelistingsFile | FundamentalFile | MacroFile | RatesFile | CryptoFile
)


#: What the settings call the kinds of files.
KINDS: dict[type[File], str] = {
    PriceFile: "prices",
    MembershipFile: "membership",
    SecuritiesFile: "securities",
    DelistingsFile: "delistings",
    FundamentalFile: "fundamentals",
    MacroFile: "macro",
    RatesFile: "rates",
    CryptoFile: "crypto",
}


def named(columns: Columns, names: Iterable[str]) -> dict[str, str | tuple[str, ...]]:
    """The file's names of columns that must be there: ours where the settings name no other."""
    return {name: columns.get(name, name) for name in names}


def optional(columns: Columns, names: Iterable[str]) -> dict[str, str | tuple[str, ...]]:
    """The file's names of columns that are read only if the settings name them."""
    return {name: columns[name] for name in names if name in columns}


def where_of(of: File) -> dict[str, str]:
    """Columns of the file and the value that a row must have."""
    return of.where if isinstance(of, PriceFile) else {}


def resolved(
    of: File, columns: Columns, there: Sequence[str], part: Part
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The file's columns for each of ours, and what was found out.

    A column that the settings do not name is looked for by its name, and by that without capitals and signs (<DATE>).
    A ticker that the file's name or the settings tell needs no column.

    Raises:
        SourceError: a column is missing; names it and the remedy.

    """
    found: dict[str, tuple[str, ...]] = {}
    said = []
    for ours, theirs in columns.items():
        if ours == "ticker" and (of.read.ticker is not None or (part.ticker is not None and ours not in of.columns)):
            said.append("the ticker of the settings" if of.read.ticker is not None else "ticker from the file's name")
            continue
        names = (theirs,) if isinstance(theirs, str) else theirs
        if ours not in of.columns and ours not in there:
            alike = [name for name in there if re.sub(r"[\W_]", "", name).lower() == ours.replace("_", "")]
            if len(alike) == 1:
                names = (alike[0],)
            elif ours == "published":
                said.append(
                    "without a day of publication: each statement counts fundamentals.default_publication_lag_days "
                    "after the end of its period"
                )
                continue
        found[ours] = names
    for name in [*(name for names in found.values() for name in names), *where_of(of)]:
        if name not in there:
            where = "" if of.file == part.name else f" ({part.name})"
            remedy = (
                "; or write {ticker} where the names of files tell it, or read: {ticker: …}" if name == "ticker" else ""
            )
            raise SourceError(
                f"{of.file}{where} has no column '{name}'; it has {', '.join(there)}; mend the file or its columns in "
                f"{MAPPING}{remedy}"
            )
    return found, said


def undated(columns: Columns, names: Mapping[str, object]) -> bool:
    """Whether it holds statements without a day of publication."""
    return "published" in columns and "published" not in names

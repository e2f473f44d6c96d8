"""The probable kind of a file and the mapping of its columns, from the column names alone.

Names are compared ignoring case, spaces and punctuation. Evidence from values is in `files_evidence`.
"""

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from quant_assets.errors import nearest

#: Providers' names of our columns, the best first.
_TICKER = ("ticker", "symbol", "tic", "stocksymbol", "tickersymbol", "name")
_PRICES = {
    "ticker": _TICKER,
    "date": ("date", "datadate", "tradedate", "tradingday", "day", "timestamp", "datetime", "time", "datum", "column1"),
    "open": ("open", "openprice", "1open", "prcopen", "opn", "eröffnung", "erster"),
    "high": ("high", "highprice", "2high", "max", "hoch"),
    "low": ("low", "lowprice", "3low", "min", "tief"),
    "close": ("close", "price", "last", "closeprice", "4close", "closelast", "prccd", "schluss", "schlusskurs"),
    "volume": ("volume", "vol", "5volume", "6volume", "cshtrd", "totalvolume", "stücke", "stuecke", "volumen"),
    "adjusted_close": ("adjclose", "adjustedclose", "5adjustedclose", "closeadj"),
    "dividend": ("dividend", "dividends", "exdividend", "divcash", "dividendamount", "7dividendamount"),
    "split_ratio": ("splitratio", "stocksplits", "splitfactor", "splitcoefficient", "8splitcoefficient"),
    "currency": ("currency", "currencycode", "curcdd"),
}
_MEMBERSHIP = {
    "ticker": _TICKER,
    "start_date": ("startdate", "start", "dateadded", "added", "from", "entrydate", "fromdate", "since"),
    "end_date": ("enddate", "end", "dateremoved", "removed", "to", "thru", "exitdate", "todate", "until"),
}
_SECURITIES = {
    "ticker": _TICKER,
    "sector": ("sector", "gicssector", "gicssectorname"),
    "known_at": ("knownat", "asof", "snapshotdate", "date", "dateadded"),
}
_STATEMENTS = {
    "ticker": _TICKER,
    "period_end": ("periodend", "reportdate", "datadate", "fiscaldateending", "perioddate", "periodenddate", "date"),
    "published": ("published", "publishdate", "filingdate", "fillingdate", "fileddate", "filed", "rdq", "accepteddate"),
    "revenue": ("revenue", "totalrevenue", "revenues", "sales", "revtq", "saleq", "revt", "sale"),
    "gross_profit": ("grossprofit",),
    "operating_income": ("operatingincome", "operatingincomeloss", "oiadpq", "oiadp", "ebit"),
    "net_income": ("netincome", "netincomeloss", "niq", "ni"),
    "total_assets": ("totalassets", "assets", "atq", "at"),
    "total_equity": ("totalequity", "totalstockholdersequity", "totalshareholderequity", "seqq", "ceqq", "seq", "ceq"),
    "total_debt": ("totaldebt",),
    "depreciation": ("depreciationandamortization", "depreciationamortization"),
    "operating_cash_flow": ("operatingcashflow", "netcashfromoperatingactivities", "netcashflowoperating"),
    "capital_expenditure": ("capitalexpenditure", "capitalexpenditures"),
    "cash": ("cashandshortterminvestments", "cashandcashequivalents", "cheq", "che"),
    "restated_on": ("restateddate",),
    "currency": ("currency", "reportedcurrency", "curcdq", "curcd"),
    "shares": ("shares", "sharesdiluted", "weightedaverageshsoutdil", "commonstocksharesoutstanding", "cshoq", "csho"),
}
_DEBTS = (("shorttermdebt", "longtermdebt"), ("dlcq", "dlttq"), ("dlc", "dltt"))
_MACRO = {
    "series_id": ("seriesid", "series", "seriesname", "indicator"),
    "period": ("period", "date", "observationdate"),
    "value": ("value", "observationvalue"),
    "released": (
        "released",
        "releasedate",
        "realtimestart",
        "vintage",
        "vintagedate",
        "vintagemonth",
        "vintagequarter",
    ),
}
_RATES = {
    "date": _PRICES["date"],
    "from": ("from", "fromcurrency", "base", "basecurrency"),
    "to": ("to", "tocurrency", "quote", "quotecurrency"),
    "rate": ("rate", "exchangerate", "value", "close"),
}
#: Kinds with their columns, required columns, and columns of which one is required; in the order of the tests.
_KINDS: tuple[tuple[str, Mapping[str, Sequence[str]], Sequence[str], Sequence[str]], ...] = (
    ("prices", _PRICES, ("date", "open", "high", "low", "close"), ()),
    ("fundamentals", _STATEMENTS, ("ticker", "period_end"), ("revenue", "net_income", "total_assets")),
    ("macro", _MACRO, ("series_id", "period", "value"), ()),
    ("rates", _RATES, ("date", "from", "to", "rate"), ()),
    ("membership", _MEMBERSHIP, ("ticker", "start_date", "end_date"), ()),
    ("securities", _SECURITIES, ("ticker", "sector"), ()),
)
#: Pattern of FRED's series in a table with one column per series.
_SERIES = re.compile(r"[A-Z][A-Z0-9_]*")
#: Number of columns in a message.
_SHOWN = 8
_NEAREST = "; nearest: "
_PER_TICKER = re.compile(r"[A-Za-z0-9^][A-Za-z0-9.^=\-]{0,9}")

Columns = dict[str, str | list[str]]


class Kind(NamedTuple):
    """Kind of a file (empty if unknown), and the file's names of our columns."""

    kind: str
    columns: Columns


def guessed(names: Sequence[str], *, has_ticker: bool) -> Kind:
    """The probable kind of a file with these columns.

    Args:
        names: of its columns.
        has_ticker: whether its name has the ticker.

    """
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(re.sub(r"[\W_]", "", name).lower(), name)
    for kind, aliases, needed, any_of in _KINDS:
        columns: Columns = {}
        for ours, theirs in aliases.items():
            candidates = [plain[each] for each in theirs if each in plain and plain[each] not in columns.values()]
            if candidates:
                columns[ours] = candidates[0]
        if kind == "fundamentals" and "total_debt" not in columns:
            debts = next(([plain[each] for each in both] for both in _DEBTS if set(both) <= plain.keys()), None)
            columns |= {"total_debt": debts} if debts else {}
        if kind == "prices" and has_ticker:
            columns.pop("ticker", None)
        if set(needed) <= columns.keys() and (not any_of or set(any_of) & columns.keys()):
            return Kind(kind, columns)
    period = _period_of_series(names, plain)
    return Kind("", {}) if period is None else Kind("macro", {"period": period})


class Unknown(NamedTuple):
    """Why the kind of a file is unknown.

    Attributes:
        said: with the remedy, a phrase.
        misspelt: the kind that it would be, if it has a similar name for each column that it lacks; else empty.

    """

    said: str
    misspelt: str


def unknown(names: Sequence[str]) -> Unknown:
    """Why the kind of a file with these columns is unknown."""
    plain = {re.sub(r"[\W_]", "", name).lower(): name for name in names}
    lacks: dict[str, list[str]] = {}
    share: dict[str, float] = {}
    for kind, aliases, needed, any_of in _KINDS:
        there = {name for ours in aliases.values() for name in ours} & plain.keys()
        strange = [name for each, name in plain.items() if each not in there]
        lacks[kind] = [_lacking(ours, strange) for ours in needed if plain.keys().isdisjoint(aliases[ours])]
        if any_of and all(plain.keys().isdisjoint(aliases[ours]) for ours in any_of):
            lacks[kind].append(f"one of {', '.join(any_of)}")
        lacking = sum(0.5 if _NEAREST in each else 1.0 for each in lacks[kind])
        share[kind] = lacking / (len(needed) + bool(any_of))
    near = min(share, key=lambda kind: share[kind])
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    said = (
        f"unknown kind by its columns ({shown}); for {near} it lacks {'; '.join(lacks[near])}; rename the column in "
        "the file, or name its columns in your own entry (docs/files.md)"
    )
    return Unknown(said, near if all(_NEAREST in each for each in lacks[near]) else "")


def _lacking(ours: str, strange: Sequence[str]) -> str:
    """A column of ours that a file lacks, with the most similar of its names that are not known."""
    near = nearest(ours, strange)
    return f"{ours}{_NEAREST}{near[0]}" if near else ours


def _period_of_series(names: Sequence[str], plain: Mapping[str, str]) -> str | None:
    """The column of periods of a table in FRED's format: one column per series, or one of values."""
    period = plain.get("observationdate") or plain.get("date")
    if period is None or len(names) < 2 or "" in plain:
        return None
    others = [name for name in names if name != period]
    if plain.keys() == {"date", "value"} or plain.keys() == {"observationdate", "value"}:
        return period
    prices = {each for aliases in _PRICES.values() for each in aliases}
    alike = all(_SERIES.fullmatch(name) for name in others) and prices.isdisjoint(map(str.lower, others))
    return period if alike and period in ("observation_date", "DATE") else None


def ticker_in(file: str) -> str | None:
    """The ticker at the start of a file's name; None if it does not look like one."""
    stem = os.path.basename(file).partition(".")[0]
    return stem.upper() if _PER_TICKER.fullmatch(stem) else None


def patterns(files: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """File names for settings, with the files that they match: similar files that differ in the ticker become one.

    Args:
        files: names of the columns of each file, by its name below the folder.

    """
    similar: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for file, names in files.items():
        similar.setdefault((os.path.splitext(file)[1].lower(), tuple(names)), []).append(file)
    matched: dict[str, list[str]] = {}
    for (_, names), group in similar.items():
        ending = _common_end(group)
        stems = [os.path.basename(file)[: -len(ending)] for file in group]
        by_ticker = len(group) > 1 and all(_PER_TICKER.fullmatch(stem) for stem in stems)
        if guessed(names, has_ticker=True).kind == "prices" and (by_ticker or _alone(names, stems)):
            folders = {os.path.dirname(file) for file in group}
            top = os.path.commonpath(folders)
            if len(folders) > 1:
                top = f"{top}/**" if top else "**"
            pattern = f"{top}/{{ticker}}{ending}" if top else f"{{ticker}}{ending}"
            # Files with other columns under similar names: the larger group gets the pattern.
            first, second = sorted((matched.get(pattern, []), group), key=len, reverse=True)
            matched |= {pattern: first} | {file: [file] for file in second}
        else:
            matched |= {file: [file] for file in group}
    return matched


def _alone(names: Sequence[str], stems: Sequence[str]) -> bool:
    """Whether a file without a ticker column is named by a ticker, like a download of one ticker."""
    return "ticker" not in guessed(names, has_ticker=False).columns and bool(_PER_TICKER.fullmatch(stems[0]))


def _common_end(files: Sequence[str]) -> str:
    """The common end of file names, from a separator on: `.us.txt`, `_data.csv`."""
    names = [os.path.basename(file) for file in files]
    if len(names) == 1:
        return names[0][names[0].index(".") :] if "." in names[0] else ""
    ends = itertools.takewhile(lambda signs: len(set(signs)) == 1, zip(*(name[::-1] for name in names), strict=False))
    end = "".join(signs[0] for signs in ends)[::-1]
    sign = re.search(r"[._ \-]", end)
    return end[sign.start() :] if sign else ""

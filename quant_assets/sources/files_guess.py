"""What a file probably is, and how its columns would be mapped, by the names of its columns alone.

Names are compared without capitals, spaces and signs. What the values say of it is in `files_evidence`.
"""

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

#: Names under which providers have our columns, the better ones first.
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
#: Which columns make a kind, in the order in which kinds are tried; one of `any` must be there.
_KINDS: tuple[tuple[str, Mapping[str, Sequence[str]], Sequence[str], Sequence[str]], ...] = (
    ("prices", _PRICES, ("date", "open", "high", "low", "close"), ()),
    ("fundamentals", _STATEMENTS, ("ticker", "period_end"), ("revenue", "net_income", "total_assets")),
    ("macro", _MACRO, ("series_id", "period", "value"), ()),
    ("rates", _RATES, ("date", "from", "to", "rate"), ()),
    ("membership", _MEMBERSHIP, ("ticker", "start_date", "end_date"), ()),
    ("securities", _SECURITIES, ("ticker", "sector"), ()),
)
#: How FRED names its series, in a table with a column for each of them.
_SERIES = re.compile(r"[A-Z][A-Z0-9_]*")
#: How many columns a message names.
_SHOWN = 8
_PER_TICKER = re.compile(r"[A-Za-z0-9^][A-Za-z0-9.^=\-]{0,9}")

Columns = dict[str, str | list[str]]


class Kind(NamedTuple):
    """Kind of a file (empty where none is likely), and the file's names of our columns."""

    kind: str
    columns: Columns


def guessed(names: Sequence[str], *, has_ticker: bool) -> Kind:
    """What a file with these columns is.

    Args:
        names: of its columns.
        has_ticker: whether its name tells the ticker.

    """
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(re.sub(r"[\W_]", "", name).lower(), name)
    for kind, aliases, needed, any_of in _KINDS:
        found: Columns = {}
        for ours, theirs in aliases.items():
            there = [plain[each] for each in theirs if each in plain and plain[each] not in found.values()]
            if there:
                found[ours] = there[0]
        if kind == "fundamentals" and "total_debt" not in found:
            debts = next(([plain[each] for each in both] for both in _DEBTS if set(both) <= plain.keys()), None)
            found |= {"total_debt": debts} if debts else {}
        if kind == "prices" and has_ticker:
            found.pop("ticker", None)
        if set(needed) <= found.keys() and (not any_of or set(any_of) & found.keys()):
            return Kind(kind, found)
    period = _period_of_series(names, plain)
    return Kind("", {}) if period is None else Kind("macro", {"period": period})


def said_unknown(names: Sequence[str]) -> str:
    """Why a file with these columns is of no kind, and what to do; a phrase."""
    plain = {re.sub(r"[\W_]", "", name).lower() for name in names}
    lacks = {kind: [ours for ours in needed if plain.isdisjoint(aliases[ours])] for kind, aliases, needed, _ in _KINDS}
    share = {kind: len(lacks[kind]) / len(needed) for kind, _, needed, _ in _KINDS}
    near = min(share, key=lambda kind: share[kind])
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    lacking = f"no name for {', '.join(lacks[near])}" if lacks[near] else "none of the figures"
    return (
        f"none of the kinds by its columns ({shown}); of {near} it has {lacking} that is known: where it is one, name "
        "its columns in an entry of yours (docs/files.md)"
    )


def _period_of_series(names: Sequence[str], plain: Mapping[str, str]) -> str | None:
    """The column of periods of a table as FRED has them: a column for each series, or one of values."""
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
    """The ticker that the name of one file begins with; None where that is like none."""
    stem = os.path.basename(file).partition(".")[0]
    return stem.upper() if _PER_TICKER.fullmatch(stem) else None


def patterns(files: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Names for settings, each with the files that it stands for: several of one kind by their tickers become one.

    Args:
        files: names of the columns of each file, by its name below the folder.

    """
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for file, names in files.items():
        alike.setdefault((os.path.splitext(file)[1].lower(), tuple(names)), []).append(file)
    found: dict[str, list[str]] = {}
    for (_, names), group in alike.items():
        ending = _common_end(group)
        stems = [os.path.basename(file)[: -len(ending)] for file in group]
        by_ticker = len(group) > 1 and all(_PER_TICKER.fullmatch(stem) for stem in stems)
        if guessed(names, has_ticker=True).kind == "prices" and (by_ticker or _alone(names, stems)):
            folders = {os.path.dirname(file) for file in group}
            top = os.path.commonpath(folders)
            if len(folders) > 1:
                top = f"{top}/**" if top else "**"
            pattern = f"{top}/{{ticker}}{ending}" if top else f"{{ticker}}{ending}"
            # Files with other columns under names alike: the larger group has the pattern.
            first, second = sorted((found.get(pattern, []), group), key=len, reverse=True)
            found |= {pattern: first} | {file: [file] for file in second}
        else:
            found |= {file: [file] for file in group}
    return found


def _alone(names: Sequence[str], stems: Sequence[str]) -> bool:
    """Whether one file without a column of tickers has one for a name, as a download of one ticker has."""
    return "ticker" not in guessed(names, has_ticker=False).columns and bool(_PER_TICKER.fullmatch(stems[0]))


def _common_end(files: Sequence[str]) -> str:
    """What all names of files end with, from a sign on: `.us.txt`, `_data.csv`."""
    names = [os.path.basename(file) for file in files]
    if len(names) == 1:
        return names[0][names[0].index(".") :] if "." in names[0] else ""
    ends = itertools.takewhile(lambda signs: len(set(signs)) == 1, zip(*(name[::-1] for name in names), strict=False))
    end = "".join(signs[0] for signs in ends)[::-1]
    sign = re.search(r"[._ \-]", end)
    return end[sign.start() :] if sign else ""

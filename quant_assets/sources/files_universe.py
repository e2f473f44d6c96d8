"""Index members and sectors of the `files` provider: from its files, or by rule without a file."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date

import polars as pl

from quant_assets.errors import SourceError, nearest
from quant_assets.market.calendar import first_session_from, sessions
from quant_assets.market.universe import listed, most_liquid
from quant_assets.settings.providers import FilesSettings, MemberRule, MembershipFile, PriceFile, SecuritiesFile
from quant_assets.settings.sectors import SECTORS
from quant_assets.settings.symbols import Rename
from quant_assets.sources.base import MEMBERSHIP
from quant_assets.sources.files_columns import MAPPING
from quant_assets.sources.files_reading import collect
from quant_assets.sources.files_report import SHOWN, FilesReport

Bars = Callable[[PriceFile, Sequence[str]], pl.LazyFrame]
Delistings = Callable[[Sequence[str], date], pl.DataFrame]

#: The start of a membership that always existed.
ALWAYS = date(1, 1, 1)


def membership_of(
    file: MembershipFile, rows: pl.DataFrame, report: FilesReport, *, strict: bool = True
) -> pl.DataFrame:
    """Intervals of membership, both ends included.

    Args:
        file: entry in the settings.
        rows: columns of `MEMBERSHIP` from the file.
        report: counts the rows that are left out.
        strict: whether impossible rows are an error; otherwise they are left out.

    Returns:
        The columns of `MEMBERSHIP`, sorted by ticker and start.

    Raises:
        SourceError: a row has no start, or ends before it starts; names the ticker.

    """
    name = file.file
    rows = report.leave_out(file, rows, pl.col("ticker").is_null(), "have no ticker", "start_date")
    if file.without_start == "always":
        rows = rows.with_columns(pl.col("start_date").fill_null(ALWAYS))
    without = rows.filter(pl.col("start_date").is_null()).sort("ticker", "end_date")
    if strict and len(without):
        row = without.row(0, named=True)
        raise SourceError(
            f"{name}: ticker {row['ticker']} (end_date {row['end_date'] or 'empty'}) is a member without a start_date, "
            f"as are {len(without) - 1} other rows; write the day, or set membership.without_start: always in "
            f"{MAPPING}, which makes them members from the beginning"
        )
    backwards = rows.filter(pl.col("end_date") < pl.col("start_date")).sort("ticker", "start_date")
    if strict and len(backwards):
        row = backwards.row(0, named=True)
        raise SourceError(
            f"{name}: the membership of ticker {row['ticker']} ends on {row['end_date']}, before it starts on "
            f"{row['start_date']}, as do {len(backwards) - 1} other rows; fix the file"
        )
    if not file.end_is_member:
        rows = rows.with_columns(pl.col("end_date").dt.offset_by("-1d"))
    empty = pl.col("end_date") < pl.col("start_date")
    rows = report.leave_out(file, rows, empty, "end on the day on which they start", "ticker", "start_date")
    return rows.drop_nulls("start_date").sort("ticker", "start_date", "end_date")


def sectors_of(
    file: SecuritiesFile,
    rows: pl.DataFrame,
    report: FilesReport,
    place_of: Callable[[Mapping[str, str]], str],
    *,
    strict: bool = True,
) -> pl.DataFrame:
    """Sector snapshots with our slugs.

    Args:
        file: entry in the settings.
        rows: `ticker`, `sector` and `known_at` from the file.
        report: counts the rows that are left out.
        place_of: the line of a row with some values, for messages.
        strict: whether two sectors of a ticker on a day are an error; otherwise the first by name counts.

    Returns:
        `ticker`, `sector`, `known_at`, sorted by ticker and day, which are unique.

    Raises:
        SourceError: a sector is not mapped, or a ticker has two on one day; names the ticker.

    """
    name = file.file
    what = "sector by their SIC code" if file.by_sic else "sector"
    for column, lacks in (("ticker", "ticker"), ("sector", what), ("known_at", "known_at")):
        rows = report.leave_out(file, rows, pl.col(column).is_null(), f"have no {lacks}", "ticker")
    if file.by_sic:
        file = file.model_copy(update={"sectors": {slug: slug for slug in SECTORS}})
    unknown = rows.filter(~pl.col("sector").is_in(list(file.sectors))).sort("ticker", "known_at")
    if len(unknown):
        row = unknown.row(0, named=True)
        line = place_of({"ticker": row["ticker"], "sector": row["sector"]})
        near = nearest(row["sector"], [*file.sectors, *(each.name for each in SECTORS.values())])
        others = sorted({*unknown["sector"]} - {row["sector"]})[:SHOWN]
        raise SourceError(
            f"{name}: {line}ticker {row['ticker']} has the unknown sector '{row['sector']}'; map it in {MAPPING}, or "
            f"correct it in the file (nearest: {', '.join(near or [each.name for each in SECTORS.values()])})"
            f"{'; unknown too: ' if others else ''}{', '.join(others)}"
        )
    rows = rows.with_columns(pl.col("sector").replace_strict(file.sectors, return_dtype=pl.String))
    rows = rows.unique().sort("ticker", "known_at", "sector")
    twice = rows.filter(~pl.struct("ticker", "known_at").is_unique())
    if strict and len(twice):
        ticker, day = twice.select("ticker", "known_at").row(0)
        both = twice.filter((pl.col("ticker") == ticker) & (pl.col("known_at") == day))["sector"].to_list()
        raise SourceError(f"{name}: ticker {ticker} is in {' and in '.join(both)} on {day}; fix the file")
    return rows.unique(["ticker", "known_at"], keep="first", maintain_order=True)


class MemberRules:
    """Membership by rule, without a file.

    Args:
        rule: of the settings.
        prices: the price files.
        renames: of companies.
        start: first day of the profile.
        currencies: returns `ticker`, `currency` of its prices.
        strict: whether months without tickers to rank are an error.

    """

    def __init__(
        self,
        rule: MemberRule,
        prices: Sequence[PriceFile],
        renames: Sequence[Rename],
        start: date,
        currencies: Callable[[], pl.DataFrame],
        *,
        strict: bool = True,
    ) -> None:
        self._rule = rule
        self._prices = prices
        self._renames = renames
        self._start = start
        self._currencies = currencies
        self._strict = strict

    def members(self, there: Iterable[str], bars: Bars, delistings: Delistings) -> pl.DataFrame:
        """Intervals of membership.

        Args:
            there: tickers of the price files.
            bars: returns a file's bars of companies, under the requested symbols.
            delistings: returns all delistings of tickers known by a day, including those before the profile.

        Returns:
            The columns of `MEMBERSHIP`, sorted by ticker and start.

        Raises:
            SourceError: see `_ranked`, for the most liquid tickers.

        """
        rule, files, renames = self._rule, self._prices, self._renames
        names = sorted({*there, *(each for rename in renames for each in (rename.old, rename.new))})
        names = [name for name in names if not rule.tickers or name in rule.tickers]
        frames = [pl.DataFrame(schema={"ticker": pl.String, "date": pl.Date, "place": pl.Int32})]
        for place, file in enumerate(files if names else ()):
            days = bars(file, names).filter(pl.col("date") >= first_session_from(date.min))
            frames.append(collect(days.select("ticker", "date", place=pl.lit(place, pl.Int32)), file.file))
        held = pl.concat(frames)
        if held.is_empty():
            return MEMBERSHIP.to_frame()
        newest: date = held["date"].max()  # type: ignore[assignment]
        last = max(newest, *(file.complete_through or newest for file in files))
        begun = [(rename.new, rename.since) for rename in renames]
        begins = pl.DataFrame(begun, {"ticker": pl.String, "since": pl.Date}, orient="row")
        trading = listed(held.select("ticker", "date"), delistings(names, last), begins)
        if rule.most_liquid is None:
            return trading
        volumes = self._ranked(held, names, last, bars)
        oldest: date = held["date"].min()  # type: ignore[assignment]
        return most_liquid(volumes, trading, rule.most_liquid, rule.liquidity_sessions, sessions(oldest, last))

    def _ranked(self, held: pl.DataFrame, names: Sequence[str], last: date, bars: Bars) -> pl.DataFrame:
        """`ticker`, `date`, `dollar_volume` from the best file with them, without total-return prices.

        Raises:
            SourceError: prices are in several currencies, or a complete month has only total-return prices.

        """
        own = self._currencies().filter(pl.col("ticker").is_in(names))
        several = own.group_by("currency").agg(pl.col("ticker").min()).sort("currency")
        if len(several) > 1:
            told = " and in ".join(f"{currency} ({ticker})" for currency, ticker in several.rows())
            raise SourceError(
                f"members.most_liquid compares close times volume, and prices are in {told}; choose tickers of one "
                f"currency with members.tickers or prices.where in {MAPPING}"
            )
        every = self._prices
        ranking = [place for place, file in enumerate(every) if file.adjustment != "total_return"]
        months = held.filter(pl.col("date").is_between(self._start, last.replace(day=1), closed="left")).with_columns(
            month=pl.col("date").dt.truncate("1mo"), ranks=pl.col("place").is_in(ranking)
        )
        lacking = months.filter(~pl.col("ranks").any().over("month")).sort("date", "place", "ticker")
        if self._strict and len(lacking):
            ticker, day, place, *_ = lacking.row(0)
            raise SourceError(
                f"members.most_liquid has only the prices of {every[place].file} for {day:%Y-%m} (ticker {ticker} "
                f"on {day}), which are total_return and contain later dividends; add a file of as_traded or "
                f"split_adjusted prices for that month, or name members in members.tickers of {MAPPING} and take "
                "most_liquid out"
            )
        volume = (pl.col("close") * pl.col("volume")).alias("dollar_volume")
        frames = []
        for place in ranking:
            rows = bars(every[place], names).select("ticker", "date", volume)
            frames.append(collect(rows, every[place].file).drop_nulls())
        return pl.concat(frames).unique(["ticker", "date"], keep="first", maintain_order=True)


def sectors_by_rule(sector: str | None, held: pl.DataFrame, membership: pl.DataFrame) -> pl.DataFrame:
    """Every ticker in one sector, known from its first bar on, or without bars from its membership on.

    Args:
        sector: slug; None without a rule.
        held: `ticker`, `first` (day of its first bar).
        membership: `MEMBERSHIP`.

    Returns:
        `ticker`, `sector`, `known_at`, sorted.

    """
    days = [held.select("ticker", known_at="first"), membership.select("ticker", known_at="start_date")]
    known = pl.concat(days).unique("ticker", keep="first", maintain_order=True).sort("ticker")
    return known.select("ticker", pl.lit(sector, pl.String).alias("sector"), "known_at").drop_nulls("sector")


def said_rules(settings: FilesSettings, *, without_price: list[str]) -> list[str]:
    """Sentences on the rules that replace files missing in the settings.

    Args:
        settings: of the files.
        without_price: tickers of `members.tickers` without prices.

    """
    sentences, rule = [], settings.members
    if settings.membership is None:
        who = f"the tickers of members.tickers ({len(rule.tickers)})" if rule.tickers else "every ticker with a price"
        if rule.most_liquid is not None:
            who = f"of {who} the {rule.most_liquid} with the largest dollar volume, chosen each month,"
        verb = "are members" if rule.tickers or rule.most_liquid is not None else "is a member"
        sentences.append(
            f"no membership file: {who} {verb}; companies that have left the price files are missing, and returns "
            "look better than they were"
        )
    adjusted = [file.file for file in settings.prices if file.adjustment == "total_return"]
    if rule.most_liquid is not None and adjusted:
        sentences.append(f"members.most_liquid: the total_return prices of {', '.join(adjusted)} are not ranked")
    if without_price:
        sentences.append(f"members.tickers: no price file has {', '.join(without_price)}")
    if settings.securities is None and settings.sector is not None:
        sentences.append(f"no securities file: every ticker is in sector '{settings.sector}' (files.sector)")
    elif settings.securities is None:
        sentences.append("no securities file and no files.sector: no ticker is in any sector's universe")
    elif settings.securities.by_sic:
        sentences.append(f"{settings.securities.file}: sectors come from SIC codes, an approximation of GICS")
    return sentences

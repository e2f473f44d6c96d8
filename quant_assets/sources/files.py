"""The `files` provider: Parquet or CSV files of the folder QUANT_DATA_DIR names, read by the mapping in the settings.

Which rows each question is answered with is here; which of them are good, and what follows from them, is decided in
`quant_assets.market`.
"""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import SourceError
from quant_assets.market import calendar
from quant_assets.market.panel import STALE_SESSIONS
from quant_assets.market.share_counts import spin_offs
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.settings.providers import FilesSettings, MacroFile, PriceFile
from quant_assets.sources.base import BARS, HELD, MACRO, MEMBERSHIP, SECTOR_SNAPSHOTS, STATEMENTS
from quant_assets.sources.files_delistings import (
    HeldDays,
    Silence,
    delistings_known,
    listed_delistings,
    told_sessions,
)
from quant_assets.sources.files_macro import observations
from quant_assets.sources.files_reading import MAPPING, Columns, File, collect, named, optional, scan
from quant_assets.sources.files_renames import (
    company_bars,
    company_snapshots,
    company_statements,
    refuse_lost,
    symbols_of_companies,
)
from quant_assets.sources.files_statements import statement_columns, versions
from quant_assets.sources.registry import Terms

_BAR = ("ticker", "date", "open", "high", "low", "close", "volume")
_EVENTS = ("dividend", "split_ratio")

#: The rows of a file, under our names, as they are to be read.
Rows = Callable[[File, pl.LazyFrame], pl.LazyFrame]


class FilesSource:
    """Prices, membership, sectors, statements and macro series from files.

    Small files are read once for each instance, prices lazily by ticker and date.

    Args:
        settings: which files there are and how they are read.
        data_dir: their folder.
        start: first day of the profile; delistings before it are left out.
        undated_after: days after the end of its period on which a statement without a day of publication counts as
            published.
        keep: keep the rows of all files in memory once they are decoded, for many readings of everything.

    Raises:
        SourceError: the folder is not set, missing or empty; later a file or column is missing or cannot be read.

    """

    name = "files"

    def __init__(
        self,
        settings: FilesSettings,
        data_dir: Path | None,
        start: date,
        *,
        undated_after: int = FundamentalSettings().default_publication_lag_days,
        keep: bool = False,
    ) -> None:
        wanted = ", ".join(sorted({file.file for file in settings.prices})) or f"the files of {MAPPING}"
        if data_dir is None:
            raise SourceError(f"QUANT_DATA_DIR is not set; set it to the folder that holds {wanted}")
        if not data_dir.is_dir():
            raise SourceError(
                f"the data folder {data_dir} does not exist; set QUANT_DATA_DIR to the folder that holds {wanted}"
            )
        if not any(data_dir.iterdir()):
            raise SourceError(
                f"the data folder {data_dir} is empty; put {wanted} there or set QUANT_DATA_DIR to another folder"
            )
        self._settings = settings
        self._folder = data_dir
        self._start = start
        self._undated_after = undated_after
        self._rows: Rows | None = None
        #: The files as they are: of an altered source, the one that it was made from.
        self._given = self
        self._kept: dict[object, pl.DataFrame] | None = {} if keep else None
        self._read: dict[int, pl.DataFrame] = {}
        self._sessions: dict[int, NDArray[np.datetime64]] = {}

    @classmethod
    def of(cls, settings: FilesSettings, terms: Terms) -> "FilesSource":
        """The provider of a profile, as `sources.registry` makes it."""
        return cls(settings, terms.data_dir, terms.start, undated_after=terms.undated_after)

    def keeping(self) -> "FilesSource":
        """The same files; their rows are kept in memory once they are decoded."""
        return FilesSource(self._settings, self._folder, self._start, undated_after=self._undated_after, keep=True)

    def altered(self, rows: Rows | None, start: date) -> "FilesSource":
        """The same files with other rows in place of theirs; what has been decoded is shared.

        The look-ahead audit reads them so.

        Args:
            rows: gives a file's rows, which may then be none. Of a price file it may be asked for some tickers' rows
                alone.
            start: first day of the profile.

        """
        made = FilesSource(self._settings, self._folder, start, undated_after=self._undated_after)
        made._rows, made._given, made._kept = rows, self._given, self._kept
        return made

    def sector_snapshots(self, through: date) -> pl.DataFrame:
        """Sector snapshots known by `through`, and each ticker's first one."""
        known = pl.col("ticker").is_first_distinct() | (pl.col("known_at") <= through)
        return self._snapshots.filter(known)

    def membership(self, through: date) -> pl.DataFrame:
        """Index membership; an end later than `through` is null."""
        ended = pl.when(pl.col("end_date") <= through).then("end_date")
        return self._membership.filter(pl.col("start_date") <= through).with_columns(end_date=ended)

    def bars(self, tickers: Sequence[str], start: date, through: date) -> pl.DataFrame:
        """Daily bars of all price files that have the tickers, as given.

        A file's place in the settings is its precedence. Repeated rows keep the order of the file.
        """
        found = [BARS.to_frame()]
        for precedence, file in enumerate(self._settings.prices):
            self._spans(precedence)  # refuses rows that no filter would ever show
            split = pl.col("split_ratio")
            found.append(
                collect(
                    self._scan_companies(file, tickers).filter(pl.col("date").is_between(start, through)), file.file
                )
                .with_columns(pl.lit(None, pl.Float64).alias(name) for name in _EVENTS if name not in file.columns)
                .with_columns(
                    split_ratio=pl.when(split == file.no_split).then(1.0).otherwise(split),
                    adjustment=pl.lit(file.adjustment),
                    provider=pl.lit(file.provider),
                    precedence=pl.lit(precedence, pl.Int32),
                )
                .select(list(BARS))
            )
        return pl.concat(found).sort("ticker", "date", "precedence", maintain_order=True)

    def held(self, tickers: Sequence[str], days: Sequence[date]) -> pl.DataFrame:
        """Which of the tickers have a bar on these days, by file."""
        found = [HELD.to_frame()]
        for file in self._settings.prices:
            there = self._scan_companies(file, tickers).filter(pl.col("date").is_in(list(days)))
            found.append(collect(there.select("ticker", "date", provider=pl.lit(file.provider)), file.file))
        return pl.concat(found).unique().sort(list(HELD))

    def delistings(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        """Delistings known by `through`: see `files_delistings`."""
        files = ", ".join(dict.fromkeys(file.file for file in self._settings.prices))
        there = {
            ticker for precedence in range(len(self._settings.prices)) for ticker in self._spans(precedence)["ticker"]
        }
        refuse_lost(self._settings.renames, tickers, there, through, files)
        names = sorted(set(tickers))
        silence = self._silence
        # A silence that was known before the profile starts is of no interest: it and the habits before it take twice
        # the longest silence at most. Histories may begin before the calendar, and before 1970.
        first = max(
            self._start - timedelta(days=30 + 3 * silence.another_company_after),
            calendar.first_session_from(date.min),
        )
        held = []
        for precedence, file in enumerate(self._settings.prices):
            days = (
                self._scan_companies(file, names)
                .filter(pl.col("date") >= first)
                .select(pl.col("ticker").cast(pl.Enum(names)).to_physical(), pl.col("date").to_physical())
            )
            held.append(HeldDays.of(collect(days, file.file), self._told(precedence)))
        listed = self._listed.filter(pl.col("ticker").is_in(names))
        known = delistings_known(names, held, self._settings.renames, silence, listed)
        return known.filter(pl.col("known_at").is_between(self._start, through))

    def statements(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        """Statements of all files; see `files_statements` for what counts as a version."""
        known = pl.coalesce("published", "period_end") <= through
        return self._statements.filter(pl.col("ticker").is_in(list(tickers)) & known)

    def spin_offs(self) -> pl.DataFrame:
        """The spin-offs that share counts are corrected for, see `market.share_counts`.

        Columns: `ticker` (the files' own), `day` and `ratio`.
        """
        return spin_offs(self._given._splits)

    def renames(self) -> list[set[str]]:
        """The old and the new symbol of each rename."""
        return [{each.old, each.new} for each in self._settings.renames]

    def macro(self, through: date) -> pl.DataFrame:
        """Observations of the series in the settings, each known its series' lag after the end of its period."""
        assumed = pl.col("period") + pl.duration(days="lag_days")
        return self._macro.filter(pl.coalesce("released", assumed) <= through)

    @cached_property
    def _snapshots(self) -> pl.DataFrame:
        file = self._settings.securities
        if file is None:
            return SECTOR_SNAPSHOTS.to_frame()
        frame = collect(self._scan(file, named(file.columns, ("ticker", "sector", "known_at"))), file.file).drop_nulls()
        unknown = frame.filter(~pl.col("sector").is_in(list(file.sectors))).sort("ticker", "known_at")
        if len(unknown):
            row = unknown.row(0, named=True)
            raise SourceError(
                f"{file.file}: ticker {row['ticker']} has the unknown sector '{row['sector']}'; map it in {MAPPING}"
            )
        frame = frame.with_columns(pl.col("sector").replace_strict(file.sectors))
        return company_snapshots(frame, self._symbols, self._settings.renames)

    @cached_property
    def _membership(self) -> pl.DataFrame:
        file = self._settings.membership
        if file is None:
            return MEMBERSHIP.to_frame()
        frame = collect(self._scan(file, named(file.columns, MEMBERSHIP)), file.file).drop_nulls(
            ["ticker", "start_date"]
        )
        if not file.end_is_member:
            frame = frame.with_columns(pl.col("end_date").dt.offset_by("-1d"))
        return frame.filter(pl.col("end_date").is_null() | (pl.col("end_date") >= pl.col("start_date"))).sort(
            "ticker", "start_date"
        )

    @cached_property
    def _statements(self) -> pl.DataFrame:
        """Statements of all files, a renamed company's under each of its symbols."""
        files = []
        for file in self._settings.fundamentals:
            given = collect(self._scan(file, statement_columns(file)), file.file)
            splits = self._given._splits if file.shares_as_of == "snapshot" else None
            files.append(versions(file, given, splits, self._undated_after))
        return company_statements(pl.concat([STATEMENTS.to_frame(), *files]), self._symbols, self._undated_after)

    @cached_property
    def _macro(self) -> pl.DataFrame:
        return pl.concat([MACRO.to_frame(), *map(self._observations, self._settings.macro)]).sort(
            "series_id", "period", "released"
        )

    def _observations(self, file: MacroFile) -> pl.DataFrame:
        columns = named(file.columns, ("series_id", "period", "value")) | optional(file.columns, ("released",))
        frame = collect(self._scan(file, columns).filter(pl.col("series_id").is_in(list(file.series))), file.file)
        absent = sorted(set(file.series) - set(frame["series_id"]))
        if absent and self._rows is None:
            raise SourceError(
                f"{file.file} has no series '{absent[0]}'; add it to the file or remove it from {MAPPING}"
            )
        return observations(file, frame)

    @cached_property
    def _splits(self) -> pl.DataFrame:
        """The splits of each day, from the best file with a bar of it.

        Columns: `ticker`, `day` of a split, its `ratio` and `so_far` (product of its splits).

        Best by precedence, not the longest: what a file goes on to say later must not change what is known of an
        earlier day, and files of adjusted prices give spin-offs as splits, which share counts do not reflect. An
        altered source takes those of the files as they are: a snapshot's counts contain the splits up to it, whatever
        is to be read of the prices.
        """
        files = {place: file for place, file in enumerate(self._settings.prices) if "split_ratio" in file.columns}
        schema = pl.Schema({"ticker": pl.String, "day": pl.Date, "ratio": pl.Float64, "so_far": pl.Float64})
        if not files:
            return schema.to_frame()
        events = pl.concat(
            collect(
                self._scan_prices(file).filter(
                    (pl.col("split_ratio") != file.no_split) & (pl.col("split_ratio") > 0.0)
                ),
                file.file,
            ).select("ticker", "date", "split_ratio", place=pl.lit(place))
            for place, file in files.items()
        )
        days = events.lazy().select("ticker", "date").unique()
        there = pl.concat(
            collect(
                self._scan_prices(file).join(days, on=["ticker", "date"]).select("ticker", "date", place=pl.lit(place)),
                file.file,
            )
            for place, file in files.items()
        )
        best = there.group_by("ticker", "date").agg(pl.col("place").min())
        return (
            events.join(best, on=["ticker", "date", "place"], how="semi")
            .sort("ticker", "date")
            .select("ticker", day="date", ratio="split_ratio", so_far=pl.col("split_ratio").cum_prod().over("ticker"))
        )

    def _told(self, precedence: int) -> NDArray[np.datetime64]:
        """Sessions on which a price file would have any ticker that traded, read once."""
        if precedence not in self._sessions:
            file = self._settings.prices[precedence]
            counts = self._scan_prices(file).group_by("date").agg(tickers=pl.len())
            last = self._given._last_day(precedence)
            complete = file.complete_through or self._last_day(precedence)
            self._sessions[precedence] = told_sessions(collect(counts, file.file), last, complete)
        return self._sessions[precedence]

    def _last_day(self, precedence: int) -> date:
        """Last day on which a price file has any bar; an altered one may have none, then the first of all days."""
        last: date | None = self._spans(precedence)["last"].max()  # type: ignore[assignment]
        return last or date.min

    def _spans(self, precedence: int) -> pl.DataFrame:
        """`ticker` and `last` (Date of its last bar) of a price file, read once."""
        if precedence not in self._read:
            file = self._settings.prices[precedence]
            days = pl.col("date")
            ends = collect(
                self._scan_prices(file).group_by("ticker").agg(last=days.max(), lost=days.null_count()), file.file
            )
            lost = ends.filter(pl.col("ticker").is_null() | (pl.col("lost") > 0))
            if len(lost):
                raise SourceError(
                    f"{file.file}: a row of ticker {lost['ticker'][0]} has no ticker or no date; remove it"
                )
            if ends.is_empty() and self._rows is None:
                raise SourceError(
                    f"{file.file} has no bars{f' where {file.where}' if file.where else ''}; mend the file or {MAPPING}"
                )
            self._read[precedence] = ends.select("ticker", "last")
        return self._read[precedence]

    def _scan_prices(self, file: PriceFile, tickers: Sequence[str] | None = None) -> pl.LazyFrame:
        """Bars of a file for these tickers, or all of them, by its own symbols, without those of `not_the_member`."""
        columns = named(file.columns, _BAR) | optional(file.columns, _EVENTS)
        scan = self._scan(file, columns, tickers)
        for symbol, span in file.not_the_member.items():
            strange = (pl.col("ticker") == symbol) & pl.col("date").is_between(span.first, span.last)
            scan = scan.filter(~strange.fill_null(False))  # a row without ticker or date is refused elsewhere
        return scan

    def _scan_companies(self, file: PriceFile, tickers: Sequence[str]) -> pl.LazyFrame:
        """Bars of a file for these tickers, a renamed company's under all its symbols."""
        symbols = self._symbols.filter(pl.col("asked").is_in(list(tickers)))
        plain = self._scan_prices(file, sorted(set(tickers) - set(symbols["asked"])))
        if symbols.is_empty():
            return plain
        return pl.concat([plain, company_bars(self._scan_prices(file, symbols["ticker"].unique().to_list()), symbols)])

    @cached_property
    def _symbols(self) -> pl.DataFrame:
        return symbols_of_companies(self._settings.renames, STALE_SESSIONS)

    @property
    def _silence(self) -> Silence:
        settings = self._settings
        return Silence(
            settings.delisted_after_sessions, settings.delisted_after_habit, settings.another_company_after_sessions
        )

    @cached_property
    def _listed(self) -> pl.DataFrame:
        """The delistings that the user gives, in a file or one by one."""
        file = self._settings.delistings
        if file is None:
            return listed_delistings(self._settings.delisted)
        columns = named(file.columns, ("ticker", "last_session")) | optional(file.columns, ("known_at", "reason"))
        return listed_delistings(self._settings.delisted, file, collect(self._scan(file, columns), file.file))

    def _scan(self, of: File, columns: Columns, tickers: Sequence[str] | None = None) -> pl.LazyFrame:
        """Our columns of a file, of these tickers' rows or of all; or what is to be read in place of its rows."""
        if self._kept is None:
            read = scan(self._folder, of, columns)
        else:
            place = (of.file, tuple(of.where.items()) if isinstance(of, PriceFile) else (), tuple(columns.items()))
            if place not in self._kept:
                self._kept[place] = collect(scan(self._folder, of, columns), of.file)
            read = self._kept[place].lazy()
        if tickers is not None:
            read = read.filter(pl.col("ticker").is_in(list(tickers)))
        return read if self._rows is None else self._rows(of, read)

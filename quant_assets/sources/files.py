"""The `files` provider: tables in the folder QUANT_DATA_DIR names, read by the mapping in the settings.

This module selects the rows of each answer; `quant_assets.market` judges and uses them.
"""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import SourceError
from quant_assets.market.calendar import first_session_from
from quant_assets.market.panel import STALE_SESSIONS
from quant_assets.market.share_counts import spin_offs
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.settings.providers import FilesSettings, FundamentalFile, NewsFile, PriceFile
from quant_assets.sources.base import BARS, CRYPTO, HELD, INDICES, MEMBERSHIP, STATEMENTS
from quant_assets.sources.files_bars import EVENTS, bars_of
from quant_assets.sources.files_closes import closes_of
from quant_assets.sources.files_columns import KINDS, MAPPING, Columns, File, named, optional
from quant_assets.sources.files_currency import currencies_of, in_price_currency, price_currencies
from quant_assets.sources.files_delistings import (
    HeldDays,
    Silence,
    as_told,
    delistings_known,
    given_delistings,
    told_sessions,
)
from quant_assets.sources.files_found import refuse_unusable
from quant_assets.sources.files_macro import macro_of
from quant_assets.sources.files_news import known_news, news_of
from quant_assets.sources.files_rates import Rates, rates_of
from quant_assets.sources.files_read import FileRead
from quant_assets.sources.files_reading import Reader, collect
from quant_assets.sources.files_renames import (
    company_bars,
    company_snapshots,
    company_statements,
    refuse_lost,
    symbols_of_companies,
)
from quant_assets.sources.files_report import FilesReport, naming_the_file, said_strangers, said_tickers, said_twins
from quant_assets.sources.files_spans import spans, tickers_by_day, told_through
from quant_assets.sources.files_splits import splits_of
from quant_assets.sources.files_statements import GivenStatements, statement_columns, together, versions
from quant_assets.sources.files_universe import MemberRules, membership_of, said_rules, sectors_by_rule, sectors_of
from quant_assets.sources.registry import Terms
from quant_assets.sources.sic import sector_of

_BAR = ("ticker", "date", "open", "high", "low", "close", "volume")

#: Replaces the rows of a file, under our names.
Rows = Callable[[File | NewsFile, pl.LazyFrame], pl.LazyFrame]


class FilesSource:
    """Prices, membership, sectors, statements, macro series, news, crypto-currencies and indices from files.

    Small files are read once per instance, prices lazily by ticker and date.

    Args:
        settings: the files and their formats.
        data_dir: their folder.
        start: first day of the profile; earlier delistings are left out.
        undated_after: days after the end of its period on which a statement without a day of publication counts as
            published.
        keep: cache the decoded rows of all files in memory, for many readings.
        mapping: the file of the settings, for messages.

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
        mapping: str = MAPPING,
    ) -> None:
        wanted = ", ".join(sorted({file.file for file in settings.prices})) or f"the files of {mapping}"
        if data_dir is None:
            raise SourceError(f"QUANT_DATA_DIR is not set; set it to the folder that holds {wanted}")
        refuse_unusable(data_dir, wanted)
        self._settings = settings
        self._folder = data_dir
        self._start = start
        self._undated_after = undated_after
        self._reader = Reader(data_dir)
        self.mapping = mapping
        self._report = FilesReport()
        self._rows: Rows | None = None
        #: The unaltered files: for an altered source, the one that it was created from.
        self._given = self
        self._kept: dict[object, pl.DataFrame] | None = {} if keep else None
        self._read: dict[int, pl.DataFrame] = {}
        self._sessions: dict[int, NDArray[np.datetime64]] = {}

    @classmethod
    def of(cls, settings: FilesSettings, terms: Terms) -> "FilesSource":
        """Create the provider of a profile, for `sources.registry`."""
        return cls(settings, terms.data_dir, terms.start, undated_after=terms.undated_after, mapping=terms.file)

    def keeping(self) -> "FilesSource":
        """The same files, with decoded rows cached in memory."""
        return self._again(self._start, keep=True)

    def _again(self, start: date, *, keep: bool) -> "FilesSource":
        """The same files from a day on; decoded texts are shared."""
        after, mapping = self._undated_after, self.mapping
        source = FilesSource(self._settings, self._folder, start, undated_after=after, keep=keep, mapping=mapping)
        source._reader = self._reader
        return source

    def __getstate__(self) -> dict[str, object]:
        """The arguments without cached rows: another process reads the files itself."""
        again = self._again(self._start, keep=self._kept is not None)
        return vars(again) | {"_reader": Reader(self._folder), "_rows": self._rows, "_given": self._given}

    def altered(self, rows: Rows | None, start: date) -> "FilesSource":
        """The same files with replaced rows; decoded texts are shared.

        The look-ahead audit uses this.

        Args:
            rows: returns a file's rows, possibly none. For a price file it may get the rows of some tickers only.
            start: first day of the profile.

        """
        source = self._again(start, keep=False)
        source._rows, source._given, source._kept = rows, self._given, self._kept
        return source

    def told(self) -> list[FileRead]:
        """The texts read so far: format, number of rows, and refused rows by reason."""
        return self._reader.told()

    @naming_the_file
    def left_out(self, *kinds: str) -> list[str]:
        """Rows that are not used, rules in place of files, and doubtful tickers; see `base.Reporting`."""
        asked, members = set(kinds or KINDS.values()), self._settings.members.tickers
        rules, cases = [], []
        if "membership" in asked:
            without = sorted(set(members) - set(self._membership["ticker"]))
            rules = said_rules(self._settings, without_price=without)
        if "prices" in asked:
            statements = [self._statements] if "fundamentals" in asked else []
            every = [self._held_from, self._membership, self._snapshots, *statements]
            cases = said_tickers(self._settings.securities, *(each["ticker"] for each in every))
            for place, file in enumerate(self._settings.prices):
                cases += said_twins(file, self._spans(place), self._scan_prices(file), self.renames())
        if "fundamentals" in asked:
            cases += said_strangers(self._statements, self._held_from["ticker"])
        return [*rules, *(each.sentence for each in self._report.left_out() if each.kind in asked), *cases]

    @naming_the_file
    def sector_snapshots(self, through: date) -> pl.DataFrame:
        """Sector snapshots known by `through`, and each ticker's first one."""
        known = pl.col("ticker").is_first_distinct() | (pl.col("known_at") <= through)
        return self._snapshots.filter(known)

    @naming_the_file
    def membership(self, through: date) -> pl.DataFrame:
        """Index membership; an end later than `through` is null."""
        ended = pl.when(pl.col("end_date") <= through).then("end_date")
        return self._membership.filter(pl.col("start_date") <= through).with_columns(end_date=ended)

    @naming_the_file
    def bars(self, tickers: Sequence[str], start: date, through: date) -> pl.DataFrame:
        """Daily bars of the tickers from all price files, as given.

        A file's position in the settings is its precedence. Repeated rows keep the order of the file.
        """
        frames = [BARS.to_frame()]
        for precedence, file in enumerate(self._settings.prices):
            self._spans(precedence)  # raises errors of rows that no filter selects
            rows = self._scan_companies(file, tickers).filter(pl.col("date").is_between(start, through))
            frames.append(bars_of(file, collect(rows, file.file), precedence))
        return pl.concat(frames).sort("ticker", "date", "precedence", maintain_order=True)

    @naming_the_file
    def held(self, tickers: Sequence[str], days: Sequence[date]) -> pl.DataFrame:
        """Existing bars of the tickers on these days, by file."""
        frames = [HELD.to_frame()]
        for file in self._settings.prices:
            rows = self._scan_companies(file, tickers).filter(pl.col("date").is_in(list(days)))
            frames.append(collect(rows.select("ticker", "date", provider=pl.lit(file.provider)), file.file))
        return pl.concat(frames).unique().sort(list(HELD))

    @naming_the_file
    def delistings(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        """Delistings known by `through`: see `files_delistings`."""
        # Earlier bars do not matter: a silence and the habits before it take twice the longest silence at most.
        before = timedelta(days=30 + 3 * self._settings.another_company_after_sessions)
        return self._delistings(tickers, through, self._start - before).filter(pl.col("known_at") >= self._start)

    def _delistings(self, tickers: Sequence[str], through: date, since: date = date.min) -> pl.DataFrame:
        """Delistings known by `through`, from bars since `since` and from the user's list."""
        files = ", ".join(dict.fromkeys(file.file for file in self._settings.prices))
        refuse_lost(self._settings.renames, tickers, set(self._held_from["ticker"]), through, files)
        names = sorted(set(tickers))
        held = []
        for precedence, file in enumerate(self._settings.prices):
            days = (
                self._scan_companies(file, names)
                .filter(pl.col("date") >= first_session_from(since))  # histories may begin before it, and before 1970
                .select(pl.col("ticker").cast(pl.Enum(names)).to_physical(), pl.col("date").to_physical())
            )
            held.append(HeldDays.of(collect(days, file.file), self._told(precedence)))
        listed = self._listed.filter(pl.col("ticker").is_in(names))
        sessions, habit = self._settings.delisted_after_sessions, self._settings.delisted_after_habit
        silence = Silence(sessions, habit, self._settings.another_company_after_sessions)
        known = delistings_known(names, held, self._settings.renames, silence, listed)
        known = as_told(known, listed, told_through(self._settings.prices, self._spans, self._scan))
        return known.filter(pl.col("known_at") <= through)

    @naming_the_file
    def statements(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        """Statements of all files; see `files_statements` for what counts as a version."""
        known = pl.coalesce("published", "period_end") <= through
        return self._statements.filter(pl.col("ticker").is_in(list(tickers)) & known)

    def spin_offs(self) -> pl.DataFrame:
        """Spin-offs that share counts are corrected for: `ticker` (the files' own), `day`, `ratio`."""
        return spin_offs(self._given._splits)

    def renames(self) -> list[set[str]]:
        """The old and the new symbol of each rename."""
        return [{each.old, each.new} for each in self._settings.renames]

    @naming_the_file
    def macro(self, through: date) -> pl.DataFrame:
        """Observations of the series in the settings, each known its series' lag after the end of its period."""
        assumed = pl.col("period") + pl.duration(days="lag_days")
        return self._macro.filter(pl.coalesce("released", assumed) <= through)

    def news(self, tickers: Sequence[str], start: date, through: date) -> pl.DataFrame:
        """News of the file in the settings, including items without a company."""
        file = self._settings.news
        own = self._news if file is None or self._rows is None else self._rows(file, self._news.lazy()).collect()
        return known_news(own, tickers, start, through)

    @naming_the_file
    def crypto(self, through: date) -> pl.DataFrame:
        """Closes of the file in the settings."""
        found = closes_of(self._settings.crypto, CRYPTO, self._scan, strict=self._rows is None)
        return found.filter(pl.col("date") < through)

    @naming_the_file
    def indices(self, through: date) -> pl.DataFrame:
        """Closes of the indices and funds of the file in the settings."""
        found = closes_of(self._settings.indices, INDICES, self._scan, strict=self._rows is None)
        return found.filter(pl.col("date") <= through)

    @cached_property
    def _news(self) -> pl.DataFrame:
        return news_of(self._settings.news, self._folder)

    @cached_property
    def _snapshots(self) -> pl.DataFrame:
        file = self._settings.securities
        if file is None:
            frame = sectors_by_rule(self._settings.sector, self._held_from, self._membership)
        else:
            told = "sic" if file.by_sic else "sector"
            scanned = self._scan(file, named(file.columns, ("ticker", told, "known_at")))
            place_of = partial(self._reader.place_of, file)
            frame = sectors_of(file, collect(scanned, file.file), self._report, place_of, strict=self._rows is None)
        return company_snapshots(frame, self._symbols, self._settings.renames)

    @cached_property
    def _membership(self) -> pl.DataFrame:
        file = self._settings.membership
        if file is None:
            currencies, strict = (lambda: self._given._price_currencies), self._rows is None
            rule, prices, renames = self._settings.members, self._settings.prices, self._settings.renames
            rules = MemberRules(rule, prices, renames, self._start, currencies, strict=strict)
            return rules.members(self._held_from["ticker"], self._scan_companies, self._delistings)
        frame = collect(self._scan(file, named(file.columns, MEMBERSHIP)), file.file)
        return membership_of(file, frame, self._report, strict=self._rows is None)

    @cached_property
    def _statements(self) -> pl.DataFrame:
        """Statements of all files, a renamed company's under each of its symbols."""
        files = []
        self._report.fundamentals = self._settings.fundamentals
        for group in together(self._settings.fundamentals):
            given = [GivenStatements(file, self._in_price_currency(file)) for file in group]
            splits = self._given._splits if group[0].shares_as_of == "snapshot" else None
            files.append(versions(given, splits, self._undated_after, self._report, strict=self._rows is None))
        return company_statements(pl.concat([STATEMENTS.to_frame(), *files]), self._symbols, self._undated_after)

    def _in_price_currency(self, file: FundamentalFile) -> pl.DataFrame:
        rows = collect(self._scan(file, statement_columns(file)), file.file)
        prices, usual = self._given._price_currencies, self._settings.currency
        return in_price_currency(file, rows, prices, usual, lambda: self._rates, self._report)

    @cached_property
    def _rates(self) -> Rates | None:
        file = self._settings.rates
        if file is None:
            return None
        rows = collect(self._scan(file, named(file.columns, ("date", "from", "to", "rate"))), file.file)
        return rates_of(file, rows, strict=self._rows is None)

    @cached_property
    def _price_currencies(self) -> pl.DataFrame:
        found, usual = {}, self._settings.currency
        for place, file in enumerate(self._settings.prices):
            told = named(file.columns, ("ticker", "date", "currency")) if "currency" in file.columns else None
            rows = self._spans(place).lazy() if told is None else self._scan(file, told)
            found[file.provider] = collect(currencies_of(file, rows, usual), file.file)
        return price_currencies(found, strict=self._rows is None)

    @cached_property
    def _macro(self) -> pl.DataFrame:
        return macro_of(self._settings.macro, self._scan, strict=self._rows is None)

    @cached_property
    def _splits(self) -> pl.DataFrame:
        """The splits of each day; of an altered source those of the files as they are, see `files_splits`."""
        return splits_of(self._settings.prices, self._scan_prices)

    def _told(self, precedence: int) -> NDArray[np.datetime64]:
        """Sessions on which a price file would have any ticker that traded, read once."""
        if precedence not in self._sessions:
            file = self._settings.prices[precedence]
            last, complete = self._given._last_day(precedence), file.complete_through or self._last_day(precedence)
            counts = tickers_by_day(file, self._scan_prices(file))
            self._sessions[precedence] = told_sessions(counts, last, complete)
        return self._sessions[precedence]

    def _last_day(self, precedence: int) -> date:
        """Last day on which a price file has any bar; an altered one may have none, then the first of all days."""
        last: date | None = self._spans(precedence)["last"].max()  # type: ignore[assignment]
        return last or date.min

    @cached_property
    def _held_from(self) -> pl.DataFrame:
        """`ticker` and `first` (Date of its first bar in any price file), sorted."""
        found = [self._spans(place).select("ticker", "first") for place in range(len(self._settings.prices))]
        schema = pl.Schema({"ticker": pl.String, "first": pl.Date})
        return pl.concat([schema.to_frame(), *found]).group_by("ticker").agg(pl.col("first").min()).sort("ticker")

    def _spans(self, precedence: int) -> pl.DataFrame:
        """`ticker`, `first` and `last` (Date of its first and last bar) of a price file, read once."""
        if precedence not in self._read:
            file = self._settings.prices[precedence]
            self._read[precedence] = spans(file, self._scan_prices(file), strict=self._rows is None)
        return self._read[precedence]

    def _scan_prices(self, file: PriceFile, tickers: Sequence[str] | None = None) -> pl.LazyFrame:
        """Bars of a file for these tickers, or for all, by its own symbols."""
        columns = named(file.columns, _BAR) | optional(file.columns, (*EVENTS, "adjusted_close"))
        return self._scan(file, columns, tickers)

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

    @cached_property
    def _listed(self) -> pl.DataFrame:
        """The user's delistings, from a file or the settings."""
        return given_delistings(self._settings.delisted, self._settings.delistings, self._scan)

    def _scan(self, of: File, columns: Columns, tickers: Sequence[str] | None = None) -> pl.LazyFrame:
        """Our columns of a file, for these tickers or all; or the rows that replace them."""
        if self._kept is None:
            read = self._reader.scan(of, columns)
        else:
            # By entry, not by file: the rows also depend on `where`, spans and adjustment.
            place = (id(of), tuple(columns.items()))
            if place not in self._kept:
                self._kept[place] = collect(self._reader.scan(of, columns), of.file)
            read = self._kept[place].lazy()
        if tickers is not None:
            read = read.filter(pl.col("ticker").is_in(list(tickers)))
        if "sic" in columns:
            read = read.with_columns(sector=sector_of("sic")).drop("sic")
        return read if self._rows is None else self._rows(of, read)

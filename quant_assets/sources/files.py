"""The `files` provider: Parquet or CSV files of the folder that QUANT_DATA_DIR names, read by the mapping in the settings.

How rows are read is here; which of them are good, and what follows from them, is decided in `quant_assets.market`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import SourceError
from quant_assets.market import calendar
from quant_assets.market.share_counts import spin_off_correction, spin_offs
from quant_assets.settings import FilesSettings, FundamentalFile, MacroFile, MacroSeries, MembershipFile, PriceFile, SecuritiesFile
from quant_assets.sources.base import BARS, DELISTINGS, HELD, MACRO, MEMBERSHIP, SECTOR_SNAPSHOTS, STATEMENTS

_MAPPING = "conf/profiles/files.yaml"
_TEXT = ("ticker", "sector", "series_id", "form", "company")
_DAYS = ("date", "start_date", "end_date", "known_at", "period", "released", "period_end", "published", "snapshot", "restated_on")
_BAR = ("ticker", "date", "open", "high", "low", "close", "volume")
_EVENTS = ("dividend", "split_ratio")
_FIGURES = ("revenue", "gross_profit", "operating_income", "net_income", "total_assets", "total_equity", "total_debt", "shares")
_PERIOD = ("ticker", "period_end", "frequency")

Columns = Mapping[str, str | tuple[str, ...]]
File = PriceFile | MembershipFile | SecuritiesFile | FundamentalFile | MacroFile

#: The rows of a file, under our names, as they are to be read.
Rows = Callable[[File, pl.LazyFrame], pl.LazyFrame]


class FilesSource:
    """Prices, membership, sectors, statements and macro series from files.

    Small files are read once for each instance, prices lazily by ticker and date.

    Args:
        settings: which files there are and how they are read.
        data_dir: their folder.
        start: first day of the profile; delistings before it are left out.
        keep: keep the rows of all files in memory once they are decoded, for many readings of everything.

    Raises:
        SourceError: the folder is not set, missing or empty; later a file or column is missing or cannot be read.

    """

    name = "files"

    def __init__(self, settings: FilesSettings, data_dir: Path | None, start: date, *, keep: bool = False) -> None:
        wanted = ", ".join(sorted({file.file for file in settings.prices})) or f"the files of {_MAPPING}"
        if data_dir is None:
            raise SourceError(f"QUANT_DATA_DIR is not set; set it to the folder that holds {wanted}")
        if not data_dir.is_dir():
            raise SourceError(f"the data folder {data_dir} does not exist; set QUANT_DATA_DIR to the folder that holds {wanted}")
        if not any(data_dir.iterdir()):
            raise SourceError(f"the data folder {data_dir} is empty; put {wanted} there or set QUANT_DATA_DIR to another folder")
        self._settings = settings
        self._folder = data_dir
        self._start = start
        self._rows: Rows | None = None
        #: The files as they are: of an altered source, the one that it was made from.
        self._given = self
        self._kept: dict[object, pl.DataFrame] | None = {} if keep else None
        self._read: dict[int, pl.DataFrame] = {}

    def altered(self, rows: Rows | None, start: date) -> "FilesSource":
        """The same files with other rows in place of theirs; what has been decoded is shared. The look-ahead audit reads them so.

        Args:
            rows: gives a file's rows, which may then be none. Of a price file it may be asked for some tickers' rows alone.
            start: first day of the profile.

        """
        made = FilesSource(self._settings, self._folder, start)
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
                _collect(self._scan_companies(file, tickers).filter(pl.col("date").is_between(start, through)), file.file)
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
            found.append(_collect(there.select("ticker", "date", provider=pl.lit(file.provider)), file.file))
        return pl.concat(found).unique().sort(list(HELD))

    def delistings(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        """Tickers without a bar in any file for `delisted_after_sessions` sessions, while a file that had the last one is complete.

        A ticker that trades again after such a gap counts as delisted in it all the same: at the time, nobody knew that it would.
        A symbol that its company gave up ends with the rename, and is known to from then on.
        """
        self._refuse_lost(tickers, through)
        ends = pl.DataFrame(
            [(each.old, each.since, each.new) for each in self._settings.renames],
            {"ticker": pl.String, "on": pl.Date, "new": pl.String},
            orient="row",
        )
        sessions, bars = self._around_gaps(tickers, ends["ticker"].to_list())
        if bars.is_empty():
            return DELISTINGS.to_frame()
        known = pl.col("position") + self._settings.delisted_after_sessions
        bar_after = pl.col("next_position")
        given_up = pl.Series(np.searchsorted(sessions, ends["on"].to_numpy().astype("datetime64[D]")))
        bars = bars.join(ends.with_columns(given_up=given_up), on="ticker", how="left", maintain_order="left")
        renamed = (
            (pl.col("date") < pl.col("on")) & (pl.col("given_up") <= known) & (bar_after.is_null() | (bar_after >= pl.col("given_up")))
        )
        renamed = renamed.fill_null(False)
        silent = (bar_after.is_null() | (bar_after > known)) & ~renamed
        gaps = bars.with_columns(
            known=pl.when(renamed).then("given_up").when(silent).then(known),
            reason=pl.when(renamed).then(pl.lit("renamed")),
            successor=pl.when(renamed).then("new"),
        ).filter(pl.col("known") < len(sessions))
        every = pl.Series(sessions, dtype=pl.Date)
        gaps = gaps.with_columns(last_session=every.gather(gaps["position"]), known_at=every.gather(gaps["known"]))
        heard = (pl.col("known_at") <= pl.col("complete")) | pl.col("reason").is_not_null()
        return gaps.filter(heard & pl.col("known_at").is_between(self._start, through)).select(list(DELISTINGS))

    def _around_gaps(self, tickers: Sequence[str], all_of: Sequence[str]) -> tuple[NDArray[np.datetime64], pl.DataFrame]:
        """The last bar of each ticker in any file before a gap or the end of the files, and every bar of the tickers `all_of`.

        Returns:
            Sessions of the files, of shape (n_sessions,), and `ticker`, `date`, `position` among the sessions, `next_position` of the
            ticker's next bar (null where there is none) and `complete`, until when a file that has the bar is; sorted by ticker and date.

        """
        names = sorted(set(tickers))
        # A gap that was known before the profile starts is of no interest; longer histories begin before the calendar, and before 1970.
        first = self._start - timedelta(days=30 + 2 * self._settings.delisted_after_sessions)
        found, until = [], []
        for precedence, file in enumerate(self._settings.prices):
            days = (
                self._scan_companies(file, names)
                .filter(pl.col("date") >= first)
                .select(pl.col("ticker").cast(pl.Enum(names)).to_physical(), pl.col("date").to_physical())
            )
            rows = _collect(days, file.file)
            # Numbers instead of pairs: they are sorted in a tenth of the time.
            found.append(np.sort(rows["ticker"].to_numpy().astype(np.int64) * 2**32 + rows["date"].to_numpy()))
            until.append(np.datetime64(file.complete_through or self._last_day(precedence)))
        bars = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *found]), kind="stable")
        bars = bars[np.diff(bars, prepend=-1) > 0]  # np.unique hashes, which takes twenty times as long
        if not len(bars):
            return np.empty(0, dtype="datetime64[D]"), pl.DataFrame()
        ticker, date_ = bars >> 32, (bars & (2**32 - 1)).astype("datetime64[D]")
        sessions = calendar.sessions(calendar.last_session_to(date_.min().item()), max(date_.max(), *until).item())
        position = np.searchsorted(sessions, date_, side="right") - 1
        same = np.append(ticker[1:] == ticker[:-1], False)
        after = np.append(position[1:], -1)
        gap = ~same | (after > position + self._settings.delisted_after_sessions)
        chosen = np.flatnonzero(gap | np.isin(ticker, [place for place, name in enumerate(names) if name in all_of]))
        complete = np.full(len(chosen), np.datetime64(date.min))
        for held, day in zip(found, until, strict=True):
            there = np.searchsorted(held, bars[chosen], side="right") > np.searchsorted(held, bars[chosen])
            complete = np.where(there, np.maximum(complete, day), complete)
        return sessions, pl.DataFrame(
            {
                "ticker": pl.Series(names).gather(ticker[chosen]),
                "date": pl.Series(date_[chosen], dtype=pl.Date),
                "position": position[chosen],
                "next_position": pl.Series(np.where(same, after, -1)[chosen]).replace(-1, None),
                "complete": pl.Series(complete, dtype=pl.Date),
            }
        )

    def statements(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        """Statements of all files; see `_versions` for what counts as a version."""
        known = pl.coalesce("published", "period_end") <= through
        return self._statements.filter(pl.col("ticker").is_in(list(tickers)) & known)

    def spin_offs(self) -> pl.DataFrame:
        """`ticker` (the files' own), `day` and `ratio` of the spin-offs that share counts are corrected for, see `market.share_counts`."""
        return spin_offs(self._split_ratios)

    def macro(self, through: date) -> pl.DataFrame:
        """Observations of the series in the settings, each known its series' lag after the end of its period."""
        assumed = pl.col("period") + pl.duration(days="lag_days")
        return self._macro.filter(pl.coalesce("released", assumed) <= through)

    @cached_property
    def _snapshots(self) -> pl.DataFrame:
        file = self._settings.securities
        if file is None:
            return SECTOR_SNAPSHOTS.to_frame()
        frame = _collect(self._scan(file, _named(file.columns, ("ticker", "sector", "known_at"))), file.file).drop_nulls()
        unknown = frame.filter(~pl.col("sector").is_in(list(file.sectors))).sort("ticker", "known_at")
        if len(unknown):
            row = unknown.row(0, named=True)
            raise SourceError(f"{file.file}: ticker {row['ticker']} has the unknown sector '{row['sector']}'; map it in {_MAPPING}")
        first = pl.col("known_at") == pl.col("known_at").min().over("asked")
        known = (pl.col("known_at") >= pl.col("first")) & ((pl.col("known_at") <= pl.col("last")) | first)
        plain, others = self._under_other_symbols(frame, known)
        others = others.filter(pl.col("place") == pl.col("place").min().over("ticker", "known_at"))  # the symbol then
        companies = pl.concat([plain, others.select(plain.columns)])
        begins = pl.DataFrame(
            [(each.new, each.since) for each in self._settings.renames], {"ticker": pl.String, "since": pl.Date}, orient="row"
        )
        return (
            companies.with_columns(pl.col("sector").replace_strict(file.sectors))
            .join(begins, on="ticker", how="left", maintain_order="left")
            .sort("ticker", "known_at", maintain_order=True)
        )

    @cached_property
    def _membership(self) -> pl.DataFrame:
        file = self._settings.membership
        if file is None:
            return MEMBERSHIP.to_frame()
        frame = _collect(self._scan(file, _named(file.columns, MEMBERSHIP)), file.file).drop_nulls(["ticker", "start_date"])
        if not file.end_is_member:
            frame = frame.with_columns(pl.col("end_date").dt.offset_by("-1d"))
        return frame.filter(pl.col("end_date").is_null() | (pl.col("end_date") >= pl.col("start_date"))).sort("ticker", "start_date")

    @cached_property
    def _statements(self) -> pl.DataFrame:
        """Statements of all files, a renamed company's under each of its symbols.

        While the company used a symbol and statements under it had come before, none under a later symbol is its own: that was another
        company's then. Of two statements of a period the one under the earlier symbol counts from its publication on.
        """
        rows = pl.concat([STATEMENTS.to_frame(), *(self._versions(file) for file in self._settings.fundamentals)])
        plain, others = self._under_other_symbols(rows, pl.coalesce("published", "period_end").is_between("first", "last"))
        series, period = ["ticker", "provider", "frequency"], ["period_end", "frequency", "provider"]
        others = others.with_row_index()
        used = others.group_by(*series, before="place", until="last").agg(since=pl.col("published").min())
        strange = others.join(used, on=series).filter(pl.col("before") < pl.col("place"), pl.col("published").is_between("since", "until"))
        counting = pl.col("place") == pl.col("place").cum_min().over("ticker", *period)
        others = others.join(strange, on="index", how="anti").sort("published", "place", nulls_last=True).filter(counting)
        companies = pl.concat(
            [plain.with_columns(place=0).select(*plain.columns, pl.col("place").cast(pl.Int64)), others.select(*plain.columns, "place")]
        )
        companies = companies.sort("ticker", *period, "place", "version", descending=[False] * 4 + [True, False]).drop("place")
        return companies.with_columns(version=pl.int_range(pl.len(), dtype=pl.Int32).over("ticker", *period))

    @cached_property
    def _macro(self) -> pl.DataFrame:
        return pl.concat([MACRO.to_frame(), *map(self._observations, self._settings.macro)]).sort("series_id", "period", "released")

    def _observations(self, file: MacroFile) -> pl.DataFrame:
        """Observations of one file; of several releases of a period, those that changed its value."""
        columns = _named(file.columns, ("series_id", "period", "value")) | _optional(file.columns, ("released",))
        frame = _collect(self._scan(file, columns).filter(pl.col("series_id").is_in(list(file.series))), file.file)
        absent = sorted(set(file.series) - set(frame["series_id"]))
        if absent and self._rows is None:
            raise SourceError(f"{file.file} has no series '{absent[0]}'; add it to the file or remove it from {_MAPPING}")
        frame = frame.drop_nulls(["period", "value"]).with_columns(
            frequency=pl.col("series_id").replace_strict(_of_series(file.series, "frequency")),
            lag=pl.col("series_id").replace_strict(_of_series(file.series, "lag_days")),
            released=pl.col("released") if "released" in columns else pl.lit(None, pl.Date),
        )
        lasts = (last_day_of("period", pl.col("frequency")) - pl.col("period")).dt.total_days()
        return (
            frame.with_columns(
                lag_days=(lasts + pl.col("lag")).cast(pl.Int32), released=last_day_of("released", pl.lit(file.vintage)).cast(pl.Date)
            )
            .sort("series_id", "period", "released")
            .filter(pl.col("value").ne_missing(pl.col("value").shift().over("series_id", "period")))
            .select(list(MACRO))
        )

    def _versions(self, file: FundamentalFile) -> pl.DataFrame:
        """Statements of one file with the versions of each period numbered.

        - A day of publication on or before the end of the period is a mistake and counts as unknown.
        - The statements of a period's first vintage (the snapshot, else the filing) became known when they were published, those of a
          later one with it.
        - Of several companies under one ticker, the one whose own symbol is the ticker counts once it has been heard of for the period
          or in the vintage, until then whichever is there.
        - Of several statements of one period and vintage (a subsidiary files under its parent's ticker, a row is half empty), the
          complete one with the largest balance sheet counts, of those that were known.
        - A version is a statement whose figures differ from those that counted before.
        - Share counts that reflect the splits up to the snapshot are taken back to the publication.
        """
        optional = _optional(file.columns, ("form", "snapshot", "company", "restated_on", *_FIGURES))
        frame = _collect(self._scan(file, _named(file.columns, ("ticker", "period_end", "published")) | optional), file.file)
        frame = frame.drop_nulls(["ticker", "period_end"]).with_columns(
            *(pl.lit(None, pl.Float64).alias(name) for name in _FIGURES if name not in optional),
            frequency=pl.col("form").replace_strict(file.forms, default=None) if file.forms else pl.lit(file.frequency),
            vintage=pl.col("snapshot" if "snapshot" in optional else "published"),
            company="company" if "company" in optional else "ticker",
            published=pl.when(pl.col("published") > pl.col("period_end")).then("published"),
            restated_on=pl.col("restated_on") if "restated_on" in optional else pl.lit(None, pl.Date),
        )
        first_vintage = pl.col("vintage") == pl.col("vintage").min().over(_PERIOD)
        own_heard = pl.when("own").then("heard").min()
        of_another = (own_heard.over(_PERIOD) <= pl.col("heard")) | (own_heard.over("ticker", "vintage") <= pl.col("heard"))
        vintage = [*_PERIOD, "vintage"]
        frame = (
            frame.filter(pl.any_horizontal(pl.col(_FIGURES).is_not_null()) & pl.col("frequency").is_not_null())
            .with_columns(shares=pl.when(pl.col("shares") > 0.0).then("shares"), own=pl.col("company") == pl.col("ticker"))
            .with_columns(heard=pl.when(first_vintage).then("published").otherwise("vintage"), as_published=first_vintage)
            .filter(pl.col("own") | ~of_another.fill_null(False))
            .with_columns(complete=pl.all_horizontal(pl.col("revenue", "net_income").is_not_null()))
            .sort(
                *vintage,
                "own",
                "complete",
                "total_assets",
                "published",
                descending=[False] * 4 + [True, True, True, False],
                nulls_last=True,
                maintain_order=True,
            )
            .with_columns(place=pl.int_range(pl.len()).over(vintage))
            .sort(*vintage, "heard", "place", nulls_last=True)
            .filter(pl.col("place") == pl.col("place").cum_min().over(vintage))
        )
        frame = frame.with_columns(shares_then=self._shares_at_publication(frame) if file.shares_as_of == "snapshot" else "shares")
        compared = [name for name in _FIGURES if name != "shares"]
        same_shares = ((pl.col("shares_then") / pl.col("shares_then").shift()).over(_PERIOD) - 1.0).abs() < 1e-6
        same = pl.all_horizontal(pl.col(compared).eq_missing(pl.col(compared).shift().over(_PERIOD))) & (
            same_shares.fill_null(False) | (pl.col("shares_then").is_null() & pl.col("shares_then").shift().over(_PERIOD).is_null())
        )
        return (
            frame.filter(pl.struct(_PERIOD).is_first_distinct() | ~same)
            .with_columns(
                published="heard",
                shares=pl.when("as_published").then("shares_then").otherwise("shares"),
                version=pl.int_range(pl.len(), dtype=pl.Int32).over(_PERIOD),
                provider=pl.lit(file.provider),
            )
            .with_columns(restated_on=pl.when(pl.col("restated_on") > pl.coalesce("published", "period_end")).then("restated_on"))
            .select(list(STATEMENTS))
        )

    def _shares_at_publication(self, frame: pl.DataFrame) -> pl.Series:
        """Share counts without the splits between the publication and the snapshot.

        From a later snapshot back to the first: the median ratio of a company's counts of the periods that two snapshots share,
        which needs no price file of the time in between; else the splits of the price files. From there to the publication:
        the splits of the price files, but for those of spin-offs that the counts do not reflect (`market.share_counts`).
        """
        first = pl.lit(frame["vintage"].min(), pl.Date)  # null in a file without statements
        same_company = (pl.col("company") == pl.col("company").shift()).over(_PERIOD)
        ratio = pl.when(same_company).then(pl.col("shares") / pl.col("shares").shift().over(_PERIOD))
        newest = frame.unique([*_PERIOD, "vintage"], keep="last", maintain_order=True)
        steps = newest.with_columns(ratio=ratio).group_by("ticker", "vintage").agg(pl.col("ratio").median()).sort("ticker", "vintage")
        steps = steps.with_columns(before=pl.coalesce(pl.col("vintage").shift().over("ticker"), first))
        steps = steps.with_columns(step=pl.coalesce("ratio", self._splits_between(steps, "before", "vintage")))
        basis = steps.select("ticker", "vintage", basis=pl.col("step").cum_prod().over("ticker"))
        asked = frame.join(basis, on=["ticker", "vintage"], how="left", maintain_order="left").with_columns(
            day=pl.coalesce("published", "period_end"), first=first
        )
        corrected = spin_off_correction(asked, self._split_ratios.filter(pl.col("day") <= first))
        return asked.select(pl.col("shares") / pl.col("basis") / self._splits_between(asked, "day", "first") * corrected).to_series()

    def _splits_between(self, frame: pl.DataFrame, after: str, through: str) -> pl.Series:
        """New shares for one old by the splits after one day and up to another, which may be the earlier one."""
        asked = frame.select("ticker", after=after, through=through).with_row_index()
        for name in ("after", "through"):
            asked = (
                asked.sort("ticker", name)
                .join_asof(self._given._splits, left_on=name, right_on="day", by="ticker", strategy="backward", check_sortedness=False)
                .drop("day")
                .rename({"so_far": f"splits_{name}"})
            )
        ratio = pl.col("splits_through").fill_null(1.0) / pl.col("splits_after").fill_null(1.0)
        return asked.sort("index").select(ratio).to_series()

    @property
    def _split_ratios(self) -> pl.DataFrame:
        """`ticker`, `day` and `ratio` of each split."""
        so_far = pl.col("so_far")
        return self._given._splits.with_columns(ratio=so_far / so_far.shift(fill_value=1.0).over("ticker"))

    @cached_property
    def _splits(self) -> pl.DataFrame:
        """`ticker`, `day` of a split, `so_far` (product of its splits); each day's from the best file with a bar of it.

        Best by precedence, not the longest: what a file goes on to say later must not change what is known of an earlier day, and
        files of adjusted prices give spin-offs as splits, which share counts do not reflect. An altered source takes those of the files as
        they are: a snapshot's counts contain the splits up to it, whatever is to be read of the prices.
        """
        files = {place: file for place, file in enumerate(self._settings.prices) if "split_ratio" in file.columns}
        schema = pl.Schema({"ticker": pl.String, "day": pl.Date, "so_far": pl.Float64})
        if not files:
            return schema.to_frame()
        events = pl.concat(
            _collect(
                self._scan_prices(file).filter((pl.col("split_ratio") != file.no_split) & (pl.col("split_ratio") > 0.0)),
                file.file,
            ).select("ticker", "date", "split_ratio", place=pl.lit(place))
            for place, file in files.items()
        )
        days = events.lazy().select("ticker", "date").unique()
        there = pl.concat(
            _collect(
                self._scan_prices(file).join(days, on=["ticker", "date"]).select("ticker", "date", place=pl.lit(place)),
                file.file,
            )
            for place, file in files.items()
        )
        best = there.group_by("ticker", "date").agg(pl.col("place").min())
        return (
            events.join(best, on=["ticker", "date", "place"], how="semi")
            .sort("ticker", "date")
            .select("ticker", day="date", so_far=pl.col("split_ratio").cum_prod().over("ticker"))
        )

    def _last_day(self, precedence: int) -> date:
        """Last day on which a price file has any bar."""
        last: date = self._spans(precedence)["last"].max()  # type: ignore[assignment]
        return last

    def _spans(self, precedence: int) -> pl.DataFrame:
        """`ticker` and `last` (Date of its last bar) of a price file, read once."""
        if precedence not in self._read:
            file = self._settings.prices[precedence]
            days = pl.col("date")
            ends = _collect(self._scan_prices(file).group_by("ticker").agg(last=days.max(), lost=days.null_count()), file.file)
            lost = ends.filter(pl.col("ticker").is_null() | (pl.col("lost") > 0))
            if len(lost):
                raise SourceError(f"{file.file}: a row of ticker {lost['ticker'][0]} has no ticker or no date; remove it")
            if ends.is_empty() and self._rows is None:
                raise SourceError(f"{file.file} has no bars{f' where {file.where}' if file.where else ''}; mend the file or {_MAPPING}")
            self._read[precedence] = ends.select("ticker", "last")
        return self._read[precedence]

    def _scan_prices(self, file: PriceFile, tickers: Sequence[str] | None = None) -> pl.LazyFrame:
        """Bars of a file for these tickers, or all of them, by its own symbols, without those of `not_the_member`."""
        columns = _named(file.columns, _BAR) | _optional(file.columns, _EVENTS)
        scan = self._scan(file, columns, tickers)
        for symbol, span in file.not_the_member.items():
            strange = (pl.col("ticker") == symbol) & pl.col("date").is_between(span.first, span.last)
            scan = scan.filter(~strange.fill_null(False))  # a row without ticker or date is refused elsewhere
        return scan

    def _scan_companies(self, file: PriceFile, tickers: Sequence[str]) -> pl.LazyFrame:
        """Bars of a file for these tickers: each company's under all its symbols up to the day on which it gave the asked one up.

        Where a file has several of them on one day, the earliest one counts, which was the symbol then.
        """
        symbols = self._symbols.filter(pl.col("asked").is_in(list(tickers)))
        plain, renamed = set(tickers) - set(symbols["asked"]), symbols["ticker"].unique().to_list()
        if symbols.is_empty():
            return self._scan_prices(file, sorted(plain))
        companies = (
            self._scan_prices(file, renamed)
            .join(symbols.lazy(), on="ticker", maintain_order="left")
            .filter(pl.col("date").is_between("first", "last"))
            .filter(pl.col("place") == pl.col("place").min().over("asked", "date"))
            .with_columns(ticker="asked")
            .drop("asked", "first", "last", "place")
        )
        return pl.concat([self._scan_prices(file, sorted(plain)), companies])

    def _refuse_lost(self, tickers: Sequence[str], through: date) -> None:
        """A rename to a symbol that no file has, nor a later one of the company, would end the old one without a word.

        Raises:
            SourceError: one of the tickers has bars and was renamed so; names it and the files.

        """
        there = {ticker for precedence in range(len(self._settings.prices)) for ticker in self._spans(precedence)["ticker"]}
        after = {each.old: each.new for each in self._settings.renames}
        for each in self._settings.renames:
            later = [each.new]
            while later[-1] in after:
                later.append(after[later[-1]])
            if each.old in tickers and each.old in there and each.since <= through and not there.intersection(later):
                files = ", ".join(dict.fromkeys(file.file for file in self._settings.prices))
                raise SourceError(f"{each.old} was renamed to {each.new} on {each.since}, but {files} have no bars of it; mend {_MAPPING}")

    def _under_other_symbols(self, rows: pl.DataFrame, known: pl.Expr) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows of tickers that have had one symbol only; of the others those `known` in time, under every symbol, with `_symbols`."""
        plain = rows.join(self._symbols, left_on="ticker", right_on="asked", how="anti", maintain_order="left")
        return plain, rows.join(self._symbols, on="ticker", maintain_order="left").filter(known).with_columns(ticker="asked")

    @cached_property
    def _symbols(self) -> pl.DataFrame:
        """Which symbols' bars are those of a ticker that was renamed or that a rename led to: `asked, ticker, first, last, place`.

        A symbol that was given up is another company's once nothing of the old one can be confused with it.
        """
        after = {each.old: each for each in self._settings.renames}
        before = {each.new: each for each in self._settings.renames}
        rows = []
        for asked in sorted({*after, *before}):
            chain = [asked]
            while chain[0] in before:
                chain.insert(0, before[chain[0]].old)
            while chain[-1] in after:
                chain.append(after[chain[-1]].new)
            end = after[asked].since if asked in after else None
            for place, symbol in enumerate(chain):
                ends = [day for day in (end, after[symbol].since if symbol in after else None) if day]
                rows.append((asked, symbol, date.min, min(ends) - timedelta(days=1) if ends else date.max, place))
            if end:
                later = calendar.sessions(end, date.max)[self._settings.delisted_after_sessions :]
                rows += [(asked, asked, day, date.max, 0) for day in later[:1].tolist()]
        schema = {"asked": pl.String, "ticker": pl.String, "first": pl.Date, "last": pl.Date, "place": pl.Int64}
        return pl.DataFrame(rows, schema, orient="row")

    def _scan(self, of: File, columns: Columns, tickers: Sequence[str] | None = None) -> pl.LazyFrame:
        """Our columns of a file, of these tickers' rows or of all, lazily: texts, dates and Float64.

        Raises:
            SourceError: the file or a column is missing, or a column has another type; names it and the remedy.

        """
        file, where = of.file, of.where if isinstance(of, PriceFile) else {}
        path = self._folder / file
        if not path.is_file():
            raise SourceError(
                f"{path} is missing; put it there, set QUANT_DATA_DIR to the folder that has it, or remove it from {_MAPPING}"
            )
        if path.suffix not in (".parquet", ".csv"):
            raise SourceError(f"{path} is neither .parquet nor .csv; convert it or mend {_MAPPING}")
        scan = pl.scan_csv(path, infer_schema=False) if path.suffix == ".csv" else pl.scan_parquet(path)
        try:
            schema = scan.collect_schema()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise SourceError(_unreadable(file, error)) from None
        for name in [*(name for names in columns.values() for name in _several(names)), *where]:
            if name not in schema:
                raise SourceError(f"{file} has no column '{name}'; it has {', '.join(schema)}; mend the file or its columns in {_MAPPING}")
        for name, value in where.items():
            scan = scan.filter(pl.col(name) == value)
        read = scan.select(_column(file, ours, _several(theirs), schema) for ours, theirs in columns.items())
        if self._kept is not None:
            place = (file, tuple(where.items()), tuple(columns.items()))
            if place not in self._kept:
                self._kept[place] = _collect(read, file)
            read = self._kept[place].lazy()
        if tickers is not None:
            read = read.filter(pl.col("ticker").is_in(list(tickers)))
        return read if self._rows is None else self._rows(of, read)


def _column(file: str, ours: str, theirs: Sequence[str], schema: pl.Schema) -> pl.Expr:
    """A column of the file under our name and type; of several, the latest day, or the sum where any of them is there."""
    wanted = "text" if ours in _TEXT else "a date" if ours in _DAYS else "a number"
    for name in theirs:
        dtype = schema[name]
        fits = {
            "text": isinstance(dtype, pl.String | pl.Categorical | pl.Enum),
            "a date": dtype in (pl.Date, pl.Datetime),
            "a number": dtype.is_numeric(),
        }
        if not fits[wanted] and not (file.endswith(".csv") and dtype == pl.String):
            raise SourceError(f"{file}: column '{name}' is {dtype}, but {ours} needs {wanted}; convert it or mend {_MAPPING}")
    if wanted == "text":
        return pl.col(theirs[0]).cast(pl.String).alias(ours)
    if wanted == "a date":
        days = (pl.col(name).str.to_date("%Y-%m-%d") if schema[name] == pl.String else pl.col(name).cast(pl.Date) for name in theirs)
        return pl.max_horizontal(days).alias(ours)
    numbers = [pl.col(name).cast(pl.Float64) for name in theirs]
    if len(numbers) == 1:
        return numbers[0].alias(ours)
    there = pl.any_horizontal(number.is_not_null() for number in numbers)
    return pl.when(there).then(pl.sum_horizontal(numbers)).alias(ours)


def last_day_of(start: str, frequency: pl.Expr) -> pl.Expr:
    """Last day of the period that starts on a day: the day itself where the frequency is neither monthly nor quarterly."""
    months = frequency.replace_strict({"monthly": "1mo", "quarterly": "3mo"}, default="1d", return_dtype=pl.String)
    return pl.col(start).dt.offset_by(months).dt.offset_by("-1d")


def _named(columns: Columns, names: Iterable[str]) -> dict[str, str | tuple[str, ...]]:
    """The file's names of columns that must be there: ours where the settings name no other."""
    return {name: columns.get(name, name) for name in names}


def _optional(columns: Columns, names: Iterable[str]) -> dict[str, str | tuple[str, ...]]:
    """The file's names of columns that are read only if the settings name them."""
    return {name: columns[name] for name in names if name in columns}


def _several(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _of_series(series: Mapping[str, MacroSeries], field: str) -> dict[str, str | int]:
    return {name: getattr(setting, field) for name, setting in series.items()}


def _collect(frame: pl.LazyFrame, file: str) -> pl.DataFrame:
    try:
        return frame.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(_unreadable(file, error)) from None


def _unreadable(file: str, error: Exception) -> str:
    return f"{file} cannot be read: {str(error).strip().splitlines()[0]}; mend the file or its columns in {_MAPPING}"

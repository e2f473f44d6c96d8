"""Altered sources: an alteration applied to what a provider answers, or to the rows of the files that it reads.

Whatever `through` an asset asks for, the alteration has been there before: an asset that asks for too much gets altered
rows too. The `files` provider works out snapshots, delistings and renames itself, so there the rows of the files are
altered, by the day on which the file says they became known.
"""

from collections.abc import Collection, Sequence
from datetime import date

import polars as pl

from quant_assets.audit.alterations import EVENT, KNOWN, Alteration, Kind, Perturbed, StartsLater, Truncated
from quant_assets.audit.findings import TestName
from quant_assets.audit.kept_counts import KEPT, ROW_KNOWN, tells_splits, with_kept_counts
from quant_assets.market.calendar import sessions
from quant_assets.partitions import month_start
from quant_assets.profile import Profile
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.settings.loading import Settings
from quant_assets.settings.providers import FundamentalFile, MacroFile, MembershipFile, PriceFile, SecuritiesFile
from quant_assets.sources.base import Source
from quant_assets.sources.files import FilesSource
from quant_assets.sources.files_macro import last_day_of
from quant_assets.sources.files_reading import File


def readable_often(profile: Profile) -> Profile:
    """The profile with files that are decoded once, for the many runs of an audit."""
    settings = profile.settings
    if profile.provider is not None or settings.source != "files":
        return profile
    start, undated_after = month_start(settings.partitions.start), settings.fundamentals.default_publication_lag_days
    return Profile(
        settings, FilesSource(settings.files, settings.data_dir, start, undated_after=undated_after, keep=True)
    )


def altered_source(profile: Profile, alteration: Alteration, settings: Settings) -> Source:
    """The profile's provider with its inputs altered.

    Args:
        profile: as the user has it.
        alteration: what is changed.
        settings: those of the altered run.

    """
    if isinstance(profile.source, FilesSource):
        altered = FileRows(alteration, settings.fundamentals, profile.source.spin_offs())
        return profile.source.altered(altered.rows, month_start(settings.partitions.start))
    return AlteredSource(profile.source, alteration, settings.fundamentals, profile.last_session())


def source_from(profile: Profile, start: date) -> Source | None:
    """The profile's provider with a history that starts later; None where the run's settings tell its provider so."""
    if isinstance(profile.source, FilesSource):
        return profile.source.altered(None, start)
    if profile.provider is None:
        return None
    return AlteredSource(profile.provider, StartsLater(start), profile.settings.fundamentals, profile.last_session())


def waiting(profile: Profile, tickers: Sequence[str], days: Sequence[date]) -> list[int]:
    """Of each day, how many statements of the tickers were of a period before it and became known after it."""
    given = profile.source.statements(tickers, profile.last_session())
    rows = given.select(_statement_known(profile.settings.fundamentals).alias(KNOWN), pl.col("period_end").alias(EVENT))
    return [rows.filter((pl.col(EVENT) <= day) & (pl.col(KNOWN) > day)).height for day in days]


def exempt(profile: Profile, test: TestName) -> list[str]:
    """What a test leaves as it is although it seems to alter it, one sentence each."""
    if test == "order" and not isinstance(profile.source, FilesSource):
        return [
            "order: bars came in their own order, which a provider promises; what depends on it alone was not tested"
        ]
    return []


def exempt_counts(profile: Profile, cuts: Collection[date], tickers: Collection[str]) -> list[str]:
    """Later share counts of these tickers that alterations at the cuts keep, a sentence for each file.

    See `kept_counts`.
    """
    source, lags = profile.source, profile.settings.fundamentals
    if not isinstance(source, FilesSource):
        return []
    found: dict[str, set[str]] = {}

    def look(file: File, rows: pl.LazyFrame) -> pl.LazyFrame:
        names = rows.collect_schema().names()
        if isinstance(file, FundamentalFile) and tells_splits(file, names):
            for cut in cuts:
                kept = with_kept_counts(
                    rows.with_columns(_row_known(lags, names).alias(ROW_KNOWN)), source.spin_offs(), cut, removed=True
                )
                found.setdefault(file.file, set()).update(kept.filter(KEPT).select("ticker").collect()["ticker"])
        return rows

    source.altered(look, date.min).statements([], date.min)
    asked = set(tickers)
    renames = [{each.old, each.new} for each in profile.settings.files.renames]
    while missing := {name for both in renames if both & asked for name in both - asked}:
        asked |= missing
    return [
        f"fundamentals.shares of {', '.join(sorted(kept & asked))} was not tested against all later counts of {file}: "
        "by some of them the splits and spin-offs are told that are in the counts known by a cut "
        "(shares_as_of: snapshot)"
        for file, kept in found.items()
        if kept & asked
    ]


class AlteredSource:
    """Answers of a provider, altered and then cut at what is asked for.

    Args:
        inner: the provider.
        alteration: what is changed.
        lags: when a statement counts as known.
        end: last day of the inputs.

    """

    def __init__(self, inner: Source, alteration: Alteration, lags: FundamentalSettings, end: date) -> None:
        self.name = inner.name
        self._inner = inner
        self._alteration = alteration
        self._lags = lags
        self._end = end

    def sector_snapshots(self, through: date) -> pl.DataFrame:
        """Sector snapshots; a ticker's first one is given whatever the day is, as by every provider."""
        given = self._inner.sector_snapshots(self._end)
        first = pl.col("known_at") == pl.col("known_at").min().over("ticker")
        altered = self._altered("snapshots", given, pl.when(~first).then("known_at"), pl.col("known_at"))
        return altered.filter(
            (pl.col("known_at") == pl.col("known_at").min().over("ticker")) | (pl.col("known_at") <= through)
        )

    def membership(self, through: date) -> pl.DataFrame:
        """Index membership."""
        altered = self._altered(
            "membership", self._inner.membership(self._end), pl.col("start_date"), pl.col("start_date")
        )
        ended = pl.when(pl.col("end_date") <= through).then("end_date")
        return altered.filter(pl.col("start_date") <= through).with_columns(end_date=ended)

    def bars(self, tickers: Sequence[str], start: date, through: date) -> pl.DataFrame:
        """Daily bars."""
        altered = self._altered("bars", self._inner.bars(tickers, start, self._end), pl.col("date"), pl.col("date"))
        return altered.filter(pl.col("date") <= through).sort("ticker", "date", "precedence", maintain_order=True)

    def held(self, tickers: Sequence[str], days: Sequence[date]) -> pl.DataFrame:
        """Which of the tickers have a bar on these days."""
        return self._altered("held", self._inner.held(tickers, days), pl.col("date"), pl.col("date")).sort(
            "ticker", "date", "provider"
        )

    def delistings(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        """Delistings; where the alteration lets tickers stop trading, theirs."""
        given = self._inner.delistings(tickers, self._end)
        if isinstance(self._alteration, Perturbed) and not self._alteration.published_later:
            given = self._stopped(self._alteration, given, tickers)
        return self._altered("delistings", given, pl.col("known_at"), pl.col("last_session")).filter(
            pl.col("known_at") <= through
        )

    def statements(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        """Statements."""
        period = ["ticker", "period_end", "frequency", "provider"]
        given = self._inner.statements(tickers, self._end)
        known = _statement_known(self._lags).cum_max().over(period, order_by="version")
        altered = self._altered("statements", given, known, pl.col("period_end"))
        return altered.filter(pl.coalesce("published", "period_end") <= through)

    def macro(self, through: date) -> pl.DataFrame:
        """Macro observations."""
        known = pl.coalesce("released", pl.col("period") + pl.duration(days="lag_days"))
        return self._altered("macro", self._inner.macro(self._end), known, pl.col("period")).filter(known <= through)

    def _altered(self, kind: Kind, rows: pl.DataFrame, known: pl.Expr, event: pl.Expr) -> pl.DataFrame:
        return _altered(self._alteration, kind, rows.lazy(), known, event).collect()

    def _stopped(self, alteration: Perturbed, given: pl.DataFrame, tickers: Sequence[str]) -> pl.DataFrame:
        """The delistings with those of tickers that stop trading by the alteration in place of their own."""
        names = (
            pl.DataFrame({"ticker": list(tickers)}, {"ticker": pl.String})
            .with_columns(stop=alteration.stops())
            .drop_nulls()
        )
        bars = self._inner.bars(names["ticker"].to_list(), date.min, self._end).join(names, on="ticker")
        ends = (
            bars.group_by("ticker", "stop")
            .agg(goes_on=(pl.col("date") > pl.col("stop")).any())
            .filter("goes_on")
            .sort("ticker")
        )
        ended = ends["ticker"].to_list()
        last = dict(self.bars(ended, date.min, self._end).group_by("ticker").agg(pl.col("date").max()).iter_rows())
        rows = [
            {
                "ticker": ticker,
                "last_session": last[ticker],
                "known_at": sessions(max(last[ticker], stop), date.max)[2].item(),
                "reason": None,
                "successor": None,
            }
            for ticker, stop, _ in ends.iter_rows()
            if ticker in last  # it may have been listed after that day: then it has no bar at all
        ]
        rest = given.filter(~(pl.col("ticker").is_in(ended) & (pl.col("known_at") > alteration.cut)))
        return pl.concat([rest, pl.DataFrame(rows, given.schema)]).sort("ticker", "last_session")


class FileRows:
    """The rows of files, altered by the day on which they became known.

    Args:
        alteration: what is changed.
        lags: when a statement counts as known.
        spin_offs: those that share counts are corrected for: `ticker`, `day`.

    """

    def __init__(self, alteration: Alteration, lags: FundamentalSettings, spin_offs: pl.DataFrame) -> None:
        self._alteration = alteration
        self._lags = lags
        self._spin_offs = spin_offs

    def rows(self, file: File, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Rows of a file under the project's names, altered."""
        if isinstance(file, PriceFile):
            return _altered(self._alteration, "bars", rows, pl.col("date"), pl.col("date"))
        if isinstance(file, MembershipFile):
            return _altered(self._alteration, "membership", rows, pl.col("start_date"), pl.col("start_date"))
        if isinstance(file, SecuritiesFile):
            # A ticker's first snapshot is assumed for the time before it: the universe says so in `sector_assumed`.
            first = pl.col("known_at") == pl.col("known_at").min().over("ticker")
            return _altered(self._alteration, "snapshots", rows, pl.when(~first).then("known_at"), pl.col("known_at"))
        if isinstance(file, FundamentalFile):
            return self._statements(file, rows)
        return _altered(self._alteration, "macro", rows, _macro_known(file, rows), pl.col("period"))

    def _statements(self, file: FundamentalFile, rows: pl.LazyFrame) -> pl.LazyFrame:
        """A period's first vintage is known by its publication, a later one by its snapshot; `kept_counts` stay."""
        names, alteration = rows.collect_schema().names(), self._alteration
        known = _row_known(self._lags, names)
        if not (isinstance(alteration, Truncated | Perturbed) and tells_splits(file, names)):
            return _altered(alteration, "statements", rows, known, pl.col("period_end"))
        truncated = isinstance(alteration, Truncated)
        marked = with_kept_counts(
            rows.with_columns(known.cast(pl.Date).alias(ROW_KNOWN)), self._spin_offs, alteration.cut, removed=truncated
        )
        given = marked.with_columns(__shares="shares")
        # What a truncated row keeps besides its count says only which of a period's rows counts; that it says with
        # other values too.
        replaced = alteration if isinstance(alteration, Perturbed) else Perturbed(alteration.cut)
        altered = _altered(replaced, "statements", given, pl.col(ROW_KNOWN), pl.col("period_end"))
        if truncated:
            altered = altered.filter((pl.col(ROW_KNOWN) <= alteration.cut).fill_null(True) | pl.col(KEPT))
        shares = pl.when(KEPT).then("__shares").otherwise("shares")
        return altered.with_columns(shares=shares).drop(KEPT, ROW_KNOWN, "__shares")


def _row_known(lags: FundamentalSettings, columns: Sequence[str]) -> pl.Expr:
    """Day on which a row of a file of statements became known."""
    published = pl.when(pl.col("published") > pl.col("period_end")).then("published")
    assumed = pl.col("period_end") + pl.duration(days=lags.default_publication_lag_days)
    known = pl.coalesce(published + pl.duration(days=lags.min_lag_days), assumed)
    if "snapshot" not in columns:
        return known
    period = [
        name for name in ("ticker", "period_end", "form") if name in columns
    ]  # of any company: the first counts till then
    return pl.when(pl.col("snapshot") == pl.col("snapshot").min().over(period)).then(known).otherwise("snapshot")


def _altered(alteration: Alteration, kind: Kind, rows: pl.LazyFrame, known: pl.Expr, event: pl.Expr) -> pl.LazyFrame:
    told = rows.with_columns(known.cast(pl.Date).alias(KNOWN), event.alias(EVENT))
    return alteration.rows(kind, told).drop(KNOWN, EVENT)


def _statement_known(lags: FundamentalSettings) -> pl.Expr:
    """Day from which a statement may be used, as `market.fundamentals` has it."""
    lag = pl.duration(days=lags.min_lag_days)
    first = pl.coalesce(
        pl.col("published") + lag, pl.col("period_end") + pl.duration(days=lags.default_publication_lag_days)
    )
    return pl.max_horizontal(first, pl.col("restated_on") + lag) if lags.from_restatement else first


def _macro_known(file: MacroFile, rows: pl.LazyFrame) -> pl.Expr:
    """Day on which an observation of a file counts as released."""
    frequency = pl.col("series_id").replace_strict(
        {name: each.frequency for name, each in file.series.items()}, default="daily"
    )
    lag = pl.col("series_id").replace_strict({name: each.lag_days for name, each in file.series.items()}, default=0)
    assumed = last_day_of("period", frequency) + pl.duration(days=lag)
    if "released" not in rows.collect_schema():
        return assumed
    return pl.coalesce(last_day_of("released", pl.lit(file.vintage)), assumed)

"""Altered sources: an alteration of a provider's answers, or by the provider of the rows that it reads.

The alteration comes before the cut at `through`, so an asset that requests too much gets altered rows too. Which
providers alter their rows themselves, and how, is in `sources.altered`.
"""

from collections.abc import Sequence
from datetime import date

import polars as pl

from quant_assets.audit.alterations import StartsLater, Truncated
from quant_assets.audit.findings import Exempt, TestName
from quant_assets.audit.perturbation import Perturbed
from quant_assets.market.calendar import sessions
from quant_assets.partitions import month_start
from quant_assets.profile import Profile
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.settings.loading import Settings
from quant_assets.sources.altered import EVENT, KNOWN, Alteration, Ending, Kind, alterable
from quant_assets.sources.base import Source
from quant_assets.sources.registry import as_given, completed


def readable_often(profile: Profile) -> Profile:
    """The profile with a provider that decodes its files once, for the many runs of an audit."""
    if profile.provider is not None or (files := alterable(profile.source)) is None:
        return profile
    return Profile(profile.settings, files.read_once())


def altered_source(profile: Profile, alteration: Alteration, settings: Settings) -> Source:
    """The profile's provider with its inputs altered.

    Args:
        profile: the user's.
        alteration: of the inputs.
        settings: of the altered run.

    """
    if files := alterable(profile.source):
        return files.altered(alteration, settings.fundamentals, month_start(settings.partitions.start))
    return AlteredSource(profile.source, alteration, settings.fundamentals, profile.last_session())


def source_from(profile: Profile, start: date) -> Source | None:
    """The profile's provider with a history that starts later; None if the run's settings already set that."""
    if files := alterable(profile.source):
        return files.altered(None, profile.settings.fundamentals, start)
    if profile.provider is None:
        return None
    return AlteredSource(profile.provider, StartsLater(start), profile.settings.fundamentals, profile.last_session())


def source_ending(profile: Profile, cut: date) -> Source | None:
    """The profile's provider with its own data ending at a day; None if that data cannot be altered."""
    if files := alterable(profile.source):
        start = month_start(profile.settings.partitions.start)
        return files.altered(Truncated(cut), profile.settings.fundamentals, start)
    given = as_given(profile.source)
    return completed(given.ending(cut), profile.settings.profile) if isinstance(given, Ending) else None


def source_collected(profile: Profile, cut: date) -> Source | None:
    """The profile's provider on the data collected by a session; None if the profile reads no collected data."""
    if not profile.settings.collecting.as_files or alterable(profile.source) is None:
        return None
    then = Profile(profile.settings.model_copy(update={"as_of": cut}))
    return then.source if then.data_dir is not None and then.data_dir.exists() else None


def statements_known(profile: Profile, tickers: Sequence[str]) -> pl.DataFrame:
    """When the tickers' statements became known: `ticker`, `period_end`, `known_at`."""
    given = profile.source.statements(tickers, profile.last_session())
    known = statement_known(profile.settings.fundamentals)
    return given.select("ticker", "period_end", known.alias("known_at"))


def news_known(profile: Profile) -> pl.Series:
    """Days on which news without a ticker of their own became known, sorted."""
    given = profile.source.news([], date.min, profile.last_session())
    return given["known_at"].dt.date().sort()


def macro_known(profile: Profile) -> pl.DataFrame:
    """When the observations of macro series became known: `series_id`, `known_at`."""
    return profile.source.macro(profile.last_session()).select("series_id", known_at=_macro_known().cast(pl.Date))


def exempt(profile: Profile, test: TestName) -> list[str]:
    """What a test does not alter although it seems to, one sentence per item."""
    if test == "order" and alterable(profile.source) is None:
        note = "order: the provider promises an order of bars, which was kept; a dependence on it was not tested"
        return [Exempt(note)]
    return []


class AlteredSource:
    """Answers of a provider, altered and then cut at the requested day.

    Args:
        inner: the provider.
        alteration: of the inputs.
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
        """Sector snapshots; a ticker's first one is included whatever the day, as by every provider."""
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
        """Delistings, including tickers that the alteration stops."""
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
        known = statement_known(self._lags).cum_max().over(period, order_by="version")
        altered = self._altered("statements", given, known, pl.col("period_end"))
        return altered.filter(pl.coalesce("published", "period_end") <= through)

    def macro(self, through: date) -> pl.DataFrame:
        """Macro observations."""
        known = _macro_known()
        return self._altered("macro", self._inner.macro(self._end), known, pl.col("period")).filter(known <= through)

    def news(self, tickers: Sequence[str], start: date, through: date) -> pl.DataFrame:
        """News."""
        given = self._inner.news(tickers, start, self._end)
        altered = self._altered("news", given, pl.col("known_at").dt.date(), pl.col("published").dt.date())
        return altered.filter(pl.col("known_at").dt.date() <= through).sort("known_at", "item", maintain_order=True)

    def crypto(self, through: date) -> pl.DataFrame:
        """Closes of crypto-currencies."""
        known = pl.col("date") + pl.duration(days=1)
        altered = self._altered("crypto", self._inner.crypto(self._end), known, pl.col("date"))
        return altered.filter(known <= through).sort("ticker", "date")

    def indices(self, through: date) -> pl.DataFrame:
        """Closes of indices and funds."""
        altered = self._altered("indices", self._inner.indices(self._end), pl.col("date"), pl.col("date"))
        return altered.filter(pl.col("date") <= through).sort("ticker", "date")

    def _altered(self, kind: Kind, rows: pl.DataFrame, known: pl.Expr, event: pl.Expr) -> pl.DataFrame:
        dated = rows.lazy().with_columns(known.cast(pl.Date).alias(KNOWN), event.alias(EVENT))
        return self._alteration.rows(kind, dated).drop(KNOWN, EVENT).collect()

    def _stopped(self, alteration: Perturbed, given: pl.DataFrame, tickers: Sequence[str]) -> pl.DataFrame:
        """The delistings; tickers that the alteration stops get a new one in place of their own."""
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
            if ticker in last  # a ticker listed after that day has no bar left
        ]
        rest = given.filter(~(pl.col("ticker").is_in(ended) & (pl.col("known_at") > alteration.last_day)))
        # No second delisting at the same last bar where one was known before.
        new = pl.DataFrame(rows, given.schema).join(rest, on=["ticker", "last_session"], how="anti")
        return pl.concat([rest, new]).sort("ticker", "last_session", "known_at")


def statement_known(lags: FundamentalSettings) -> pl.Expr:
    """Day from which a statement may be used, as `market.fundamentals` has it."""
    lag = pl.duration(days=lags.min_lag_days)
    first = pl.coalesce(
        pl.col("published") + lag, pl.col("period_end") + pl.duration(days=lags.default_publication_lag_days)
    )
    return pl.max_horizontal(first, pl.col("restated_on") + lag) if lags.from_restatement else first


def _macro_known() -> pl.Expr:
    """Day from which an observation may be used, as in `market.macro`."""
    return pl.coalesce("released", pl.col("period") + pl.duration(days="lag_days"))

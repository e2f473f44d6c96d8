"""The altered runs of an audit: which alterations, at which cuts, and which months they compute. No execution."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise

import polars as pl

from quant_assets.audit.alterations import Shuffled, StartsLater, Truncated, Without
from quant_assets.audit.cuts import Cut, TickerCuts, by_event, by_session, events
from quant_assets.audit.findings import TESTS, Exempt, TestName
from quant_assets.audit.inputs import altered_source, exempt, news_known, source_from, statements_known
from quant_assets.audit.perturbation import Perturbed
from quant_assets.audit.runs import Recomputed
from quant_assets.errors import SettingsError
from quant_assets.market.calendar import sessions as calendar_sessions
from quant_assets.market.placement import panel_tickers
from quant_assets.partitions import month_end, month_of, month_start, shift_month
from quant_assets.profile import Profile
from quant_assets.settings.loading import Settings
from quant_assets.sources.altered import Alteration, alterable
from quant_assets.sources.base import Source

#: Tests that alter inputs; other tests are in `surroundings`, `providers`, `learning_controls` and `execution`.
ALTERING: tuple[TestName, ...] = tuple(
    name for name in TESTS if name not in ("state", "surroundings", "provider", "learning", "execution")
)

#: Months after a cut that are computed with it: a run over a range has these future months in its frames.
_MONTHS_AFTER = 1

#: Gap in months up to which two stretches are computed as one: starting a run costs as much as some months.
_APART = 3


@dataclass(frozen=True)
class AlteredRun:
    """One altered run.

    Attributes:
        test: name of the test.
        label: for progress and errors.
        first, last: months that are computed again.
        settings: of the run.
        alteration: of its inputs.
        cut: last day that compared rows may know.
        fresh: whether no partition is taken over from the run on the unaltered input.
        left_out: ticker whose rows are not compared.
        names: assets that are computed; None for all audited ones.
        days: for an alteration by ticker, the last day that compared rows of each ticker may know.
        alone: month that is also computed by itself, as a schedule does it, and compared with the range.

    """

    test: TestName
    label: str
    first: str
    last: str
    settings: Settings
    alteration: Alteration
    cut: date | None = None
    fresh: bool = False
    left_out: str | None = None
    names: tuple[str, ...] | None = None
    days: TickerCuts = ()
    alone: str | None = None

    @property
    def by_ticker(self) -> bool:
        """Whether only columns of one ticker are compared: a ticker is left out, or tickers have their own cuts."""
        return self.left_out is not None or bool(self.days)

    def source(self, profile: Profile) -> Source | None:
        """The provider of the run; None where the settings alone alter it."""
        if isinstance(self.alteration, StartsLater):
            return source_from(profile, self.alteration.start)
        return altered_source(profile, self.alteration, self.settings)


def check_cuts(profile: Profile, cuts: Sequence[date], first: str, last: str) -> None:
    """Raise a SettingsError for a cut that is not a closed session of the months."""
    for cut in cuts:
        if not first <= month_of(cut) <= last or cut > profile.last_session() or not len(calendar_sessions(cut, cut)):
            raise SettingsError(f"cut {cut} is not a closed session of {first} to {last}; choose one that is")


@dataclass(frozen=True)
class Stretch:
    """Months over which the unaltered input is computed, for some assets; None for all audited ones."""

    first: str
    last: str
    names: tuple[str, ...] | None = None

    def serves(self, run: AlteredRun) -> bool:
        """Whether a run is compared with this stretch."""
        return self.names == run.names and self.first <= run.first <= self.last


def windows(runs: Sequence[AlteredRun]) -> list[Stretch]:
    """Months that altered runs compute, close ones merged: runs of named assets first, then ascending."""
    stretches: list[Stretch] = []
    for run in sorted(runs, key=lambda run: (run.names is None, run.names or (), run.first, run.last)):
        before = stretches[-1] if stretches and stretches[-1].names == run.names else None
        if before and run.first <= shift_month(before.last, _APART):
            stretches[-1] = replace(before, last=max(before.last, run.last))
        else:
            stretches.append(Stretch(run.first, run.last, run.names))
    return stretches


def _around(cuts: Sequence[date]) -> list[tuple[str, str]]:
    """The months of the cuts, with the month before; overlapping ones merged."""
    spans: list[tuple[str, str]] = []
    for month in sorted({month_of(cut) for cut in cuts}):
        before = shift_month(month, -1)
        if spans and before <= shift_month(spans[-1][1], 1):
            spans[-1] = (spans[-1][0], month)
        else:
            spans.append((before, month))
    return spans


class AlteredRuns:
    """The altered runs of some tests.

    Args:
        profile: the user's.
        base: where the unaltered inputs are computed.
        sectors: slugs.
        first, last: months whose rows are audited.
        names: assets whose rows are compared.

    """

    def __init__(
        self, profile: Profile, base: Recomputed, sectors: Sequence[str], first: str, last: str, names: Sequence[str]
    ) -> None:
        self._profile, self._base, self._sectors = profile, base, sectors
        self._first, self._last, self._names = first, last, names
        #: Notes on what is not tested and why, filled by `of`.
        self.notes: list[str] = []

    def of(self, tests: Sequence[TestName], cuts: Sequence[Cut], reach: int, rounds: int = 1) -> list[AlteredRun]:
        """All altered runs of the tests.

        Args:
            tests: in any order.
            cuts: sessions at which the future is altered.
            reach: months up to a cut that are computed again, unless the cut sets its own.
            rounds: number of own cuts per ticker.

        """
        runs = list(self._each(tests, cuts, reach, rounds))
        if alterable_rows := alterable(self._profile.source):
            at = {run.cut for run in runs if run.cut is not None and not run.days}
            self.notes += map(Exempt, alterable_rows.untested(at, self._panel(), self._profile.settings.fundamentals))
        return runs

    def _each(self, tests: Sequence[TestName], cuts: Sequence[Cut], reach: int, rounds: int) -> Iterator[AlteredRun]:
        settings = self._profile.settings
        for test in tests:
            self.notes += exempt(self._profile, test)
            if test == "truncation":
                for cut in cuts:
                    until = settings.model_copy(update={"as_of": cut.day})
                    yield self._at(test, cut, reach, Truncated(cut.day), until, after=0)
            elif test == "perturbation" or (test == "months" and "perturbation" not in tests):
                for number, cut in enumerate(cuts):
                    run = self._at(test, cut, reach, Perturbed(cut.day, seed=number + 1), settings, after=_MONTHS_AFTER)
                    yield replace(run, alone=month_of(cut.day) if "months" in tests else None)
            elif test in ("events", "company") and not self._by_themselves:
                names = ", ".join(self._names)
                self.notes.append(Exempt(f"{test} was left out: all audited assets compare tickers ({names})"))
            elif test == "events":
                yield from self._by_ticker([cut.day for cut in cuts], rounds)
            elif test == "publication":
                day = self._most_published()
                later = Perturbed(day, published_later=True)
                yield self._at(test, Cut(day), min(reach, 3), later, settings, after=_MONTHS_AFTER)
            elif test == "warm_up":
                yield from self._warm_up(min(reach, 3))
            elif test == "order":
                yield self._plain(test, min(reach, 3), Shuffled(), "shuffled rows")
            elif test == "company":
                ticker = self._a_ticker()
                if ticker is not None:
                    yield replace(
                        self._plain(test, min(reach, 3), Without(ticker), f"without {ticker}"), left_out=ticker
                    )

    def _at(
        self, test: TestName, cut: Cut, reach: int, alteration: Alteration, settings: Settings, after: int
    ) -> AlteredRun:
        month = month_of(cut.day)
        return AlteredRun(
            test,
            f"{test} at {cut.day}{cut.why and f', {cut.why}'}",
            max(self._first, shift_month(month, 1 - (cut.reach or reach))),
            min(self._last, shift_month(month, after)),
            settings,
            alteration,
            cut.day,
        )

    def _by_ticker(self, cuts: Sequence[date], rounds: int) -> Iterator[AlteredRun]:
        """Runs in which each ticker has its own cut, so that one run tries as many cuts as there are tickers.

        Assets that read no earlier months are computed over all months and cut next to events. All assets that compare
        no tickers are computed over the months around each cut, where nearly every session is a cut.
        """
        tickers = self._tickers()
        names = self._by_themselves
        early = tuple(name for name in names if self._needs_nothing_before([name, *self._base.upstream(name)]))
        if early and tickers:
            days = self._sessions(self._first, self._last)
            happened = events(self._profile, tickers, days[0], days[-1])
            # A macro series gets its own cut, like a ticker, but where rows of tickers follow from several series.
            series = sorted(set(happened.filter(pl.col("event") == "release")["ticker"]))
            mixed = tuple(name for name in early if name != "macro" and "macro" in self._base.upstream(name))
            apart = tuple(name for name in early if name not in mixed)
            for kept, cut, of in ((apart, [*tickers, *series], ""), (mixed, tickers, ", no series altered")):
                for number, own in enumerate(by_event(happened, cut, days, rounds) if kept else (), 1):
                    label = f"events of each ticker, {number}{of}"
                    yield self._cut_by_ticker(label, self._first, self._last, own, kept)
        if len(early) < len(names) and tickers:
            for stretch in _around(cuts):
                first, last = (max(self._first, min(self._last, month)) for month in stretch)
                for number, own in enumerate(by_session(tickers, self._sessions(first, last), (rounds + 1) // 2), 1):
                    after = min(self._last, shift_month(last, _MONTHS_AFTER))
                    yield self._cut_by_ticker(f"a session of each ticker, {first}, {number}", first, after, own, None)

    @property
    def _by_themselves(self) -> list[str]:
        """Assets whose rows depend on one ticker alone."""
        return [name for name in self._names if not self._profile.datasets[name].across]

    def _needs_nothing_before(self, names: Sequence[str]) -> bool:
        months = (self._base.earliest([name], self._sectors, self._first, self._last) for name in names)
        return all(month >= self._first for month in months)

    def _cut_by_ticker(
        self, label: str, first: str, last: str, days: TickerCuts, names: tuple[str, ...] | None
    ) -> AlteredRun:
        known = min(day for _, day in days)
        altered = Perturbed(known, seed=1 + len(label), by_ticker=days)
        return AlteredRun("events", label, first, last, self._profile.settings, altered, known, names=names, days=days)

    def _sessions(self, first: str, last: str) -> list[date]:
        end = min(month_end(last), self._profile.last_session())
        days: list[date] = calendar_sessions(month_start(first), end).tolist()
        return days

    def _panel(self) -> list[str]:
        """Every ticker of the sectors."""
        end = min(month_end(self._last), self._profile.last_session())
        known = self._profile.source.sector_snapshots(end)
        return sorted({ticker for sector in self._sectors for ticker in panel_tickers(known, sector, end)})

    def _tickers(self) -> list[str]:
        """Tickers that can have their own cut: no company that has rows under another name."""
        rows = alterable(self._profile.source)
        renamed = rows.renamed() if rows else set()
        return [ticker for ticker in self._panel() if ticker not in renamed]

    def _plain(self, test: TestName, reach: int, alteration: Alteration, label: str) -> AlteredRun:
        settings = self._profile.settings
        first = max(self._first, shift_month(self._last, 1 - reach))
        return AlteredRun(test, label, first, self._last, settings, alteration)

    def _warm_up(self, reach: int) -> Iterator[AlteredRun]:
        first = max(self._first, shift_month(self._last, 1 - reach))
        start = self._base.earliest(self._names, self._sectors, first, self._last)
        if start <= self._profile.months.start:
            self.notes.append(
                f"warm_up was left out: the months {first} to {self._last} look back to {start}, "
                "the start of the profile's history"
            )
            return
        settings = self._profile.settings
        later = settings.model_copy(update={"partitions": settings.partitions.model_copy(update={"start": start})})
        yield AlteredRun(
            "warm_up", f"history from {start}", first, self._last, later, StartsLater(month_start(start)), fresh=True
        )

    def _most_published(self) -> date:
        """The session before the one at which most statements of the sectors became known.

        Without statements, the one before most news.
        """
        # Within the last year, near the other tests without a cut, and after months whose rows can be compared.
        begin = min(max(shift_month(self._first, 2), shift_month(self._last, -11)), self._last)
        days = self._sessions(begin, self._last)
        known = statements_known(self._profile, self._panel())["known_at"].sort()
        if known.is_empty():
            known = news_known(self._profile)
        upto = known.search_sorted(pl.Series([*days, days[-1]], dtype=pl.Date), "right").to_list()
        counts = [after - before for before, after in pairwise(upto)]
        return days[max(range(len(days)), key=lambda place: (counts[place], days[place]))]

    def _a_ticker(self) -> str | None:
        """A member in the last month that has alphabetic neighbours on both sides."""
        at = min(month_end(self._last), self._profile.last_session())
        snapshots, members = self._profile.source.sector_snapshots(at), self._profile.source.membership(at)
        rows = alterable(self._profile.source)
        renamed = rows.renamed() if rows else set()
        current = set(members.filter(pl.col("end_date").is_null())["ticker"]) - renamed
        tickers = [
            ticker for sector in self._sectors for ticker in panel_tickers(snapshots, sector, at) if ticker in current
        ]
        if len(tickers) < 3:
            self.notes.append(Exempt("company was left out: fewer than three members"))
            return None
        return tickers[len(tickers) // 2]

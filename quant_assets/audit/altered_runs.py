"""The altered runs of an audit: which alterations, at which cuts, and which months they compute. Nothing runs here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from quant_assets.audit.alterations import Perturbed, Shuffled, StartsLater, Truncated, Without
from quant_assets.audit.findings import TESTS, Exempt, TestName
from quant_assets.audit.inputs import altered_source, exempt, source_from, waiting
from quant_assets.audit.runs import Recomputed
from quant_assets.errors import SettingsError
from quant_assets.market.calendar import sessions as calendar_sessions
from quant_assets.market.placement import panel_tickers
from quant_assets.partitions import month_end, month_of, month_range, month_start, shift_month
from quant_assets.profile import Profile
from quant_assets.settings.loading import Settings
from quant_assets.sources.altered import Alteration, alterable
from quant_assets.sources.base import Source

#: Tests that alter inputs; the others are in `surroundings`, `providers`, `learning_controls` and `execution`.
ALTERING: tuple[TestName, ...] = tuple(
    name for name in TESTS if name not in ("state", "surroundings", "provider", "learning", "execution")
)

#: Months after a cut that are computed with it: what a range run has of the future in its frames.
_MONTHS_AFTER = 1

#: Months between those of two altered runs that are computed with them: a run's own costs are those of some months.
_APART = 3


@dataclass(frozen=True)
class AlteredRun:
    """One altered run.

    Attributes:
        test: which.
        label: for progress and for errors.
        first, last: months that are computed anew.
        settings: of the run.
        alteration: of its inputs.
        cut: last day that compared rows may know.
        fresh: whether nothing is taken over from the run on the input as it is.
        left_out: ticker whose rows are not compared.

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

    def source(self, profile: Profile) -> Source | None:
        """The provider of the run; None where its settings alone alter it."""
        if isinstance(self.alteration, StartsLater):
            return source_from(profile, self.alteration.start)
        return altered_source(profile, self.alteration, self.settings)


def default_cuts(profile: Profile, first: str, last: str, count: int = 2) -> tuple[date, ...]:
    """Sessions within the months, evenly spread: in the middle of a month, at the end of the next one's, and so on."""
    months = month_range(first, last)
    found = []
    for number in range(count):
        month = months[min(len(months) - 1, (number + 1) * len(months) // (count + 1))]
        days = calendar_sessions(month_start(month), min(month_end(month), profile.last_session())).tolist()
        found.append(days[len(days) // 2] if number % 2 == 0 else days[-1])
    return tuple(dict.fromkeys(found))


def check_cuts(profile: Profile, cuts: Sequence[date], first: str, last: str) -> None:
    """Raise a SettingsError for a cut that is no closed session of the months."""
    for cut in cuts:
        if not first <= month_of(cut) <= last or cut > profile.last_session() or not len(calendar_sessions(cut, cut)):
            raise SettingsError(f"cut {cut} is no closed session of the months {first} to {last}; choose one that is")


def windows(runs: Sequence[AlteredRun]) -> list[tuple[str, str]]:
    """Months that altered runs compute anew, ascending; what lies close together as one."""
    found: list[tuple[str, str]] = []
    for first, last in sorted((run.first, run.last) for run in runs):
        if found and first <= shift_month(found[-1][1], _APART):
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


class AlteredRuns:
    """The altered runs of some tests.

    Args:
        profile: as the user has it.
        base: where its inputs are computed as they are.
        sectors: slugs.
        first, last: months whose rows are audited.
        names: assets whose rows are compared.

    """

    def __init__(
        self, profile: Profile, base: Recomputed, sectors: Sequence[str], first: str, last: str, names: Sequence[str]
    ) -> None:
        self._profile, self._base, self._sectors = profile, base, sectors
        self._first, self._last, self._names = first, last, names
        #: What is not tested and why, as far as the runs have been asked for.
        self.notes: list[str] = []

    def of(self, tests: Sequence[TestName], cuts: Sequence[date], reach: int) -> list[AlteredRun]:
        """Every altered run.

        Args:
            tests: in any order.
            cuts: sessions at which the future is altered.
            reach: months up to each cut that are computed anew.

        """
        found = list(self._each(tests, cuts, reach))
        if rows := alterable(self._profile.source):
            last = min(month_end(self._last), self._profile.last_session())
            known = self._profile.source.sector_snapshots(last)
            tickers = {ticker for sector in self._sectors for ticker in panel_tickers(known, sector, last)}
            at = {run.cut for run in found if run.cut is not None}
            self.notes += map(Exempt, rows.untested(at, tickers, self._profile.settings.fundamentals))
        return found

    def _each(self, tests: Sequence[TestName], cuts: Sequence[date], reach: int) -> Iterator[AlteredRun]:
        settings = self._profile.settings
        for test in tests:
            self.notes += exempt(self._profile, test)
            if test == "truncation":
                for cut in cuts:
                    yield self._at(
                        test, cut, reach, Truncated(cut), settings.model_copy(update={"as_of": cut}), after=0
                    )
            elif test == "perturbation":
                for number, cut in enumerate(cuts):
                    yield self._at(test, cut, reach, Perturbed(cut, seed=number + 1), settings, after=_MONTHS_AFTER)
            elif test == "publication":
                cut = self._most_waiting()
                yield self._at(
                    test, cut, min(reach, 3), Perturbed(cut, published_later=True), settings, after=_MONTHS_AFTER
                )
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
        self, test: TestName, cut: date, reach: int, alteration: Alteration, settings: Settings, after: int
    ) -> AlteredRun:
        month = month_of(cut)
        return AlteredRun(
            test,
            f"{test} at {cut}",
            max(self._first, shift_month(month, 1 - reach)),
            min(self._last, shift_month(month, after)),
            settings,
            alteration,
            cut,
        )

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
                "where the profile's history begins"
            )
            return
        settings = self._profile.settings
        later = settings.model_copy(update={"partitions": settings.partitions.model_copy(update={"start": start})})
        yield AlteredRun(
            "warm_up", f"history from {start}", first, self._last, later, StartsLater(month_start(start)), fresh=True
        )

    def _most_waiting(self) -> date:
        """The session of the months on which most statements of the sectors wait for their publication."""
        end = min(month_end(self._last), self._profile.last_session())
        # With months before it whose rows can be compared, and of the last year, near the other tests without a cut.
        begin = min(max(shift_month(self._first, 2), shift_month(self._last, -11)), self._last)
        days: list[date] = calendar_sessions(month_start(begin), end).tolist()[::5]
        known = self._profile.source.sector_snapshots(days[-1])
        tickers = sorted({ticker for sector in self._sectors for ticker in panel_tickers(known, sector, days[-1])})
        counts = waiting(self._profile, tickers, days)
        return days[max(range(len(days)), key=lambda place: (counts[place], days[place]))]

    def _a_ticker(self) -> str | None:
        """One with neighbours on both sides in the alphabet, a member in the last month."""
        at = min(month_end(self._last), self._profile.last_session())
        snapshots, members = self._profile.source.sector_snapshots(at), self._profile.source.membership(at)
        rows = alterable(self._profile.source)
        renamed = rows.renamed() if rows else set()
        there = set(members.filter(pl.col("end_date").is_null())["ticker"]) - renamed
        found = [each for sector in self._sectors for each in panel_tickers(snapshots, sector, at) if each in there]
        if len(found) < 3:
            self.notes.append(Exempt("company was left out: fewer than three members"))
            return None
        return found[len(found) // 2]

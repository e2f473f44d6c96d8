"""`audit_lookahead`: which alterations are tried at which cuts, and what their runs show. How each is done is in the other modules."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import polars as pl

from quant_assets.audit.alterations import Alteration, Perturbed, Shuffled, StartsLater, Truncated, Without
from quant_assets.audit.causes import PUBLISHED_LATER, likely_cause
from quant_assets.audit.compare import SETTLED, Difference, compare, key_columns, known_rows, rows_after
from quant_assets.audit.findings import TESTS, AuditResult, Comparison, TestName
from quant_assets.audit.inputs import AlteredSource, altered_source, exempt, waiting
from quant_assets.audit.runs import Recomputed, check_assets
from quant_assets.errors import SettingsError
from quant_assets.market.calendar import first_session_from
from quant_assets.market.calendar import sessions as calendar_sessions
from quant_assets.market.placement import panel_tickers
from quant_assets.partitions import check_month, check_sector, month_end, month_of, month_range, month_start, parse_key, shift_month
from quant_assets.profile import Profile
from quant_assets.running.execute import RunFailedError
from quant_assets.schemas import Dataset
from quant_assets.settings.loading import Settings
from quant_assets.sources.base import Source

#: (what is being done, steps done, steps in all)
Progress = Callable[[str, int, int], None]

#: Tests that this module does; "learning" is in `quant_assets.audit.learning`.
ALTERING: tuple[TestName, ...] = tuple(name for name in TESTS if name != "learning")

#: Months after a cut that are computed with it: what a range run has of the future in its frames.
_MONTHS_AFTER = 1

#: Months between two trials' that are computed with them: a run's own costs are those of some months.
_APART = 3


@dataclass(frozen=True)
class Trial:
    """One altered run.

    Attributes:
        test: which.
        label: for progress and for errors.
        first, last: months that are computed anew.
        settings: of the run.
        source: makes its provider; None where the settings alone alter the run.
        cut: last day that compared rows may know.
        fresh: whether nothing is taken over from the run on the input as it is.
        left_out: ticker whose rows are not compared.

    """

    test: TestName
    label: str
    first: str
    last: str
    settings: Settings
    source: Callable[[], Source | None]
    cut: date | None = None
    fresh: bool = False
    left_out: str | None = None


def audit_lookahead(
    of: Profile | Settings,
    *,
    sectors: Sequence[str],
    first: str,
    last: str,
    assets: Sequence[str] | None = None,
    tests: Sequence[TestName] | None = None,
    cuts: Sequence[date] | None = None,
    reach: int = 3,
    progress: Progress | None = None,
) -> AuditResult:
    """Compute the real assets on altered inputs, in this process and in a temporary folder, and compare what must not have changed.

    Nothing of the user's storage or Dagster instance is read or written.

    Args:
        of: profile, or its settings; a profile with a provider of its own is audited on that.
        sectors: slugs.
        first: first month whose rows are audited; earlier ones are computed as the lookbacks need them.
        last: last month.
        assets: those whose rows are compared [default: all]; only what they read is computed, and compared as well, so that a
            difference is traced to where it begins.
        tests: which [default: all but "learning", which is `quant_assets.audit.learning`].
        cuts: sessions at which the future is altered [default: `default_cuts`].
        reach: months up to each cut that are computed anew on the altered input, and compared; earlier ones serve as they are.
        progress: told of each step.

    Raises:
        SettingsError: a sector, month, asset, test or cut does not exist.
        RunFailedError: an asset failed on the input as it is. On an altered one that is a finding.

    """
    profile = of if isinstance(of, Profile) else Profile(of)
    began = time.monotonic()
    chosen = tuple(dict.fromkeys(check_sector(each) for each in sectors))
    profile.check_months(check_month(first), check_month(last))
    wanted: tuple[TestName, ...] = tuple(tests) if tests is not None else ALTERING
    unknown = [name for name in wanted if name not in ALTERING]
    if unknown or not chosen:
        raise SettingsError(f"there is no test '{unknown[0]}'; tests are {', '.join(ALTERING)}" if unknown else "an audit needs a sector")
    check_assets(profile, assets or ())
    at = tuple(cuts) if cuts is not None else default_cuts(profile, first, last)
    _check_cuts(profile, at, first, last)
    folder = Path(tempfile.mkdtemp(prefix="quant-audit-"))
    try:
        audit = _Audit(profile, chosen, first, last, assets, folder, progress or (lambda *_: None))
        trials = list(audit.trials(wanted, at, reach))
        found = audit.run(trials)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return AuditResult(profile.settings.profile, chosen, first, last, round(time.monotonic() - began, 1), tuple(found), tuple(audit.notes))


def default_cuts(profile: Profile, first: str, last: str, count: int = 2) -> tuple[date, ...]:
    """Sessions within the months, evenly spread: the first in the middle of its month, the next at the end of its, and so on."""
    months = month_range(first, last)
    found = []
    for number in range(count):
        month = months[min(len(months) - 1, (number + 1) * len(months) // (count + 1))]
        days = calendar_sessions(month_start(month), min(month_end(month), profile.last_session())).tolist()
        found.append(days[len(days) // 2] if number % 2 == 0 else days[-1])
    return tuple(dict.fromkeys(found))


def _check_cuts(profile: Profile, cuts: Sequence[date], first: str, last: str) -> None:
    for cut in cuts:
        if not first <= month_of(cut) <= last or cut > profile.last_session() or not len(calendar_sessions(cut, cut)):
            raise SettingsError(f"cut {cut} is no closed session of the months {first} to {last}; choose one that is")


class _Audit:
    """One audit's run on the input as it is, and its trials."""

    def __init__(
        self,
        profile: Profile,
        sectors: tuple[str, ...],
        first: str,
        last: str,
        assets: Sequence[str] | None,
        folder: Path,
        progress: Progress,
    ) -> None:
        self._profile, self._sectors, self._first, self._last = profile, sectors, first, last
        self._folder, self._progress = folder, progress
        self._base = Recomputed.at(folder / "base", profile.settings, profile.provider)
        self._names = [name for name in self._base.planner.order if assets is None or name in assets]
        self._asked = set(self._names)
        self._read_by_asked = {each for name in self._names for each in self._base.upstream(name)}
        self.notes: list[str] = []

    # --- Which trials ------------------------------------------------------------------------------------------------

    def trials(self, tests: Sequence[TestName], cuts: Sequence[date], reach: int) -> Iterator[Trial]:
        """Every altered run."""
        settings = self._profile.settings
        for test in tests:
            self.notes += exempt(self._profile, test)
            if test == "truncation":
                for cut in cuts:
                    yield self._at(test, cut, reach, Truncated(cut), settings.model_copy(update={"as_of": cut}), after=0)
            elif test == "perturbation":
                for number, cut in enumerate(cuts):
                    yield self._at(test, cut, reach, Perturbed(cut, seed=number + 1), settings, after=_MONTHS_AFTER)
            elif test == "publication":
                cut = self._most_waiting()
                yield self._at(test, cut, min(reach, 3), Perturbed(cut, published_later=True), settings, after=_MONTHS_AFTER)
            elif test == "warm_up":
                yield from self._warm_up(min(reach, 3))
            elif test == "order":
                yield self._plain(test, min(reach, 3), Shuffled(), "shuffled rows")
            elif test == "company":
                ticker = self._a_ticker()
                if ticker is not None:
                    yield replace(self._plain(test, min(reach, 3), Without(ticker), f"without {ticker}"), left_out=ticker)

    def _at(self, test: TestName, cut: date, reach: int, alteration: Alteration, settings: Settings, after: int) -> Trial:
        month = month_of(cut)
        return Trial(
            test,
            f"{test} at {cut}",
            max(self._first, shift_month(month, 1 - reach)),
            min(self._last, shift_month(month, after)),
            settings,
            lambda: altered_source(self._profile, alteration, settings),
            cut,
        )

    def _plain(self, test: TestName, reach: int, alteration: Alteration, label: str) -> Trial:
        settings = self._profile.settings
        first = max(self._first, shift_month(self._last, 1 - reach))
        return Trial(test, label, first, self._last, settings, lambda: altered_source(self._profile, alteration, settings))

    def _warm_up(self, reach: int) -> Iterator[Trial]:
        first = max(self._first, shift_month(self._last, 1 - reach))
        start = self._base.earliest(self._names, self._sectors, first, self._last)
        if start <= self._profile.months.start:
            self.notes.append(
                f"warm_up was left out: the months {first} to {self._last} look back to {start}, where the profile's history begins"
            )
            return
        settings = self._profile.settings
        later = settings.model_copy(update={"partitions": settings.partitions.model_copy(update={"start": start})})

        def source() -> Source | None:
            if self._profile.provider is None:
                return None
            return AlteredSource(
                self._profile.provider, StartsLater(month_start(start)), settings.fundamentals, self._profile.last_session()
            )

        yield Trial("warm_up", f"history from {start}", first, self._last, later, source, fresh=True)

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
        renamed = {name for each in self._profile.settings.files.renames for name in (each.old, each.new)}
        there = set(members.filter(pl.col("end_date").is_null())["ticker"]) - renamed
        found = [each for sector in self._sectors for each in panel_tickers(snapshots, sector, at) if each in there]
        if len(found) < 3:
            self.notes.append("company was left out: fewer than three members")
            return None
        return found[len(found) // 2]

    # --- Running and comparing ---------------------------------------------------------------------------------------

    def run(self, trials: Sequence[Trial]) -> list[Comparison]:
        """Compute the input as it is, then each trial, and compare."""
        if not trials:
            return []
        total = len(trials) + 1
        self._progress("input as it is", 0, total)
        for first, last in _windows(trials):
            self._base.compute(self._names, self._sectors, first, last)
            if self._base.failures:
                raise RunFailedError("\n".join(self._base.failures))
        found: list[Comparison] = []
        for number, trial in enumerate(trials):
            self._progress(trial.label, number + 1, total)
            found += self._try(trial, self._folder / f"trial-{number}")
        self._progress("done", total, total)
        early = {(each.asset, each.column) for each in found if each.test == "publication" and each.failed}
        of_the_future = ("truncation", "perturbation")
        return [
            replace(each, cause=PUBLISHED_LATER)
            if each.test in of_the_future and each.failed and (each.asset, each.column) in early
            else each
            for each in found
        ]

    def _try(self, trial: Trial, folder: Path) -> list[Comparison]:
        altered = Recomputed.at(folder, trial.settings, trial.source())
        if not trial.fresh:
            altered.take_over(self._base, trial.first, trial.cut)
        # Without a ticker nothing is compared that counts or chooses over tickers.
        names = [name for name in self._names if trial.left_out is None or not self._profile.datasets[name].across]
        altered.compute(names, self._sectors, trial.first, trial.last)
        found = [
            Comparison(name, trial.test, trial.cut, differing=1, cause=f"failed on the altered input: {each}")
            for each in altered.failures
            for name in _assets_of(each)
        ]
        for name in self._base.planner.order:
            keys = self._compared_keys(name, trial, altered)
            if keys:
                found += self._compare(self._profile.datasets[name], keys, trial, altered)
        found = _inherited(found, {name: self._base.upstream(name) for name in {each.asset for each in found}})
        shutil.rmtree(folder, ignore_errors=True)
        return found

    def _compared_keys(self, name: str, trial: Trial, altered: Recomputed) -> set[str]:
        months = set(month_range(trial.first, trial.last))
        both = altered.keys.get(name, set()) & self._base.keys.get(name, set())
        return {each for each in both if parse_key(each)[1] in months}

    def _compare(self, dataset: Dataset, keys: set[str], trial: Trial, altered: Recomputed) -> Iterator[Comparison]:
        expected, found = (each.profile.store.read(dataset, keys).drop("month").collect() for each in (self._base, altered))
        decisions = {self._base.profile.known_through(month) for month in {parse_key(each)[1] for each in keys}}
        expected, found = (known_rows(dataset, rows, trial.cut, decisions) for rows in (expected, found))
        if trial.test == "warm_up":
            start = first_session_from(month_start(trial.settings.partitions.start))
            expected, found = (rows_after(dataset, rows, start) for rows in (expected, found))
        if trial.left_out is not None:
            if dataset.across:
                return
            if "ticker" in dataset.columns:
                expected, found = (rows.filter(pl.col("ticker") != trial.left_out) for rows in (expected, found))
        columns = {name: column for name, column in dataset.columns.items() if trial.left_out is None or not column.across}
        tolerance = SETTLED if trial.test == "warm_up" else 0.0
        compared = compare(dataset, expected, found, columns, tolerance=tolerance)
        asked = dataset.name in self._asked
        if not compared.differences and asked:
            yield Comparison(dataset.name, trial.test, trial.cut, compared=compared.rows)
        for difference in compared.differences:
            yield _comparison(dataset, trial, difference)


def _windows(trials: Sequence[Trial]) -> list[tuple[str, str]]:
    """Months that the trials compute anew; what lies close together as one."""
    found: list[tuple[str, str]] = []
    for first, last in sorted((trial.first, trial.last) for trial in trials):
        if found and first <= shift_month(found[-1][1], _APART):
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _comparison(dataset: Dataset, trial: Trial, difference: Difference) -> Comparison:
    row = difference.rows.row(0, named=True)
    declared = ""
    if trial.test == "warm_up":
        declared = dataset.anchored or (dataset.columns[difference.column].anchored if difference.column else "")
    return Comparison(
        asset=dataset.name,
        test=trial.test,
        cut=trial.cut,
        column=difference.column,
        compared=difference.compared,
        differing=len(difference.rows),
        first_date=row[dataset.dated_by],
        ticker=row.get("ticker"),
        sector=row.get("sector"),
        key=", ".join(f"{name}={row[name]}" for name in key_columns(dataset)),
        expected=_text(row["expected"]),
        found=_text(row["found"]),
        deviation=difference.deviation,
        cause=likely_cause(trial.test, dataset, difference, trial.cut),
        declared=declared,
    )


def _inherited(found: Sequence[Comparison], upstream: dict[str, list[str]]) -> list[Comparison]:
    """Name for each failure the most upstream asset that fails and that it reads."""
    failing = {each.asset for each in found if each.failed}
    made = []
    for each in found:
        roots = [name for name in upstream[each.asset] if name in failing] if each.failed else []
        made.append(replace(each, inherited_from=roots[0]) if roots else each)
    return made


def _assets_of(reason: str) -> list[str]:
    """Names with which the reason of a failed run begins."""
    return reason.partition(" (")[0].partition(":")[0].split(", ")


def _text(value: object) -> str:
    return "null" if value is None else repr(value) if isinstance(value, float) else str(value)

"""`audit_lookahead`: the input as it is and altered, computed; what their rows show. How it is altered is not here."""

import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import polars as pl

from quant_assets.audit.altered_runs import ALTERING, AlteredRun, AlteredRuns, Stretch, check_cuts, windows
from quant_assets.audit.causes import PUBLISHED_LATER, likely_cause
from quant_assets.audit.compare import SETTLED, Difference, compare, known_by_name, known_rows, rows_after
from quant_assets.audit.cuts import Cut, market_cuts
from quant_assets.audit.findings import AuditResult, Comparison, TestName
from quant_assets.audit.inputs import readable_often
from quant_assets.audit.runs import Recomputed, check_assets
from quant_assets.audit.single_months import computed_alone
from quant_assets.audit.trained import said_of, trained_datasets
from quant_assets.errors import SettingsError
from quant_assets.grains import check_month, check_sector
from quant_assets.io.store import DatasetStore
from quant_assets.market.calendar import first_session_from
from quant_assets.partitions import month_range, month_start, parse_key, shift_month
from quant_assets.planning.plan import total_outputs
from quant_assets.profile import Profile
from quant_assets.running.execute import RunFailedError
from quant_assets.schemas import Dataset
from quant_assets.settings.loading import Settings

#: (what is being done, steps done, steps in all)
Progress = Callable[[str, int, int], None]

#: Cuts of each ticker's own: of some months, and of a whole history.
_ROUNDS, _ROUNDS_OF_ALL = 3, 12

#: Partitions that have been computed, by dataset.
Keys = dict[str, set[str]]


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
    every_month: bool = False,
    progress: Progress | None = None,
) -> AuditResult:
    """Compute the real assets on altered inputs, here and in a temporary folder; compare what must not have changed.

    Nothing of the user's storage or Dagster instance is read or written.

    Args:
        of: profile, or its settings; a profile with a provider of its own is audited on that.
        sectors: slugs.
        first: first month whose rows are audited; earlier ones are computed as the lookbacks need them.
        last: last month.
        assets: those whose rows are compared [default: all]; only what they read is computed, and compared as well, so
            that a difference is traced to where it begins.
        tests: which [default: all but "learning", which is `quant_assets.audit.learning_controls`].
        cuts: sessions at which the future is altered [default: `audit.cuts.market_cuts`].
        reach: months up to each cut that are computed anew on the altered input, and compared; earlier ones serve as
            they are.
        every_month: whether the cuts chosen by default are those of a whole history.
        progress: told of each step.

    Raises:
        SettingsError: a sector, month, asset, test or cut does not exist.
        RunFailedError: an asset failed on the input as it is. On an altered one that is a finding.

    """
    profile = of if isinstance(of, Profile) else Profile(of)
    began = time.monotonic()
    question = Question(
        tuple(dict.fromkeys(check_sector(each) for each in sectors)),
        first,
        last,
        None if assets is None else tuple(assets),
        reach,
        every_month,
    )
    wanted: tuple[TestName, ...] = tuple(tests) if tests is not None else ALTERING
    question.check(profile, wanted, cuts or ())
    folder = Path(tempfile.mkdtemp(prefix="quant-audit-"))
    told = progress or (lambda *_: None)
    try:
        audit = Lookahead(profile, question, folder)
        runs, notes = audit.altered_runs(wanted, None if cuts is None else [Cut(day) for day in cuts])
        total = len(runs) + 1
        if runs:
            told("input as it is", 0, total)
        for window in windows(runs):
            audit.compute(window)
        found: list[Comparison] = []
        for number, run in enumerate(runs):
            told(run.label, number + 1, total)
            found += audit.compared(run)
        if runs:
            told("done", total, total)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return question.result(profile.settings.profile, found, notes, time.monotonic() - began)


@dataclass(frozen=True)
class Question:
    """What is audited.

    Attributes:
        sectors: slugs.
        first, last: months whose rows are audited.
        assets: whose rows are compared; None for all.
        reach: months up to each cut that are computed anew.
        every_month: whether all months are, and each ticker gets more cuts of its own.

    """

    sectors: tuple[str, ...]
    first: str
    last: str
    assets: tuple[str, ...] | None
    reach: int
    every_month: bool = False

    @property
    def rounds(self) -> int:
        """How many cuts each ticker gets of its own."""
        return _ROUNDS_OF_ALL if self.every_month else _ROUNDS

    def check(self, profile: Profile, tests: Sequence[TestName], cuts: Sequence[date] = ()) -> None:
        """Make sure that all that is asked for exists.

        Raises:
            SettingsError: something does not.

        """
        profile.check_months(check_month(self.first), check_month(self.last))
        unknown = [name for name in tests if name not in ALTERING]
        if unknown:
            raise SettingsError(f"there is no test '{unknown[0]}'; tests are {', '.join(ALTERING)}")
        if not self.sectors:
            raise SettingsError("an audit needs a sector")
        check_assets(profile, self.assets or ())
        check_cuts(profile, cuts, self.first, self.last)

    def result(self, profile: str, found: Sequence[Comparison], notes: Sequence[str], seconds: float) -> AuditResult:
        """The result, in the order of the comparisons."""
        early = {(each.asset, each.column) for each in found if each.test == "publication" and each.failed}
        of_the_future = ("truncation", "perturbation")
        told = (
            replace(each, cause=PUBLISHED_LATER)
            if each.test in of_the_future and each.failed and (each.asset, each.column) in early
            else each
            for each in found
        )
        return AuditResult(profile, self.sectors, self.first, self.last, round(seconds, 1), tuple(told), tuple(notes))


@dataclass(frozen=True)
class Altered:
    """What an altered run has left.

    Attributes:
        url: of the store of its rows.
        keys: partitions that were computed, by dataset.
        failures: why runs failed.
        alone: what the month that was computed once more by itself has left.

    """

    url: str
    keys: Keys
    failures: Sequence[str] = field(default_factory=list)
    alone: "Altered | None" = None

    @classmethod
    def by(cls, run: Recomputed) -> "Altered":
        """What a run has left."""
        return cls(run.profile.store.url, run.keys, run.failures)


class Lookahead:
    """One audit's run on the input as it is, and its altered runs.

    Several processes may each have one of the same folder: one computes the input as it is, the others are told of its
    partitions.

    Args:
        profile: as the user has it.
        question: what is audited.
        folder: scratch.

    """

    def __init__(self, profile: Profile, question: Question, folder: Path) -> None:
        self._profile = readable_often(profile)
        self._question, self._folder = question, folder
        self.base = Recomputed.at(folder / "base", profile.settings, self._profile.provider, profile)
        trained = trained_datasets(profile)
        self._names = [
            name
            for name in self.base.planner.order
            if name not in trained and (question.assets is None or name in question.assets)
        ]

    def altered_runs(
        self, tests: Sequence[TestName], cuts: Sequence[Cut] | None = None
    ) -> tuple[list[AlteredRun], list[str]]:
        """Every altered run, and notes on what is not tested; the cuts are chosen where none are given."""
        question = self._question
        if cuts is None:
            cuts = market_cuts(
                self._profile, self.base.planner, question.first, question.last, every_month=question.every_month
            )
        runs = AlteredRuns(self._profile, self.base, question.sectors, question.first, question.last, self._names)
        found = runs.of(tests, cuts, question.reach, question.rounds)
        taken: dict[str, set[str]] = {}
        for window in windows(found) if trained_datasets(self._profile) else ():
            for name, keys in self._stored(window):
                taken.setdefault(name, set()).update(keys)
        return found, [*runs.notes, *said_of(taken)]

    def work(self, of: AlteredRun | Stretch) -> int:
        """Partitions that an altered run computes, or the input as it is with what comes before."""
        names = of.names or self._names
        if isinstance(of, AlteredRun) and not of.fresh:
            return len(names) * len(self._question.sectors) * len(month_range(of.first, of.last))
        return total_outputs(self.base.planner.plan(names, self._question.sectors, of.first, of.last).phases)

    def _stored(self, stretch: Stretch) -> Iterable[tuple[str, Collection[str]]]:
        names = stretch.names or self._names
        plan = self.base.planner.plan(names, self._question.sectors, stretch.first, stretch.last)
        return plan.stored.items()

    def compute(self, stretch: Stretch) -> Keys:
        """Compute the input as it is; all of its partitions that there are now.

        Raises:
            RunFailedError: an asset failed.

        """
        names = stretch.names or self._names
        self.base.compute(names, self._question.sectors, stretch.first, stretch.last)
        if self.base.failures:
            raise RunFailedError("\n".join(self.base.failures))
        return self.base.keys

    def compared(self, run: AlteredRun) -> list[Comparison]:
        """Compute an altered run and compare it with the input as it is."""
        return self.judge(run, self.alter(run))

    def alter(self, run: AlteredRun) -> Altered:
        """Compute an altered run; but for a fresh one, the input as it is has been computed for its months."""
        altered = Recomputed.at(
            self._folder / run.label.replace(" ", "-"), run.settings, run.source(self._profile), self._profile
        )
        if not run.fresh:
            altered.take_over(self.base, run.first, run.cut)
        # Without a ticker, or with days of their own, nothing is compared that counts or chooses over tickers.
        by_ticker = run.left_out is not None or run.days
        names = [name for name in run.names or self._names if not (by_ticker and self._profile.datasets[name].across)]
        sectors, first = self._question.sectors, run.first
        if run.test == "truncation" and first < run.last:
            # The month of the cut as a schedule runs it on that day: by itself.
            altered.compute(names, sectors, first, shift_month(run.last, -1))
            first = run.last
        altered.compute(names, sectors, first, run.last)
        left = Altered.by(altered)
        if run.alone is None or altered.failures:
            return left
        alone = computed_alone(run, self.base, altered, self._profile, names, sectors)
        return replace(left, alone=Altered.by(alone))

    def judge(self, run: AlteredRun, altered: Altered) -> list[Comparison]:
        """Compare an altered run with the input as it is, and remove its folder."""
        found = list[Comparison]()
        if run.test != "months":
            found += self._judged(run, self.base.profile.store, self.base.keys, altered)
        if altered.alone is not None and run.alone is not None:
            end = self._profile.known_through(run.alone)
            by_itself = replace(run, test="months", first=run.alone, last=run.alone, cut=end)
            found += self._judged(by_itself, DatasetStore(altered.url), altered.keys, altered.alone)
            shutil.rmtree(altered.alone.url, ignore_errors=True)
        shutil.rmtree(altered.url, ignore_errors=True)
        return found

    def _judged(self, run: AlteredRun, expected: DatasetStore, there: Keys, altered: Altered) -> list[Comparison]:
        """What an altered run has left beside what is expected, both of the months of the run."""
        found = [
            Comparison(name, run.test, run.cut, differing=1, cause=f"failed on the altered input: {each}")
            for each in altered.failures
            for name in _assets_of(each)
        ]
        months = set(month_range(run.first, run.last))
        for name in self.base.planner.order:
            both = altered.keys.get(name, set()) & there.get(name, set())
            keys = {each for each in both if parse_key(each)[1] in months}
            if keys:
                stores = expected, DatasetStore(altered.url)
                found += self._compare(self._profile.datasets[name], keys, run, stores)
        return _inherited(found, {name: self.base.upstream(name) for name in {each.asset for each in found}})

    def _compare(
        self, dataset: Dataset, keys: set[str], run: AlteredRun, stores: tuple[DatasetStore, DatasetStore]
    ) -> Iterator[Comparison]:
        expected, found = (each.read(dataset, keys).drop("month").collect() for each in stores)
        decisions = {self.base.profile.known_through(month) for month in {parse_key(each)[1] for each in keys}}
        by_ticker = run.left_out is not None or run.days
        if by_ticker and dataset.across:
            return
        if not run.days:
            expected, found = (known_rows(dataset, rows, run.cut, decisions) for rows in (expected, found))
        else:
            expected, found = (known_by_name(dataset, rows, dict(run.days)) for rows in (expected, found))
        if run.test == "warm_up":
            start = first_session_from(month_start(run.settings.partitions.start))
            expected, found = (rows_after(dataset, rows, start) for rows in (expected, found))
        if run.left_out is not None and "ticker" in dataset.columns:
            expected, found = (rows.filter(pl.col("ticker") != run.left_out) for rows in (expected, found))
        columns = {name: column for name, column in dataset.columns.items() if not (by_ticker and column.across)}
        tolerance = SETTLED if run.test == "warm_up" else 0.0
        compared = compare(dataset, expected, found, columns, tolerance=tolerance)
        asked = dataset.name in (run.names or self._names)
        if not compared.differences and asked:
            yield Comparison(dataset.name, run.test, None if run.days else run.cut, compared=compared.rows)
        for difference in compared.differences:
            yield _comparison(dataset, run, difference)


def _comparison(dataset: Dataset, run: AlteredRun, difference: Difference) -> Comparison:
    row, cut = difference.rows.row(0, named=True), run.cut
    if run.days:  # the day of the ticker or series of the first row
        cut = dict(run.days).get(str(row.get("ticker", row.get("series_id"))))
    declared = ""
    if run.test == "warm_up":
        declared = dataset.anchored or (dataset.columns[difference.column].anchored if difference.column else "")
    return Comparison(
        asset=dataset.name,
        test=run.test,
        cut=cut,
        column=difference.column,
        compared=difference.compared,
        differing=len(difference.rows),
        first_date=row[dataset.dated_by],
        ticker=row.get("ticker"),
        sector=row.get("sector"),
        key=", ".join(f"{name}={row[name]}" for name in dataset.identity),
        expected=_text(row["expected"]),
        found=_text(row["found"]),
        deviation=difference.deviation,
        cause=likely_cause(run.test, dataset, difference, cut),
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

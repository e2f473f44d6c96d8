"""`audit_lookahead`: the input as it is and altered, computed; what their rows show. How it is altered is not here."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import polars as pl

from quant_assets.audit.altered_runs import ALTERING, AlteredRun, AlteredRuns, check_cuts, default_cuts, windows
from quant_assets.audit.causes import likely_cause
from quant_assets.audit.compare import SETTLED, Compared, Difference, compare, known_rows, rows_after
from quant_assets.audit.diagnosis import Diagnosis, spread
from quant_assets.audit.entry_lags import entry_lags
from quant_assets.audit.findings import AuditResult, Comparison, TestName
from quant_assets.audit.inputs import readable_often
from quant_assets.audit.runs import Recomputed, check_assets
from quant_assets.audit.trained import said_of, trained_datasets
from quant_assets.errors import SettingsError
from quant_assets.grains import check_month, check_sector
from quant_assets.io.store import DatasetStore
from quant_assets.market.calendar import first_session_from
from quant_assets.partitions import month_range, month_start, parse_key
from quant_assets.profile import Profile
from quant_assets.running.execute import RunFailedError
from quant_assets.schemas import Dataset
from quant_assets.settings.loading import Settings

#: (what is being done, steps done, steps in all)
Progress = Callable[[str, int, int], None]

#: Share of its partitions in which an asset has rows, from which on a comparison of no row is no matter of chance.
_REGULAR = 0.5

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
    diagnosed: bool = True,
    lags: bool = False,
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
        cuts: sessions at which the future is altered [default: `default_cuts`].
        reach: months up to each cut that are computed anew on the altered input, and compared; earlier ones serve as
            they are.
        diagnosed: whether it is found out of a failure through which input it comes, by further runs.
        lags: whether scores are held against the returns by entry lag, too (`entry_lags`).
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
        diagnosed,
    )
    wanted: tuple[TestName, ...] = tuple(tests) if tests is not None else ALTERING
    at = question.checked(profile, wanted, cuts)
    folder = Path(tempfile.mkdtemp(prefix="quant-audit-"))
    told = progress or (lambda *_: None)
    try:
        audit = Lookahead(profile, question, folder)
        runs, notes = audit.altered_runs(wanted, at)
        total = len(runs) + 1
        if runs:
            told("input as it is", 0, total)
        for window in windows(runs):
            audit.compute(*window)
        found: list[Comparison] = []
        for number, run in enumerate(runs):
            told(run.label, number + 1, total)
            found += audit.compared(run)
        if runs:
            if lags:
                compared, said = audit.entry_lags()
                found, notes = [*found, *compared], [*notes, *said]
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
        diagnosed: whether failures are looked into, by further runs.

    """

    sectors: tuple[str, ...]
    first: str
    last: str
    assets: tuple[str, ...] | None
    reach: int
    diagnosed: bool = True

    def checked(self, profile: Profile, tests: Sequence[TestName], cuts: Sequence[date] | None) -> tuple[date, ...]:
        """The cuts, once it is clear that all that is asked for exists.

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
        at = tuple(cuts) if cuts is not None else default_cuts(profile, self.first, self.last)
        check_cuts(profile, at, self.first, self.last)
        return at

    def result(self, profile: str, found: Sequence[Comparison], notes: Sequence[str], seconds: float) -> AuditResult:
        """The result, in the order of the comparisons."""
        return AuditResult(
            profile, self.sectors, self.first, self.last, round(seconds, 1), tuple(spread(found)), tuple(notes)
        )


@dataclass(frozen=True)
class Altered:
    """What an altered run has left.

    Attributes:
        url: of the store of its rows.
        keys: partitions that were computed, by dataset.
        failures: why runs failed.

    """

    url: str
    keys: Keys
    failures: Sequence[str] = field(default_factory=list)


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

    def altered_runs(self, tests: Sequence[TestName], cuts: Sequence[date]) -> tuple[list[AlteredRun], list[str]]:
        """Every altered run, and notes on what is not tested."""
        question = self._question
        runs = AlteredRuns(self._profile, self.base, question.sectors, question.first, question.last, self._names)
        found = runs.of(tests, cuts, question.reach)
        taken: dict[str, set[str]] = {}
        for window in windows(found) if trained_datasets(self._profile) else ():
            for name, keys in self.base.planner.plan(self._names, question.sectors, *window).stored.items():
                taken.setdefault(name, set()).update(keys)
        return found, [*runs.notes, *said_of(taken)]

    def compute(self, first: str, last: str) -> Keys:
        """Compute the input as it is; all of its partitions that there are now.

        Raises:
            RunFailedError: an asset failed.

        """
        self.base.compute(self._names, self._question.sectors, first, last)
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
        # Without a ticker nothing is compared that counts or chooses over tickers.
        names = [name for name in self._names if run.left_out is None or not self._profile.datasets[name].across]
        altered.compute(names, self._question.sectors, run.first, run.last)
        return Altered(altered.profile.store.url, altered.keys, altered.failures)

    def judge(self, run: AlteredRun, altered: Altered) -> list[Comparison]:
        """Compare an altered run with the input as it is, and remove its folder."""
        store = DatasetStore(altered.url)
        found = [
            Comparison(name, run.test, run.cut, differing=1, cause=f"failed on the altered input: {each}")
            for each in altered.failures
            for name in _assets_of(each)
        ]
        for name in self.base.planner.order:
            keys = self._compared_keys(name, run, altered)
            if keys:
                found += self._compare(self._profile.datasets[name], keys, run, store)
        found = _inherited(found, {name: self.base.upstream(name) for name in {each.asset for each in found}})
        if self._question.diagnosed and any(each.failed for each in found):
            sectors = self._question.sectors
            found = Diagnosis(self._profile, self.base, sectors, self._folder, self._differing).told(run, store, found)
        shutil.rmtree(altered.url, ignore_errors=True)
        return found

    def entry_lags(self) -> tuple[list[Comparison], list[str]]:
        """Scores of the input as it is against the returns from their own close and from the next one."""
        return entry_lags(self.base, [name for name in self._names if self.base.keys.get(name)])

    def _compared_keys(self, name: str, run: AlteredRun, altered: Altered) -> set[str]:
        months = set(month_range(run.first, run.last))
        both = altered.keys.get(name, set()) & self.base.keys.get(name, set())
        return {each for each in both if parse_key(each)[1] in months}

    def _compare(
        self, dataset: Dataset, keys: set[str], run: AlteredRun, altered: DatasetStore
    ) -> Iterator[Comparison]:
        if run.left_out is not None and dataset.across:
            return
        compared, empty = self._rows_compared(dataset, keys, run, self.base.profile.store, altered)
        asked = dataset.name in self._names
        if not compared.differences and asked:
            yield Comparison(dataset.name, run.test, run.cut, compared=compared.rows, empty=empty)
        for difference in compared.differences:
            yield _comparison(dataset, run, difference)

    def _rows_compared(
        self, dataset: Dataset, keys: set[str], run: AlteredRun, one: DatasetStore, other: DatasetStore
    ) -> tuple[Compared, bool]:
        """Rows of two stores as the run compares them, and whether there are none because nothing had happened."""
        expected, found = (each.read(dataset, keys).collect() for each in (one, other))
        rare = expected.select(dataset.grain.levels).n_unique() < _REGULAR * len(keys)
        expected, found = expected.drop("month"), found.drop("month")
        decisions = {self.base.profile.known_through(month) for month in {parse_key(each)[1] for each in keys}}
        expected, found = (known_rows(dataset, rows, run.cut, decisions) for rows in (expected, found))
        if run.test == "warm_up":
            start = first_session_from(month_start(run.settings.partitions.start))
            expected, found = (rows_after(dataset, rows, start) for rows in (expected, found))
        if run.left_out is not None and "ticker" in dataset.columns:
            expected, found = (rows.filter(pl.col("ticker") != run.left_out) for rows in (expected, found))
        columns = {
            name: column for name, column in dataset.columns.items() if run.left_out is None or not column.across
        }
        tolerance = SETTLED if run.test == "warm_up" else 0.0
        return compare(dataset, expected, found, columns, tolerance=tolerance), rare and expected.is_empty()

    def _differing(self, run: AlteredRun, name: str, one: DatasetStore, other: DatasetStore) -> set[str | None]:
        """Columns of an asset that differ between two stores in the months of a run."""
        dataset, months = self._profile.datasets[name], set(month_range(run.first, run.last))
        keys = {each for each in one.existing(dataset) & other.existing(dataset) if parse_key(each)[1] in months}
        compared, _ = self._rows_compared(dataset, keys, run, one, other) if keys else (Compared(0), True)
        return {each.column for each in compared.differences}


def _comparison(dataset: Dataset, run: AlteredRun, difference: Difference) -> Comparison:
    row = difference.rows.row(0, named=True)
    declared = ""
    if run.test == "warm_up":
        declared = dataset.anchored or (dataset.columns[difference.column].anchored if difference.column else "")
    return Comparison(
        asset=dataset.name,
        test=run.test,
        cut=run.cut,
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
        cause=likely_cause(run.test, dataset, difference, run.cut),
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

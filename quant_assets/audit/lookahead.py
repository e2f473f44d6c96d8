"""`audit_lookahead`: computes the assets on unaltered and altered inputs, and compares. Alterations are elsewhere."""

import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import polars as pl

from quant_assets.audit.alterations import Shuffled
from quant_assets.audit.altered_runs import ALTERING, AlteredRun, AlteredRuns, Stretch, windows
from quant_assets.audit.carried_months import first_computed
from quant_assets.audit.compare import (
    SETTLED,
    Compared,
    compare,
    known_by_name,
    known_rows,
    rows_after,
    stored_otherwise,
)
from quant_assets.audit.cuts import Cut, market_cuts
from quant_assets.audit.diagnosis import Diagnosis
from quant_assets.audit.differences import assets_of, differing, inherited
from quant_assets.audit.entry_lags import entry_lags
from quant_assets.audit.findings import AuditResult, Comparison, Exempt, TestName
from quant_assets.audit.inputs import readable_often
from quant_assets.audit.pages import compare_files, compare_shown
from quant_assets.audit.question import REPEATING, Question, last_months
from quant_assets.audit.runs import Recomputed
from quant_assets.audit.single_months import computed_alone
from quant_assets.audit.surroundings import Asked, compare_elsewhere, is_portable
from quant_assets.audit.trained import said_of, trained_datasets
from quant_assets.grains import check_sector
from quant_assets.io.store import DatasetStore
from quant_assets.market.calendar import first_session_from
from quant_assets.partitions import month_range, month_start, parse_key, shift_month
from quant_assets.planning.plan import total_outputs
from quant_assets.profile import Profile
from quant_assets.running.execute import RunFailedError
from quant_assets.schemas import Dataset
from quant_assets.settings.loading import Settings

#: (current step, steps done, total steps)
Progress = Callable[[str, int, int], None]

#: An asset that has rows in a smaller share of its partitions holds rare events: no row to compare may be chance.
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
    every_month: bool = False,
    progress: Progress | None = None,
) -> AuditResult:
    """Compute the real assets on altered inputs in a temporary folder; compare the rows that must not change.

    The user's storage and Dagster instance are neither read nor written.

    Args:
        of: profile, or its settings; a profile's own provider is used.
        sectors: slugs.
        first: first month whose rows are audited; earlier ones are computed as far as lookbacks need them.
        last: last month.
        assets: whose rows are compared [default: all]. Only they and their upstream are computed; upstream rows are
            compared too, to trace a difference to its root.
        tests: names [default: all that alter inputs or compute in other surroundings; the others are controls of
            `quant_assets.audit.parts`].
        cuts: sessions at which the future is altered [default: `audit.cuts.market_cuts`].
        reach: months up to a cut that are computed again on the altered input and compared; earlier ones are taken over
            from the unaltered input.
        diagnosed: whether further runs find the input that causes a failure.
        lags: whether scores are also compared with the returns by entry lag (`entry_lags`).
        every_month: whether the default cuts cover the whole history.
        progress: called at every step.

    Raises:
        SettingsError: a sector, month, asset, test or cut does not exist.
        RunFailedError: an asset failed on the unaltered input. On an altered one that is a finding.

    """
    profile = of if isinstance(of, Profile) else Profile(of)
    began = time.monotonic()
    question = Question(
        tuple(dict.fromkeys(check_sector(sector) for sector in sectors)),
        first,
        last,
        None if assets is None else tuple(assets),
        reach,
        diagnosed=diagnosed,
        every_month=every_month,
    )
    wanted: tuple[TestName, ...] = tuple(tests) if tests is not None else (*ALTERING, *REPEATING)
    question.check(profile, wanted, cuts or ())
    folder = Path(tempfile.mkdtemp(prefix="quant-audit-"))
    report = progress or (lambda *_: None)
    try:
        audit = Lookahead(profile, question, folder)
        chosen_cuts = None if cuts is None else [Cut(day) for day in cuts]
        runs, notes = audit.altered_runs([test for test in wanted if test in ALTERING], chosen_cuts)
        again = last_months(question, runs) if set(wanted) & set(REPEATING) else None
        stretches = windows(runs) or ([Stretch(*again)] if again else [])
        total = len(runs) + (1 if stretches else 0) + (1 if again else 0)
        if stretches:
            report("unaltered input", 0, total)
        for stretch in stretches:
            audit.compute(stretch)
        found: list[Comparison] = []
        for number, run in enumerate(runs):
            report(run.label, number + 1, total)
            found += audit.compared(run)
        if again:
            report("other surroundings", total - 1, total)
            repeated, more = audit.elsewhere(*again)
            found += [comparison for comparison in repeated if comparison.test in wanted]
            notes += more
        if stretches:
            if lags:
                compared, lag_notes = audit.entry_lags()
                found, notes = [*found, *compared], [*notes, *lag_notes]
            report("done", total, total)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return question.result(profile.settings.profile, found, notes, time.monotonic() - began)


@dataclass(frozen=True)
class Altered:
    """The result of an altered run.

    Attributes:
        url: of the store of its rows.
        keys: partitions that were computed, by dataset.
        failures: why runs failed.
        alone: result of the month that was also computed by itself.

    """

    url: str
    keys: Keys
    failures: Sequence[str] = field(default_factory=list)
    alone: "Altered | None" = None

    @classmethod
    def by(cls, run: Recomputed) -> "Altered":
        """The result of a run."""
        return cls(run.profile.store.url, run.keys, run.failures)


class Lookahead:
    """One audit's run on the unaltered input, and its altered runs.

    Several processes may share its folder: one computes the unaltered input, the others get the keys of its partitions.

    Args:
        profile: the user's.
        question: what is audited.
        folder: scratch.

    """

    def __init__(self, profile: Profile, question: Question, folder: Path) -> None:
        self._profile = readable_often(profile)
        self._question, self._folder = question, folder
        self.base = Recomputed.at(folder / "base", profile.settings, self._profile.provider, profile)
        trained, order = trained_datasets(profile), self.base.planner.order
        asked = self.base.with_sectors(question.assets) if question.assets is not None else order
        self._names = [name for name in asked if name not in trained]

    def altered_runs(
        self, tests: Sequence[TestName], cuts: Sequence[Cut] | None = None
    ) -> tuple[list[AlteredRun], list[str]]:
        """All altered runs, and notes on what is not tested; without cuts, the default ones are chosen."""
        question = self._question
        if cuts is None:
            cuts = market_cuts(
                self._profile, self.base.planner, question.first, question.last, every_month=question.every_month
            )
        runs = AlteredRuns(self._profile, self.base, question.sectors, question.first, question.last, self._names)
        altered = runs.of(tests, cuts, question.reach, question.rounds)
        taken: dict[str, set[str]] = {}
        for stretch in windows(altered) if trained_datasets(self._profile) else ():
            for name, keys in self._stored(stretch):
                taken.setdefault(name, set()).update(keys)
        return altered, [*runs.notes, *said_of(taken)]

    def work(self, of: AlteredRun | Stretch) -> int:
        """Number of partitions that an altered run, or a stretch of the unaltered input with its warm-up, computes."""
        names = of.names or self._names
        if isinstance(of, AlteredRun) and not of.fresh:
            return len(names) * len(self._question.sectors) * len(month_range(of.first, of.last))
        first = of.first if isinstance(of, AlteredRun) else self._first_computed(of)
        return total_outputs(self.base.planner.plan(names, self._question.sectors, first, of.last).phases)

    def _stored(self, stretch: Stretch) -> Iterable[tuple[str, Collection[str]]]:
        names = stretch.names or self._names
        first = self._first_computed(stretch)
        return self.base.planner.plan(names, self._question.sectors, first, stretch.last).stored.items()

    def _first_computed(self, stretch: Stretch) -> str:
        return first_computed(self.base, stretch, stretch.names or self._names, self._question.sectors)

    def compute(self, stretch: Stretch) -> Keys:
        """Compute the unaltered input; returns all of its partitions so far.

        Raises:
            RunFailedError: an asset failed.

        """
        names = stretch.names or self._names
        self.base.compute(names, self._question.sectors, self._first_computed(stretch), stretch.last)
        if self.base.failures:
            raise RunFailedError("\n".join(self.base.failures))
        return self.base.keys

    def compared(self, run: AlteredRun) -> list[Comparison]:
        """Compute an altered run and compare it with the unaltered input."""
        return self.judge(run, self.alter(run))

    def alter(self, run: AlteredRun) -> Altered:
        """Compute an altered run; unless it is fresh, the unaltered input must have been computed for its months."""
        altered = Recomputed.at(
            self._folder / run.label.replace(" ", "-"), run.settings, run.source(self._profile), self._profile
        )
        if not run.fresh:
            altered.take_over(self.base.profile.store, self.base.keys, run.first, run.cut)
        # Without a ticker, or with cuts by ticker, assets that compare tickers are left out.
        names = [
            name for name in run.names or self._names if not (run.by_ticker and self._profile.datasets[name].across)
        ]
        sectors, first = self._question.sectors, run.first
        if run.test == "truncation" and first < run.last:
            # The month of the cut by itself, as a schedule runs it on that day.
            altered.compute(names, sectors, first, shift_month(run.last, -1))
            first = run.last
        altered.compute(names, sectors, first, run.last)
        left = Altered.by(altered)
        if run.alone is None or altered.failures:
            return left
        alone = computed_alone(run, self.base, altered, self._profile, names, sectors)
        return replace(left, alone=Altered.by(alone))

    def judge(self, run: AlteredRun, altered: Altered) -> list[Comparison]:
        """Compare an altered run with the unaltered input, and remove its folder."""
        found, store = list[Comparison](), DatasetStore(altered.url)
        if run.test != "months" or altered.failures:
            found += self._judged(run, self.base.profile.store, self.base.keys, altered)
            # `surroundings` names the causes of its own differences.
            if self._question.diagnosed and run.test not in REPEATING and any(each.failed for each in found):
                diagnosis = Diagnosis(self._profile, self.base, self._question.sectors, self._folder, self._differing)
                found = diagnosis.told(run, store, found)
        if altered.alone is not None and run.alone is not None:
            end = self._profile.known_through(run.alone)
            by_itself = replace(run, test="months", first=run.alone, last=run.alone, cut=end)
            found += self._judged(by_itself, store, altered.keys, altered.alone)
            shutil.rmtree(altered.alone.url, ignore_errors=True)
        shutil.rmtree(altered.url, ignore_errors=True)
        return found

    def _judged(
        self, run: AlteredRun, expected: DatasetStore, expected_keys: Keys, altered: Altered
    ) -> list[Comparison]:
        """Comparisons of an altered run with the expected rows, over the months of the run."""
        found = [
            Comparison(name, run.test, run.cut, differing=1, cause=f"failed on the altered input: {each}")
            for each in altered.failures
            for name in assets_of(each)
        ]
        months = set(month_range(run.first, run.last))
        for name in self.base.planner.order:
            both = altered.keys.get(name, set()) & expected_keys.get(name, set())
            keys = {each for each in both if parse_key(each)[1] in months}
            if keys:
                stores = expected, DatasetStore(altered.url)
                found += self._compare(self._profile.datasets[name], keys, run, stores)
        return inherited(found, {name: self.base.upstream(name) for name in {each.asset for each in found}})

    def entry_lags(self) -> tuple[list[Comparison], list[str]]:
        """Scores on the unaltered input compared with the returns from their own close and from the next one."""
        return entry_lags(self.base, [name for name in self._names if self.base.keys.get(name)])

    def elsewhere(self, first: str, last: str) -> tuple[list[Comparison], list[str]]:
        """Compute months of the unaltered input again in other surroundings; comparisons and notes."""
        if self._profile.provider is not None and not is_portable(self._profile.provider):
            return [], [
                Exempt(
                    "state and surroundings were not tested: the profile's provider is an object of the caller, "
                    "which cannot be passed to another process"
                )
            ]
        settings = self._profile.settings.model_copy(update={"as_of": self._profile.last_session()})
        asked = Asked(
            settings,
            self._profile.provider,
            self.base.profile.store.url,
            self.base.keys,
            self._folder / "elsewhere",
            tuple(self._names),
            self._question.sectors,
            first,
            last,
        )
        # No cut: every row of the months is compared.
        run = AlteredRun("surroundings", "other surroundings", first, last, settings, Shuffled())
        return compare_elsewhere(asked, lambda left: self.judge(run, Altered(left.url, left.keys, left.failures)))

    def _compare(
        self, dataset: Dataset, keys: set[str], run: AlteredRun, stores: tuple[DatasetStore, DatasetStore]
    ) -> Iterator[Comparison]:
        if run.by_ticker and dataset.across:
            return
        compared, empty = self._rows_compared(dataset, keys, run, *stores)
        asked = dataset.name in (run.names or self._names)
        if not compared.differences and asked:
            cut = None if run.days else run.cut
            yield Comparison(dataset.name, run.test, cut, compared=compared.rows, empty=empty)
        for difference in compared.differences:
            yield differing(dataset, run, difference)

    def _rows_compared(
        self, dataset: Dataset, keys: set[str], run: AlteredRun, one: DatasetStore, other: DatasetStore
    ) -> tuple[Compared, bool]:
        """Rows of two stores as the run compares them, and whether there are none because of rare events."""
        expected, found = (each.read(dataset, keys).collect() for each in (one, other))
        rare = expected.select(dataset.grain.levels).n_unique() < _REGULAR * len(keys)
        expected, found = expected.drop("month"), found.drop("month")
        decisions = {self.base.profile.known_through(month) for month in {parse_key(each)[1] for each in keys}}
        if not run.days:
            expected, found = (known_rows(dataset, rows, run.cut, decisions) for rows in (expected, found))
        else:
            expected, found = (known_by_name(dataset, rows, dict(run.days)) for rows in (expected, found))
        if run.test == "warm_up":
            start = first_session_from(month_start(run.settings.partitions.start))
            expected, found = (rows_after(dataset, rows, start) for rows in (expected, found))
        if run.left_out is not None and "ticker" in dataset.columns:
            expected, found = (rows.filter(pl.col("ticker") != run.left_out) for rows in (expected, found))
        columns = {name: column for name, column in dataset.columns.items() if not (run.by_ticker and column.across)}
        tolerance = SETTLED if run.test == "warm_up" else 0.0
        compared = compare(dataset, expected, found, columns, tolerance=tolerance)
        differences = compared.differences
        if all(each.column is not None for each in differences):
            moved = stored_otherwise(dataset, expected, found)
            differences += [moved] if moved else []
        # Not if rows differ, since their files then differ too; nor if their last digits may differ.
        if not differences and run.test != "warm_up" and not run.by_ticker:
            differences += compare_files(dataset, expected, found, (one, other))
            differences += compare_shown(dataset, keys, (one, other), run.cut)
        return compared, rare and expected.is_empty()

    def _differing(self, run: AlteredRun, name: str, one: DatasetStore, other: DatasetStore) -> set[str | None]:
        """Columns of an asset that differ between two stores in the months of a run."""
        dataset, months = self._profile.datasets[name], set(month_range(run.first, run.last))
        keys = {each for each in one.existing(dataset) & other.existing(dataset) if parse_key(each)[1] in months}
        compared, _ = self._rows_compared(dataset, keys, run, one, other) if keys else (Compared(0), True)
        return {each.column for each in compared.differences}

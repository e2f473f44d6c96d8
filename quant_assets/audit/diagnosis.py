"""After a failure: does the alteration cause it, and through which input? Likely mistakes are named in `causes`.

The failing assets and their upstream are computed again over the altered run's own months, so that statistics over the
run's rows cover the same rows: twice on the unaltered input, and with one kind of input altered at a time.
"""

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import polars as pl

from quant_assets.audit.alterations import Truncated
from quant_assets.audit.altered_runs import AlteredRun
from quant_assets.audit.causes import BY_ITSELF, MONTHS_TOGETHER, PUBLISHED_LATER
from quant_assets.audit.datasets import read_all
from quant_assets.audit.findings import Comparison, TestName
from quant_assets.audit.inputs import altered_source
from quant_assets.audit.perturbation import Perturbed
from quant_assets.audit.runs import Recomputed
from quant_assets.graph import build_defs
from quant_assets.io.store import DatasetStore
from quant_assets.planning.plan import Planner
from quant_assets.profile import Profile
from quant_assets.settings.loading import Settings
from quant_assets.sources.altered import Alteration, Kind
from quant_assets.sources.base import Source

#: Tests whose altered inputs are those that became known later.
OF_THE_FUTURE: tuple[TestName, ...] = ("truncation", "perturbation", "events", "publication")

_ROW, _ALTERED = "__row", "__altered"

#: Columns of the daily bars that are altered on their own; without columns, the set of rows.
BARS: Mapping[str, tuple[str, ...]] = {
    "prices": ("open", "high", "low", "close"),
    "volumes": ("volume",),
    "dividends and splits": ("dividend", "split_ratio"),
    "which bars there are": (),
}

#: Kinds of rows that are altered on their own.
OTHERS: Mapping[str, tuple[Kind, ...]] = {
    "delistings": ("delistings",),
    "statements": ("statements",),
    "membership": ("membership",),
    "sectors": ("snapshots",),
    "macro": ("macro",),
    "rates of exchange": ("rates",),
    "news": ("news",),
    "crypto-currencies": ("crypto",),
    "indices": ("indices",),
}

_OF_BARS: tuple[Kind, ...] = ("bars", "held")

#: Inputs that are published later than the period that they describe.
PUBLISHED = frozenset({"delistings", "statements", "macro", "rates of exchange", "news", "crypto-currencies"})

#: An asset and its column; None for rows that are on one side only.
Place = tuple[str, str | None]

#: Columns that differ between an asset's rows in two stores, as an altered run compares them.
Differing = Callable[[AlteredRun, str, DatasetStore, DatasetStore], set[str | None]]


@dataclass(frozen=True)
class SomeKinds(Perturbed):
    """Some kinds of rows with other values after the cut; the others are unchanged.

    Attributes:
        kinds: of rows.

    """

    kinds: tuple[Kind, ...] = ()

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows, altered if their kind is chosen."""
        return self._all().rows(kind, rows) if kind in self.kinds else rows

    def stops(self) -> pl.Expr:
        """As for all inputs together if bars are altered; else no ticker stops."""
        stop = self._all().stops()
        return stop if "bars" in self.kinds else pl.when(False).then(stop)

    def _all(self) -> Perturbed:
        return Perturbed(self.cut, self.seed, self.published_later, self.by_ticker)


@dataclass(frozen=True)
class OfBars(SomeKinds):
    """One input of the daily bars with other values after the cut.

    Attributes:
        input: one of `BARS`.

    """

    input: str = "prices"

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Bars with the input's columns altered, or the altered set of bars with its own values."""
        if kind not in _OF_BARS:
            return rows
        columns = BARS[self.input]
        numbered = rows.with_row_index(_ROW)
        altered = self._all().rows(kind, numbered)
        if not columns:
            staying = numbered.join(altered.select(_ROW), on=_ROW, how="semi", maintain_order="left")
            return pl.concat([staying, altered.filter(pl.col(_ROW).is_null())]).drop(_ROW)
        names = [name for name in columns if name in rows.collect_schema()]
        if not names:
            return rows
        others = altered.select(_ROW, *(pl.col(name).alias(f"{name}__other") for name in names), **{_ALTERED: True})
        return (
            numbered.join(others, on=_ROW, how="left", maintain_order="left")
            .with_columns(pl.when(_ALTERED).then(f"{name}__other").otherwise(name).alias(name) for name in names)
            .drop(_ROW, _ALTERED, *(f"{name}__other" for name in names))
        )

    def stops(self) -> pl.Expr:
        """As for all inputs together if the set of bars is altered; else no ticker stops."""
        stop = self._all().stops()
        return pl.when(False).then(stop) if BARS[self.input] else stop


@dataclass(frozen=True)
class OneRemoved(Truncated):
    """One input without what became known after the cut.

    Attributes:
        kinds: of rows.

    """

    kinds: tuple[Kind, ...] = ()

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows, altered if their kind is chosen."""
        return Truncated(self.cut).rows(kind, rows) if kind in self.kinds else rows


@dataclass(frozen=True)
class Diagnosis:
    """Finds why an altered run fails.

    Attributes:
        profile: the user's.
        base: the unaltered input, computed for the run's months.
        sectors: slugs.
        folder: scratch, of the audit.
        differing: compares two stores.

    """

    profile: Profile
    base: Recomputed
    sectors: tuple[str, ...]
    folder: Path
    differing: Differing

    def told(self, run: AlteredRun, altered: DatasetStore, found: Sequence[Comparison]) -> list[Comparison]:
        """The comparisons; those of root assets with their diagnosis.

        A column is diagnosed once in an audit, in the process where it fails first.

        Args:
            run: the altered run.
            altered: its store.
            found: its comparisons, with `inherited_from` set.

        """
        roots = (finding for finding in found if finding.failed and finding.inherited_from is None)
        chosen = [
            finding for finding in roots if finding.asset in self.profile.datasets and self._is_first(run.test, finding)
        ]
        if not chosen:
            return list(found)
        names = [name for name in self.base.planner.order if name in {finding.asset for finding in chosen}]
        diagnosed = self._found_out(
            run, altered, names, failed={finding.asset for finding in chosen if not finding.compared}
        )
        results = [diagnosed.of(finding) if finding in chosen else finding for finding in found]
        for finding in results:
            if (
                finding.cause == MONTHS_TOGETHER and _question(run.test) != run.test
            ):  # no answer for the other test of the future: it may ask again
                self._marker(run.test, finding).touch()
                self._marker(_question(run.test), finding).unlink(missing_ok=True)
        return results

    def _is_first(self, test: TestName, comparison: Comparison) -> bool:
        """Whether no process of this audit has diagnosed the column before."""
        if self._marker(test, comparison).exists():
            return False
        try:
            self._marker(_question(test), comparison).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _marker(self, question: str, comparison: Comparison) -> Path:
        folder = self.folder / "diagnosed"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{question} {comparison.asset}.{comparison.column or 'rows'}"

    def _found_out(
        self, run: AlteredRun, altered: DatasetStore, names: Sequence[str], failed: Collection[str]
    ) -> "_Answers":
        settings, untouched = self.profile.settings, _Untouched(run.cut)
        control = self._computed("as it is", settings, untouched, run, names)
        again = self._computed("again", settings, _Untouched(run.cut), run, names)
        store = control.profile.store
        try:
            alone = self._columns(run, names, store, again.profile.store)
            by_alteration = self._columns(run, names, store, altered)
            frames = set[Place]()
            if not run.fresh:
                frames = self._columns(run, names, self.base.profile.store, store) - by_alteration
            through: dict[str, set[Place]] = {}
            rest = by_alteration - alone
            if run.test in OF_THE_FUTURE and run.cut is not None and (rest or failed) and not control.failures:
                through = dict(self._inputs(run, run.cut, control, names, untouched.asked))
        finally:
            for scratch in (control, again):
                shutil.rmtree(scratch.profile.store.url, ignore_errors=True)
        return _Answers(alone, frames, through)

    def _inputs(
        self, run: AlteredRun, cut: date, control: Recomputed, names: Sequence[str], asked: set[Kind]
    ) -> "Iterator[tuple[str, set[Place]]]":
        """Columns that differ if one input alone is altered, by input."""
        of = run.alteration
        # Seed, `published_later` and the days of tickers, as in the run.
        like_run = (of.seed, of.published_later, of.by_ticker) if isinstance(of, Perturbed) else (1, False, ())
        others = tuple(kind for kinds in OTHERS.values() for kind in kinds)
        bars = {name: OfBars(cut, *like_run, _OF_BARS, name) for name in BARS}
        rest = {name: SomeKinds(cut, *like_run, kinds) for name, kinds in OTHERS.items() if asked & set(kinds)}
        any_differs = False
        for together, kinds, single in (("daily bars", _OF_BARS, bars), ("other inputs together", others, rest)):
            group = self._with(together, SomeKinds(cut, *like_run, kinds), run, names, control)
            any_differs |= bool(group)
            left = set(group)
            for name, alteration in single.items() if group else ():
                differing = self._with(name, alteration, run, names, control)
                left -= differing
                yield name, differing
            if left:  # no single input causes it
                yield together, left
        if any("labels" in self.base.upstream(name) for name in names):
            yield "labels", self._with_other_labels(run, cut, control, names)
        if run.test == "truncation" and not any_differs:
            for name, kinds in {"daily bars": _OF_BARS, **OTHERS}.items():
                if asked & set(kinds):
                    yield f"{name} (removed)", self._with(f"no {name}", OneRemoved(cut, kinds), run, names, control)
            name = "the day of the run (as_of)"
            yield name, self._with(name, OneRemoved(cut), run, names, control, run.settings)

    def _with(
        self,
        name: str,
        alteration: Alteration,
        run: AlteredRun,
        names: Sequence[str],
        control: Recomputed,
        settings: Settings | None = None,
    ) -> "set[Place]":
        altered = self._computed(f"other {name}", settings or self.profile.settings, alteration, run, names)
        places = self._columns(run, names, control.profile.store, altered.profile.store)
        if altered.failures:  # this input alone makes it fail
            places |= {(asset, None) for asset in names}
        shutil.rmtree(altered.profile.store.url, ignore_errors=True)
        return places

    def _with_other_labels(self, run: AlteredRun, cut: date, control: Recomputed, names: Sequence[str]) -> "set[Place]":
        """Columns that differ if labels that became known after the cut have other returns."""
        altered = self._scratch("other labels", self.profile.settings, None, run)
        altered.planner = Planner(build_defs(altered.profile), altered.profile, stored_only=("labels",))
        dataset, store = altered.profile.datasets["labels"], control.profile.store
        draw = (pl.struct(*dataset.key).hash(1) % 2**20).cast(pl.Float64) / 2.0**20 - 0.5
        later = pl.col(dataset.known_at) > cut
        rows = read_all(control, "labels").with_columns(
            forward_return=pl.when(later).then(0.2 * draw).otherwise("forward_return")
        )
        keys = store.existing(dataset)
        known = {key: store.known_through(dataset, key) or self.profile.last_session() for key in keys}
        altered.profile.store.write(dataset, rows, keys, known.__getitem__)
        reading = [name for name in names if name != "labels"]
        computed = [name for name in altered.with_sectors(reading) if name != "labels"]
        altered.compute(computed, self.sectors, run.first, run.last)
        found = self._columns(run, reading, store, altered.profile.store)
        shutil.rmtree(altered.profile.store.url, ignore_errors=True)
        return found

    def _computed(
        self, label: str, settings: Settings, alteration: Alteration, run: AlteredRun, names: Sequence[str]
    ) -> Recomputed:
        scratch = self._scratch(label, settings, altered_source(self.profile, alteration, settings), run)
        scratch.compute(scratch.with_sectors(names), self.sectors, run.first, run.last)
        return scratch

    def _scratch(self, label: str, settings: Settings, source: Source | None, run: AlteredRun) -> Recomputed:
        folder = self.folder / f"{run.label} {label}".replace(" ", "-")
        scratch = Recomputed.at(folder, settings, source or self.profile.provider, self.profile)
        scratch.take_over(self.base.profile.store, self.base.keys, run.first, run.cut)
        return scratch

    def _columns(self, run: AlteredRun, names: Sequence[str], one: DatasetStore, other: DatasetStore) -> "set[Place]":
        return {(name, column) for name in names for column in self.differing(run, name, one, other)}


@dataclass(frozen=True)
class _Answers:
    """The diagnosis of columns.

    Attributes:
        alone: differ when the same input is computed twice.
        frames: differ with the months that are computed together, not with the alteration.
        through: differ if one input alone is altered, by input.

    """

    alone: "set[Place]"
    frames: "set[Place]"
    through: "Mapping[str, set[Place]]"

    def of(self, comparison: Comparison) -> Comparison:
        """The comparison with its diagnosis."""
        place = (comparison.asset, comparison.column)
        if place in self.alone:
            return replace(comparison, cause=BY_ITSELF)
        if place in self.frames:
            return replace(comparison, cause=MONTHS_TOGETHER)
        return replace(comparison, through=", ".join(name for name, places in self.through.items() if place in places))


class _Untouched:
    """The unaltered inputs; records which kinds of rows were read."""

    removes = False

    def __init__(self, cut: date | None) -> None:
        self.last_day = None if cut is None else pl.lit(cut)
        self.asked: set[Kind] = set()

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The same rows."""
        self.asked.add(kind)
        return rows


def spread(found: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons, with a column's diagnosis copied to all its failures that answer the same question.

    The cause of a difference of the future is `PUBLISHED_LATER` if the column also differs in the test of publication,
    and only inputs that are published later than their period cause it.
    """
    by_itself = {(finding.asset, finding.column) for finding in found if finding.cause == BY_ITSELF}
    through = {
        (_question(finding.test), finding.asset, finding.column): finding.through
        for finding in reversed(found)
        if finding.failed and finding.through
    }
    by_months = {(finding.test, finding.asset, finding.column) for finding in found if finding.cause == MONTHS_TOGETHER}
    early = {
        (finding.asset, finding.column)
        for finding in found
        if finding.test == "publication" and finding.failed and finding.cause == PUBLISHED_LATER
    }
    spread_out = []
    for finding in found:
        if finding.failed:
            place = (finding.asset, finding.column)
            finding = replace(finding, through=through.get((_question(finding.test), *place), ""))
            if place in by_itself:
                finding = replace(finding, cause=BY_ITSELF, through="")
            elif (finding.test, *place) in by_months:
                finding = replace(finding, cause=MONTHS_TOGETHER)
            elif place in early and finding.through and set(finding.through.split(", ")) <= PUBLISHED:
                finding = replace(finding, cause=PUBLISHED_LATER)
        spread_out.append(finding)
    return spread_out


def _question(test: TestName) -> str:
    """The question that a test answers: truncation and perturbation share one, as the input is the same."""
    return "future" if test in ("truncation", "perturbation") else test

"""After a failure: does it come of the alteration at all, and through which input alone? How is told in `causes`.

The failing assets and what they read are computed again over the altered run's own months, so that whatever is taken
over all of a run's rows is taken over the same rows: as the input is, twice, and with one kind of input altered.
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

#: Columns of the daily bars that are inputs of their own; without any, which rows there are.
BARS: Mapping[str, tuple[str, ...]] = {
    "prices": ("open", "high", "low", "close"),
    "volumes": ("volume",),
    "dividends and splits": ("dividend", "split_ratio"),
    "which bars there are": (),
}

#: Kinds of rows that are inputs of their own.
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

#: Inputs that are published later than they speak of.
PUBLISHED = frozenset({"delistings", "statements", "macro", "rates of exchange", "news", "crypto-currencies"})

#: An asset and its column; None for rows that one side alone has.
Place = tuple[str, str | None]

#: Columns that differ between an asset's rows in two stores, as an altered run compares them.
Differing = Callable[[AlteredRun, str, DatasetStore, DatasetStore], set[str | None]]


@dataclass(frozen=True)
class SomeKinds(Perturbed):
    """Some kinds of rows with other values after the cut, the rest as it is.

    Attributes:
        kinds: of rows.

    """

    kinds: tuple[Kind, ...] = ()

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Rows of another kind as they are."""
        return self._all().rows(kind, rows) if kind in self.kinds else rows

    def stops(self) -> pl.Expr:
        """As for all inputs together, where bars are altered; else no ticker stops."""
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
        """Bars with the input's columns altered, or those that are there then, with their own values."""
        if kind not in _OF_BARS:
            return rows
        columns = BARS[self.input]
        numbered = rows.with_row_index(_ROW)
        altered = self._all().rows(kind, numbered)
        if not columns:
            there = numbered.join(altered.select(_ROW), on=_ROW, how="semi", maintain_order="left")
            return pl.concat([there, altered.filter(pl.col(_ROW).is_null())]).drop(_ROW)
        names = [name for name in columns if name in rows.collect_schema()]
        if not names:
            return rows
        given = altered.select(_ROW, *(pl.col(name).alias(f"{name}__other") for name in names), **{_ALTERED: True})
        return (
            numbered.join(given, on=_ROW, how="left", maintain_order="left")
            .with_columns(pl.when(_ALTERED).then(f"{name}__other").otherwise(name).alias(name) for name in names)
            .drop(_ROW, _ALTERED, *(f"{name}__other" for name in names))
        )

    def stops(self) -> pl.Expr:
        """As for all inputs together, where it is said which bars there are; else no ticker stops."""
        stop = self._all().stops()
        return pl.when(False).then(stop) if BARS[self.input] else stop


@dataclass(frozen=True)
class OneRemoved(Truncated):
    """One input alone without what became known after the cut.

    Attributes:
        kinds: of rows.

    """

    kinds: tuple[Kind, ...] = ()

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Rows of another kind as they are."""
        return Truncated(self.cut).rows(kind, rows) if kind in self.kinds else rows


@dataclass(frozen=True)
class Diagnosis:
    """Finds out about one failing altered run.

    Attributes:
        profile: as the user has it.
        base: the input as it is, computed for the run's months.
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
        """The comparisons, those of roots with what was found out about them.

        A column is asked about once in an audit, in whichever process it fails first.

        Args:
            run: the altered run.
            altered: its store.
            found: its comparisons, with their roots named.

        """
        roots = (each for each in found if each.failed and each.inherited_from is None)
        asked = [each for each in roots if each.asset in self.profile.datasets and self._is_first(run.test, each)]
        if not asked:
            return list(found)
        names = [name for name in self.base.planner.order if name in {each.asset for each in asked}]
        said = self._found_out(run, altered, names, failed={each.asset for each in asked if not each.compared})
        made = [said.of(each) if each in asked else each for each in found]
        for each in made:
            if (
                each.cause == MONTHS_TOGETHER and _question(run.test) != run.test
            ):  # that says nothing of the other test of the future: it may ask again
                self._marker(run.test, each).touch()
                self._marker(_question(run.test), each).unlink(missing_ok=True)
        return made

    def _is_first(self, test: TestName, each: Comparison) -> bool:
        """Whether no process of this audit has asked about the column before."""
        if self._marker(test, each).exists():
            return False
        try:
            self._marker(_question(test), each).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _marker(self, question: str, each: Comparison) -> Path:
        folder = self.folder / "diagnosed"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{question} {each.asset}.{each.column or 'rows'}"

    def _found_out(
        self, run: AlteredRun, altered: DatasetStore, names: Sequence[str], failed: Collection[str]
    ) -> "_Said":
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
            for each in (control, again):
                shutil.rmtree(each.profile.store.url, ignore_errors=True)
        return _Said(alone, frames, through)

    def _inputs(
        self, run: AlteredRun, cut: date, control: Recomputed, names: Sequence[str], asked: set[Kind]
    ) -> "Iterator[tuple[str, set[Place]]]":
        """Columns that differ with one input altered, by input."""
        of = run.alteration
        # Seed, what is altered, and the days of tickers, as the run has them.
        given = (of.seed, of.published_later, of.by_ticker) if isinstance(of, Perturbed) else (1, False, ())
        others = tuple(kind for kinds in OTHERS.values() for kind in kinds)
        bars = {name: OfBars(cut, *given, _OF_BARS, name) for name in BARS}
        rest = {name: SomeKinds(cut, *given, kinds) for name, kinds in OTHERS.items() if asked & set(kinds)}
        some = False
        for together, kinds, single in (("daily bars", _OF_BARS, bars), ("other inputs together", others, rest)):
            group = self._with(together, SomeKinds(cut, *given, kinds), run, names, control)
            some |= bool(group)
            left = set(group)
            for name, alteration in single.items() if group else ():
                differing = self._with(name, alteration, run, names, control)
                left -= differing
                yield name, differing
            if left:  # no single one brings it about
                yield together, left
        if any("labels" in self.base.upstream(name) for name in names):
            yield "labels", self._with_other_labels(run, cut, control, names)
        if run.test == "truncation" and not some:
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
        made = self._computed(f"other {name}", settings or self.profile.settings, alteration, run, names)
        found = self._columns(run, names, control.profile.store, made.profile.store)
        if made.failures:  # it fails with this input alone
            found |= {(each, None) for each in names}
        shutil.rmtree(made.profile.store.url, ignore_errors=True)
        return found

    def _with_other_labels(self, run: AlteredRun, cut: date, control: Recomputed, names: Sequence[str]) -> "set[Place]":
        """Columns that differ where the labels that became known after the cut have other returns."""
        made = self._scratch("other labels", self.profile.settings, None, run)
        made.planner = Planner(build_defs(made.profile), made.profile, stored_only=("labels",))
        dataset, store = made.profile.datasets["labels"], control.profile.store
        draw = (pl.struct(*dataset.key).hash(1) % 2**20).cast(pl.Float64) / 2.0**20 - 0.5
        later = pl.col(dataset.known_at) > cut
        rows = read_all(control, "labels").with_columns(
            forward_return=pl.when(later).then(0.2 * draw).otherwise("forward_return")
        )
        keys = store.existing(dataset)
        known = {each: store.known_through(dataset, each) or self.profile.last_session() for each in keys}
        made.profile.store.write(dataset, rows, keys, known.__getitem__)
        reading = [name for name in names if name != "labels"]
        asked = [name for name in made.with_sectors(reading) if name != "labels"]
        made.compute(asked, self.sectors, run.first, run.last)
        found = self._columns(run, reading, store, made.profile.store)
        shutil.rmtree(made.profile.store.url, ignore_errors=True)
        return found

    def _computed(
        self, label: str, settings: Settings, alteration: Alteration, run: AlteredRun, names: Sequence[str]
    ) -> Recomputed:
        made = self._scratch(label, settings, altered_source(self.profile, alteration, settings), run)
        made.compute(made.with_sectors(names), self.sectors, run.first, run.last)
        return made

    def _scratch(self, label: str, settings: Settings, source: Source | None, run: AlteredRun) -> Recomputed:
        folder = self.folder / f"{run.label} {label}".replace(" ", "-")
        made = Recomputed.at(folder, settings, source or self.profile.provider, self.profile)
        made.take_over(self.base.profile.store, self.base.keys, run.first, run.cut)
        return made

    def _columns(self, run: AlteredRun, names: Sequence[str], one: DatasetStore, other: DatasetStore) -> "set[Place]":
        return {(name, column) for name in names for column in self.differing(run, name, one, other)}


@dataclass(frozen=True)
class _Said:
    """What was found out about columns.

    Attributes:
        alone: those that differ when the same input is computed twice.
        frames: those that differ by the months that are computed together, and not by the alteration.
        through: those that differ with one input altered, by input.

    """

    alone: "set[Place]"
    frames: "set[Place]"
    through: "Mapping[str, set[Place]]"

    def of(self, each: Comparison) -> Comparison:
        """The comparison with what was found out about it."""
        place = (each.asset, each.column)
        if place in self.alone:
            return replace(each, cause=BY_ITSELF)
        if place in self.frames:
            return replace(each, cause=MONTHS_TOGETHER)
        return replace(each, through=", ".join(name for name, places in self.through.items() if place in places))


class _Untouched:
    """The inputs as they are; keeps which kinds of rows were asked for."""

    removes = False

    def __init__(self, cut: date | None) -> None:
        self.last_day = None if cut is None else pl.lit(cut)
        self.asked: set[Kind] = set()

    def rows(self, kind: Kind, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows."""
        self.asked.add(kind)
        return rows


def spread(found: Sequence[Comparison]) -> list[Comparison]:
    """What was found out about a column, told of all its failures that answer the same question.

    A difference of the future is `PUBLISHED_LATER` where the column differs in the test of publication too, and no
    input but those that are published later than they speak of brings it about.
    """
    by_itself = {(each.asset, each.column) for each in found if each.cause == BY_ITSELF}
    through = {
        (_question(each.test), each.asset, each.column): each.through
        for each in reversed(found)
        if each.failed and each.through
    }
    by_months = {(each.test, each.asset, each.column) for each in found if each.cause == MONTHS_TOGETHER}
    early = {
        (each.asset, each.column)
        for each in found
        if each.test == "publication" and each.failed and each.cause == PUBLISHED_LATER
    }
    made = []
    for each in found:
        if each.failed:
            each = replace(each, through=through.get((_question(each.test), each.asset, each.column), ""))
            if (each.asset, each.column) in by_itself:
                each = replace(each, cause=BY_ITSELF, through="")
            elif (each.test, each.asset, each.column) in by_months:
                each = replace(each, cause=MONTHS_TOGETHER)
            elif (each.asset, each.column) in early and each.through and set(each.through.split(", ")) <= PUBLISHED:
                each = replace(each, cause=PUBLISHED_LATER)
        made.append(each)
    return made


def _question(test: TestName) -> str:
    """Tests that ask the same: what comes of the future comes through the same input."""
    return "future" if test in ("truncation", "perturbation") else test

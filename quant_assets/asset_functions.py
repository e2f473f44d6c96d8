"""The arguments of asset functions, chosen by the annotations of their parameters, and `Run`.

An asset function computes rows from its parameters alone, so its signature lists all dependencies. The annotation of a
parameter decides its argument: a group of settings by its type (`LabelSettings`), one setting by
`Annotated[int, Setting("weights.horizon")]`, the provider by a Protocol of `sources.base`, the features by
`FeatureLibrary`, the models by `Models`, the log of trials by `TrialLog`, ordered trainings by `TrainingOrders`.
`pl.DataFrame` and `pl.LazyFrame` are inputs, named like the dataset; `| None` marks an input that only some settings
need; `sector: str` makes it a function of one sector's rows. `assets.declare` passes the arguments, `provenance`
records them.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, cached_property
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.dagster_internals import show_beside
from quant_assets.errors import DatasetError
from quant_assets.exports import export_orders, export_predictions, export_sleeves, halt_reason
from quant_assets.features.library import FeatureLibrary
from quant_assets.grains import MONTH
from quant_assets.io.store import DatasetStore
from quant_assets.learning.models import Models
from quant_assets.learning.trained import TrainedModel
from quant_assets.market.calendar import decision_sessions, last_session_to, sessions
from quant_assets.page_links import page_link
from quant_assets.partitions import RunPartitions, key, month_end, month_start, shift_month
from quant_assets.profile import Profile
from quant_assets.runtime.launch import Launcher, launcher
from quant_assets.schemas import Dataset
from quant_assets.settings.paths import groups, setting, setting_type
from quant_assets.sources.base import Source
from quant_assets.sources.registry import LEFT_OUT, said_left_out, said_read
from quant_assets.tracking import log_trainings
from quant_assets.training_orders import TrainingOrders, ordered
from quant_assets.trial_log import TrialLog

_PROTOCOLS = "quant_assets.sources.base"

Kind = Literal[
    "run", "sector", "input", "setting", "source", "features", "models", "trials", "orders", "profile", "given"
]


@dataclass(frozen=True)
class Setting:
    """One setting as a parameter: `Annotated[int, Setting("weights.horizon")]`."""

    path: str


@dataclass(frozen=True)
class Parameter:
    """The meaning of a parameter of an asset function.

    Attributes:
        kind: of the argument; "given" is a constant of the asset, such as the text of a SQL model.
        path: dotted name of a setting or a group of settings.
        lazy: whether an input is passed as a LazyFrame.

    """

    kind: Kind
    path: str = ""
    lazy: bool = False


@cache
def parameters(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    """The meaning of each parameter of an asset function.

    Raises:
        TypeError: a parameter has no annotation, is Annotated without a setting, or names one that does not exist.

    """
    hints = get_type_hints(function, include_extras=True)
    return {name: _parameter(function, name, hints.get(name)) for name in signature(function).parameters}


def lazy_inputs(function: Callable[..., Any], names: Iterable[str]) -> set[str]:
    """Names of the inputs that an asset function takes as LazyFrames.

    Inputs without a parameter of their own go to a catch-all such as `**checkpoints: pl.LazyFrame`.
    """
    rest = next((each.name for each in signature(function).parameters.values() if each.kind is each.VAR_KEYWORD), None)
    expected = parameters(function)
    return {name for name in names if (parameter := expected.get(name, expected.get(rest or ""))) and parameter.lazy}


def missing_inputs(function: Callable[..., Any], names: Iterable[str]) -> set[str]:
    """Inputs that an asset function has a parameter for, but the profile lacks."""
    named = {each.name for each in signature(function).parameters.values() if each.kind is not each.VAR_KEYWORD}
    return {name for name, each in parameters(function).items() if each.kind == "input" and name in named} - {*names}


def _parameter(function: Callable[..., Any], name: str, hint: Any) -> Parameter:
    where = f"parameter '{name}' of asset function {function.__module__}.{function.__qualname__}"
    if hint is None:
        raise TypeError(f"{where} has no annotation")
    if get_origin(hint) is Annotated:
        paths = [each.path for each in get_args(hint)[1:] if isinstance(each, Setting)]
        if len(paths) != 1:
            raise TypeError(
                f'{where} is Annotated without its setting; write Annotated[int, Setting("weights.horizon")]'
            )
        setting_type(paths[0])
        return Parameter("setting", paths[0])
    if name == "sector" and hint is str:
        return Parameter("sector")
    eager, lazy = (pl.DataFrame, pl.DataFrame | None), (pl.LazyFrame, pl.LazyFrame | None)
    if hint in eager or hint in lazy:  # None: not every profile has the input
        return Parameter("input", lazy=hint in lazy)
    if hint in groups():
        return Parameter("setting", groups()[hint])
    kinds: dict[Any, Kind] = {
        Run: "run",
        FeatureLibrary: "features",
        Models: "models",
        TrialLog: "trials",
        TrainingOrders: "orders",
        Profile: "profile",
    }
    if hint in kinds:
        return Parameter(kinds[hint])
    return Parameter("source" if getattr(hint, "__module__", "") == _PROTOCOLS else "given")


def handed(function: Callable[..., Any], profile: Profile) -> dict[str, Any]:
    """The arguments of an asset function that come from the profile: settings, provider, features, trials."""
    getters: dict[Kind, Callable[[str], Any]] = {
        "setting": lambda path: setting(profile.settings, path),
        "source": lambda _: profile.source,
        "features": lambda _: profile.features,
        "models": lambda _: profile.models,
        "trials": lambda _: profile.trials,
        "orders": lambda _: profile.orders,
        "profile": lambda _: profile,
    }
    return {name: getters[each.kind](each.path) for name, each in parameters(function).items() if each.kind in getters}


class Run:
    """The partitions that an asset function computes: their dates, and methods to report metadata.

    It gives access to no settings and no provider: these belong in the signature.

    Args:
        profile: of the run.
        partitions: sectors and months.
        context: Dagster's.
        windows: first and last month of each input, relative to a partition's.

    """

    def __init__(
        self,
        profile: Profile,
        partitions: RunPartitions,
        context: dg.AssetExecutionContext,
        windows: Mapping[str, tuple[int, int]],
    ) -> None:
        self._profile = profile
        self._context = context
        self._windows = windows
        self.partitions = partitions
        self.sectors, self.months = partitions.sectors, partitions.months
        self.first_day, self.last_day = partitions.first_day, partitions.last_day

    @property
    def last_session(self) -> date:
        """The last closed session."""
        return self._profile.last_session()

    @cached_property
    def through(self) -> date:
        """The last closed session of the run's months."""
        return min(last_session_to(self.last_day), self.last_session)

    @cached_property
    def decisions(self) -> list[date]:
        """`as_of` of each month: its last session, in the running month the latest closed one."""
        return decision_sessions(self.first_day, self.through)

    @property
    def order(self) -> tuple[str, str] | None:
        """Month that the run trains regardless of the cadence, and the reason; None without an order in its tags."""
        return ordered(self._context.run.tags, self.months)

    def sessions(self, reading: str | None = None) -> NDArray[np.datetime64]:
        """Closed sessions of the run's months, or of all months that the window of an input covers.

        Args:
            reading: the input.

        Returns:
            datetime64[D] of shape (n_sessions,).

        """
        before, after = self._windows[reading] if reading else (0, 0)
        first, last = shift_month(self.months[0], min(before, 0)), shift_month(self.months[-1], max(after, 0))
        return sessions(month_start(first), min(month_end(last), self.last_session))

    def window(self, reading: str) -> tuple[int, int]:
        """First and last month of an input, relative to a partition's."""
        return self._windows[reading]

    def by_sector(
        self, compute: Callable[..., pl.DataFrame], lazy: Collection[str] = (), **inputs: pl.LazyFrame
    ) -> pl.DataFrame:
        """Call `compute(sector, **frames)` with each sector's rows, and stack what it returns.

        The frames come without `sector` and `month`. Those named in `lazy` are LazyFrames and keep `month`, which can
        prune files. The result gets `sector` back.

        Raises:
            DatasetError: sectors return different columns or types.

        """
        results: list[pl.DataFrame] = []
        for sector in self.sectors:
            frames = one_sector(sector, lazy, **inputs)
            results.append(compute(sector, **frames).with_columns(sector=pl.lit(sector)))
            del frames
            if results[-1].schema != results[0].schema:
                raise DatasetError(f"{sector} gives {results[-1].schema}, the sectors before it {results[0].schema}")
        return pl.concat(results)

    def walked(self, stored: pl.DataFrame, step: Callable[[str, pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
        """Rows of the run's months, computed month by month from the previous month: a range equals its months.

        Args:
            stored: the asset's rows of the month before the run's first; empty if not stored.
            step: returns a month's rows from its key and the previous month's rows.

        """
        parts = [stored]
        for month in self.months:
            parts.append(step(month, parts[-1]).cast(dict(stored.schema)))  # type: ignore[arg-type]
        return pl.concat(parts[1:])

    # --- Side outputs ------------------------------------------------------------------------------------------------

    @property
    def store(self) -> DatasetStore:
        """The store for artifacts that rows name."""
        return self._profile.store

    def states(self, dataset: str, sector: str, as_of: date, model: str) -> Path | None:
        """Local folder of the states from which a killed training resumes; None if the storage is not local."""
        if not self.store.local:
            return None
        return Path(self.store.url) / "artifacts" / ".training" / dataset / sector / as_of.isoformat() / model

    @property
    def launcher(self) -> Launcher:
        """Where a training runs; its result does not depend on it."""
        return launcher(self._context, self._profile.settings.launch)

    def dataset(self, name: str) -> Dataset:
        """The schema of a dataset."""
        return self._profile.every_dataset[name]

    def tell(self, sector: str | None, month: str, figures: Mapping[str, Any], asset: str | None = None) -> None:
        """Add metadata to a partition in the web UI; `asset` names one of several that the function computes."""
        if month not in self.months or (sector is not None and sector not in self.sectors):
            raise ValueError(f"partition {key(sector, month)} is none of this run's")
        show_beside(self._context, asset, key(sector, month), figures)

    def tell_rows(
        self, rows: pl.DataFrame, dated_by: str, figures: Callable[[pl.DataFrame], Mapping[str, float | str | None]]
    ) -> None:
        """Add metadata to each partition, computed from its rows alone, so that it does not depend on the run.

        A figure that covers more than the partition's month needs a name that says so (`sharpe_to_date`).

        Args:
            rows: of all partitions, with `sector` at sector grain.
            dated_by: the column that decides the partition of a row.
            figures: returns the figures of a partition's rows (at least one row); None values are left out.

        """
        by = ["__month", *(["sector"] if self.sectors else [])]
        parts = rows.with_columns(__month=MONTH.label(dated_by)).partition_by(by, as_dict=True)
        for (month, *sector), part in parts.items():
            self.tell(str(sector[0]) if sector else None, str(month), readable(figures(part)))

    def tell_run(self, figures: Mapping[str, Any], asset: str | None = None) -> None:
        """Add the same metadata to each partition of the run, such as what its source lacks."""
        self._context.add_output_metadata(figures, output_name=asset)

    def tell_page(self, sector: str | None, month: str, name: str, asset: str | None = None) -> dict[str, Any]:
        """Show the page `artifacts/<name>` beside a partition: a link that `make ui` serves, and where the file is.

        Returns:
            The two figures, for events of other assets.

        """
        link = dg.MetadataValue.url(page_link(self._profile.settings, name))
        figures = {"page": link, "page_file": self.store.artifact_url(name)}
        self.tell(sector, month, figures, asset)
        return figures

    def tell_each(self, figures: Iterable[tuple[str | None, str, Mapping[str, Any]]], asset: str | None = None) -> None:
        """`tell` for several partitions: tuples of sector, month and figures."""
        for sector, month, each in figures:
            self.tell(sector, month, each, asset)

    def tell_files(self, source: Source, *kinds: str, asset: str | None = None) -> None:
        """Report how the source's files of some kinds were read and which rows are not used; also in the run's log."""
        read, left_out = said_read(source, *kinds), said_left_out(source, *kinds)
        self.tell_run(read, asset=asset)
        if left_out:
            listed = "\n".join(f"- {each}" for each in left_out)
            self.tell_run({LEFT_OUT: dg.MetadataValue.md(listed)}, asset=asset)
        for sentence in (*read.values(), *left_out):
            self.tell_log(sentence)

    def tell_predictions(self, rows: pl.DataFrame) -> None:
        """Export predictions of the run's decisions for other tools; no partition depends on the files."""
        for sector in self.sectors:
            export_predictions(self.store, sector, rows.filter(pl.col("sector") == sector), self.decisions)

    def tell_orders(self, sector: str, of: Mapping[str, pl.DataFrame]) -> None:
        """Export orders, by folder, for other tools, unless the kill switch halts them.

        No partition depends on the files.
        """
        settings = self._profile.settings.orders
        for folder, rows in of.items():
            export_orders(self.store, folder, rows, settings.capital, settings.halted)
        if reason := halt_reason(self.store, settings.halted):
            self.tell_log(f"{sector}: no orders leave; {reason}", warning=True)

    def tell_sleeves(self, rows: pl.DataFrame) -> None:
        """Export the allocations of the run's decisions for other tools; no partition depends on the files."""
        for row in rows.iter_rows(named=True):
            export_sleeves(self.store, row, self._profile.settings.sleeves.threshold)

    def tell_trainings(self, sector: str, trained: Sequence[TrainedModel]) -> None:
        """Log trainings to MLflow if `learning.mlflow` is set; a failure becomes a line of the run's log."""
        settings = self._profile.settings
        if failure := log_trainings(settings.learning, self.store, settings.profile, sector, trained):
            self.tell_log(failure, warning=True)

    def tell_log(self, text: str, *, warning: bool = False) -> None:
        """Write a line into the run's log."""
        (self._context.log.warning if warning else self._context.log.info)(text)

    def tell_event(self, event: Any) -> None:
        """Record an event of the run, such as an observation of another asset."""
        self._context.log_event(event)


def readable(figures: Mapping[str, float | str | None]) -> dict[str, float | str]:
    """Figures without undefined ones, rounded for reading."""
    return {
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in figures.items()
        if value is not None
    }


def one_sector(sector: str, lazy: Collection[str] = (), **inputs: pl.LazyFrame) -> dict[str, Any]:
    """The rows of one sector of each input, or all rows of an input without sectors; for `lazy` see `by_sector`."""

    def own(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.filter(pl.col("sector") == sector) if "sector" in frame.collect_schema() else frame

    frames = {
        label: own(frame).drop("sector", *(() if label in lazy else ("month",)), strict=False)
        for label, frame in inputs.items()
    }
    lazy_frames = {name: frames.pop(name) for name in inputs if name in lazy}
    ready = dict(zip(frames, pl.collect_all(list(frames.values())), strict=True))
    return ready | lazy_frames

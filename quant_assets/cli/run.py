"""Body of `quant run`: plans and executes the runs, and prints notes before and a summary after them."""

import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import date

import polars as pl

from quant_assets.cli import summary
from quant_assets.cli.screen import Counter, show
from quant_assets.errors import InterruptedRunError, SettingsError, SourceError
from quant_assets.graph import build_defs
from quant_assets.market.calendar import decision_sessions, sessions
from quant_assets.partitions import key, month_end, month_range, month_start, shift_month
from quant_assets.planning.plan import Planner
from quant_assets.planning.staleness import Staleness
from quant_assets.profile import Profile
from quant_assets.running.compiling import compiling
from quant_assets.running.execute import RunFailedError
from quant_assets.running.launching import Executor, Submitted
from quant_assets.running.preparation import prepare
from quant_assets.running.staging import Staged
from quant_assets.running.tally import Tally
from quant_assets.running.work import RESUMED_BY
from quant_assets.settings.origin import profile_file
from quant_assets.settings.sectors import SECTORS
from quant_assets.sources.matching import undecided, unmatched
from quant_assets.sources.registry import said_absent, said_left_out
from quant_assets.windows.compiled import any_compiled

#: Datasets that may have no row in a month: nothing happened, or nothing is known yet.
_OFTEN_EMPTY = {"quarantine", "price_events", "price_disagreements", "absences", "delistings", "labels"}

#: Datasets of decisions: they depend on the bars at a month's last session and at the execution.
_DECISIONS = {"candidates", "weights", "backtest"}


def materialise(
    profile: Profile,
    sectors: Sequence[str],
    first: str,
    last: str,
    *,
    select: str | None,
    workers: int,
    memory: float | None = None,
    refresh: bool = False,
    submit: bool = False,
    may_be_empty: bool = False,
) -> None:
    """Compute assets of sectors and months, and the earlier months that they need.

    Args:
        profile: of the assets.
        sectors: slugs.
        first: month.
        last: month.
        select: assets, as of `--select`; None for all.
        workers: sectors computed in parallel, as far as memory allows.
        memory: GiB for all workers; None for the setting `launch.memory_gib`, else the free memory.
        refresh: whether to recompute earlier months that were made with other code or settings.
        submit: whether the daemon of the instance executes the runs instead of this command.
        may_be_empty: whether a successful run may leave only partitions without rows.

    Raises:
        SettingsError: the selection is not valid or leaves nothing to run, a month does not fit into memory, or no
            daemon runs to submit to.
        InterruptedRunError: the user interrupted the run.
        QuantError: a run failed, the provider's data are missing, or the selected partitions have no row.

    """
    profile.source.membership(profile.last_session())  # reports a missing data folder before anything starts
    for sentence in (*said_absent(profile.source).values(), *said_left_out(profile.source)):
        show(sentence)
    name = profile.settings.profile
    for sentence in prepare(name, {}).said:
        show(sentence)
    defs = build_defs(profile.settings)
    submitted: Executor | None = Submitted(defs) if submit else None
    planner = Planner(defs, profile, refresh=refresh)
    chosen = planner.select(select, defs)
    if not _DECISIONS.isdisjoint(chosen):
        for sentence in undecided(profile.source, sectors, trading_days(profile, first, last), profile_file(name)):
            show(sentence)
    plan = planner.plan(chosen, sorted(sectors, key=list(SECTORS).index), first, last)
    phases = plan.phases
    if not phases:
        raise SettingsError(f"nothing to run for {first} to {last}")
    tags = {RESUMED_BY: _command(name, sectors, first, last, select, refresh)}
    prepared = Staged.of(plan, profile, defs, workers, memory=memory, submitted=submitted, tags=tags)
    notes = [*plan.notes, *prepared.notes]
    earliest = min(phase.first for phase in phases)
    if earliest < first:
        show(
            f"warm-up: windows reach back to {earliest}; "
            "earlier partitions that are missing or unfinished are computed first"
        )
    for note in notes:
        show(note)
    if plan.uses_stale:
        show(
            "months of two versions are mixed: quant run --refresh recomputes those that this run reads, "
            "quant stale lists all of them"
        )
    latest = max(phase.last for phase in phases)
    if latest > last:
        show(f"labels reach ahead: prices up to {latest} are computed too")
    ahead: AbstractContextManager[None] = nullcontext()
    if not submit and not any_compiled():
        sys.stderr.write("the first run compiles its numerical loops once: half a minute or more without progress\n")
        ahead = compiling(profile.settings, {name for phase in phases for name in phase.assets})
    executing, tally = [executor for executor, _ in prepared.stages][:1], Tally()
    try:
        with ahead, Counter("partitions", prepared.outputs) as counter:
            prepared.execute(counter.advance, lambda executor: executing.append(executor), tally)
    except KeyboardInterrupt:
        raise InterruptedRunError(executing[-1].after_interruption) from None
    except RunFailedError as error:
        cause = _cause(profile, sectors, first, last)
        for line in summary.written(tally):
            show(line)
        raise RunFailedError(f"{error}\n{cause}" if cause else str(error)) from None
    if not may_be_empty:
        refuse_emptiness(profile, chosen, sectors, first, last)
    for line in summary.written(tally):
        show(line)
    recorder = (defs.resources or {})["parquet"].recorder
    show(summary.stale(profile, Staleness(profile, recorder), planner.order, sectors))


def trading_days(profile: Profile, first: str, last: str) -> list[date]:
    """The decision and execution sessions in these months."""
    begin, through = month_start(shift_month(first, -1)), min(month_end(last), profile.last_session())
    every = sessions(begin, through).tolist()
    decided = decision_sessions(begin, through)
    executed = [every.index(day) + profile.settings.labels.entry_lag for day in decided]
    days = {*decided, *(every[position] for position in executed if position < len(every))}
    return sorted(day for day in days if day >= month_start(first))


def refuse_emptiness(profile: Profile, names: Sequence[str], sectors: Sequence[str], first: str, last: str) -> None:
    """Refuse a successful run that left no row, or no bar: the cause would be hard to find later."""
    months = month_range(first, last)

    def rows(name: str) -> bool:
        dataset = profile.datasets[name]
        keys = [key(sector, month) for sector in (sectors if dataset.grain.by_sector else [None]) for month in months]
        missing = set(profile.store.missing(dataset, keys))
        stored = [partition for partition in keys if partition not in missing]
        # The newest month of most datasets has rows.
        return any(
            profile.store.read(dataset, [partition]).select(pl.len()).collect().item() for partition in reversed(stored)
        )

    selected = [name for name in names if name in profile.datasets]
    if set(selected) <= _OFTEN_EMPTY or (any(map(rows, selected)) and ("ohlcv" not in selected or rows("ohlcv"))):
        return
    what = "ohlcv has no bar" if "ohlcv" in selected else f"there is no row in {', '.join(selected)}"
    cause = _cause(profile, sectors, first, last)
    raise SourceError(
        f"{what} of {', '.join(sectors)} from {first} to {last}{f': {cause}' if cause else ''}; "
        "--may-be-empty accepts that"
    )


def _cause(profile: Profile, sectors: Sequence[str], first: str, last: str) -> str | None:
    through = min(month_end(last), profile.last_session())
    return unmatched(profile.source, sectors, month_start(first), through)


def _command(profile: str, sectors: Sequence[str], first: str, last: str, select: str | None, refresh: bool) -> str:
    """The command that computes the same, for the tag of its runs."""
    places = () if set(sectors) == set(SECTORS) else ("-s", ",".join(sectors))
    chosen = ("--select", select) if select else ()
    words = ("quant", "run", "-p", profile, *places, "--from", first, "--to", last, *chosen)
    return shlex.join([*words, "--refresh"] if refresh else words)

"""Body of `quant run`: the plan over the assets is carried out, and what the user must know of it is said before."""

from collections.abc import Sequence

import polars as pl
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from quant_assets.cli.screen import console, show
from quant_assets.errors import InterruptedRunError, SettingsError
from quant_assets.graph import build_defs
from quant_assets.planning.memory import APART, Reckoner, budget, fitted
from quant_assets.planning.plan import Phase, Planner, joined, total_outputs
from quant_assets.profile import Profile
from quant_assets.running.instance import dagster_home, records
from quant_assets.running.launching import Executor, Here, Submitted
from quant_assets.settings.sectors import SECTORS
from quant_assets.sources.registry import said_absent


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
) -> None:
    """Compute assets of sectors and months, and the earlier months that they need.

    Args:
        profile: whose assets.
        sectors: slugs.
        first: month.
        last: month.
        select: which assets, as `--select` has it; every one where None.
        workers: sectors computed at the same time, as far as memory lets.
        memory: GiB for all workers together; the setting `launch.memory_gib`, or what is left, where None.
        refresh: whether earlier months that other code or settings have made are computed again.
        submit: whether the instance's daemon has the runs executed, and not this command.

    Raises:
        SettingsError: the selection is not valid or leaves nothing to run, a month of it does not fit into memory, or
            no daemon is there to submit to.
        InterruptedRunError: the user interrupted it.
        QuantError: a run failed, or the provider's data are missing.

    """
    profile.source.membership(profile.last_session())  # a missing data folder is said before anything starts
    for sentence in said_absent(profile.source).values():
        show(sentence)
    name = profile.settings.profile
    home = dagster_home(name)
    found, wanted = records(home), profile.settings.dagster.storage
    if found is not None and found != wanted:
        show(
            f"Dagster's records stay in {found}, as {home} has them, not in {wanted} (dagster.storage); "
            "move that folder to change"
        )
    defs = build_defs(profile.settings)
    submitted: Executor | None = Submitted(defs) if submit else None
    planner = Planner(defs, profile, refresh=refresh)
    plan = planner.plan(planner.select(select, defs), sorted(sectors, key=list(SECTORS).index), first, last)
    snapshots = profile.source.sector_snapshots(profile.last_session())
    tickers: dict[str, int] = dict(snapshots.group_by("sector").agg(pl.col("ticker").n_unique()).iter_rows())

    def work(chain: Sequence[Phase]) -> int:
        return max(phase.outputs * sum(tickers.get(sector, 0) for sector in phase.sectors) for phase in chain)

    # Neighbours one after the other may become one run; the sectors with most tickers start first, so that no core is
    # left waiting.
    stages = [sorted(joined(chains), key=work, reverse=True) for chains in plan.stages]
    phases = plan.phases
    if not phases:
        raise SettingsError(f"nothing to run for {first} to {last}")
    executors: list[tuple[Executor, Sequence[Sequence[Phase]]]]
    notes = list(plan.notes)
    if submitted is not None:
        executors = [(submitted, chains) for chains in stages]
    else:
        most, there = Reckoner(defs, profile, tickers).most, budget(memory or profile.settings.launch.memory_gib)
        stays = [fitted(chains, workers, most, there) for chains in stages]
        notes += dict.fromkeys(each.note for each in stays if each.note)
        executors = [(Here(name, each.workers, apart=each.most > APART), each.chains) for each in stays]
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
            "two versions stand side by side: quant run --refresh computes again what this run reads, "
            "quant stale shows all of it"
        )
    latest = max(phase.last for phase in phases)
    if latest > last:
        show(f"labels reach ahead: prices up to {latest} are computed too")
    executor = executors[0][0]
    try:
        with _Counter(total_outputs(phases)) as counter:
            for executor, chains in executors:
                executor.execute(chains, counter.advance)
    except KeyboardInterrupt:
        raise InterruptedRunError(executor.after_interruption) from None


class _Counter:
    """Partitions written so far: a bar in a terminal, elsewhere (a log, a pipe) a line for each tenth."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._written = 0
        columns = (
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("<"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("partitions", total=total)

    def __enter__(self) -> "_Counter":
        self._bar.start()
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None:
            self._bar.update(self._task, description="done")
        self._bar.stop()

    def advance(self, dataset: str, partitions: int) -> None:
        before, self._written = self._written, self._written + partitions
        self._bar.update(self._task, advance=partitions, description=dataset)
        if self._bar.disable and 10 * self._written // self._total > 10 * before // self._total:
            show(f"{self._written} of {self._total} partitions, last {dataset}")

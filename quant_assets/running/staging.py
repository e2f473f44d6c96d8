"""Staging of a plan: the order of its chains, merged runs, and the number of workers that fit into memory.

The command and the automation share it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
import polars as pl

from quant_assets.planning.memory import APART, Reckoner, budget, fitted
from quant_assets.planning.plan import Phase, Plan, joined, total_outputs
from quant_assets.profile import Profile
from quant_assets.running.execute import Progress, lasting_workers
from quant_assets.running.launching import Executor, Here
from quant_assets.running.processes import sigterm_interrupts
from quant_assets.running.tally import Tally


@dataclass(frozen=True)
class Staged:
    """A plan that can be executed.

    Attributes:
        stages: in order: executor and chains.
        notes: on memory, for the user.

    """

    stages: list[tuple[Executor, Sequence[Sequence[Phase]]]]
    notes: list[str]

    @classmethod
    def of(
        cls,
        plan: Plan,
        profile: Profile,
        defs: dg.Definitions,
        workers: int,
        *,
        memory: float | None = None,
        submitted: Executor | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> "Staged":
        """Merge neighbouring chains into one run if that is faster, and limit the workers by memory.

        Args:
            plan: to execute.
            profile: of the assets.
            defs: of the profile.
            workers: sectors computed in parallel, as far as memory allows.
            memory: GiB for all workers; None for the setting `launch.memory_gib`, else the free memory.
            submitted: executes the plan instead of processes of this command.
            tags: of the runs of this command, in addition to those of their ranges.

        Raises:
            SettingsError: a month does not fit into memory.

        """
        snapshots = profile.source.sector_snapshots(profile.last_session())
        tickers: dict[str, int] = dict(snapshots.group_by("sector").agg(pl.col("ticker").n_unique()).iter_rows())

        def work(chain: Sequence[Phase]) -> int:
            return max(phase.outputs * sum(tickers.get(sector, 0) for sector in phase.sectors) for phase in chain)

        # Neighbouring chains may become one run; the sectors with most tickers start first, so that no core waits.
        stages = [sorted(joined(chains), key=work, reverse=True) for chains in plan.stages]
        if submitted is not None:
            return cls([(submitted, chains) for chains in stages], [])
        most, limit = Reckoner(defs, profile, tickers).most, budget(memory or profile.settings.launch.memory_gib)
        fits = [fitted(chains, workers, most, limit) for chains in stages]
        return cls(
            [(Here(profile.settings, each.workers, each.most > APART, tags or {}), each.chains) for each in fits],
            list(dict.fromkeys(each.note for each in fits if each.note)),
        )

    @property
    def outputs(self) -> int:
        """Number of written partitions."""
        return total_outputs(phase for _, chains in self.stages for chain in chains for phase in chain)

    def execute(
        self, progress: Progress, began: Callable[[Executor], None] = lambda _: None, tally: Tally | None = None
    ) -> None:
        """Execute all stages.

        Args:
            progress: called for every dataset written.
            began: receives the executor of a stage at its start.
            tally: counts the written data, also of failed runs.

        Raises:
            RunFailedError: a run failed; the other chains of its stage are finished first.

        """
        with lasting_workers(), sigterm_interrupts():
            for executor, chains in self.stages:
                began(executor)
                executor.execute(chains, progress, tally)

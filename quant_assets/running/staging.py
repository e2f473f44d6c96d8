"""How a plan is executed: in which order its chains begin, which become one run, and how many fit into memory.

The command and what runs by itself share it.
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
from quant_assets.running.tally import Tally


@dataclass(frozen=True)
class Staged:
    """A plan that can be executed.

    Attributes:
        stages: one after the other: where and which chains.
        notes: what a person should know of memory.

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
        """Neighbours become one run where that is worth it, and as many run at a time as memory lets.

        Args:
            plan: what is to be executed.
            profile: of the assets.
            defs: of the profile.
            workers: sectors computed at the same time, as far as memory lets.
            memory: GiB for all workers together; the setting `launch.memory_gib`, or what is left, where None.
            submitted: executes all of it in place of processes of this command.
            tags: of the runs of this command, besides those of their ranges.

        Raises:
            SettingsError: a month of it does not fit into memory.

        """
        snapshots = profile.source.sector_snapshots(profile.last_session())
        tickers: dict[str, int] = dict(snapshots.group_by("sector").agg(pl.col("ticker").n_unique()).iter_rows())

        def work(chain: Sequence[Phase]) -> int:
            return max(phase.outputs * sum(tickers.get(sector, 0) for sector in phase.sectors) for phase in chain)

        # Neighbours one after the other may become one run; the sectors with most tickers start first, so that no core
        # is left waiting.
        stages = [sorted(joined(chains), key=work, reverse=True) for chains in plan.stages]
        if submitted is not None:
            return cls([(submitted, chains) for chains in stages], [])
        most, there = Reckoner(defs, profile, tickers).most, budget(memory or profile.settings.launch.memory_gib)
        stays = [fitted(chains, workers, most, there) for chains in stages]
        name = profile.settings.profile
        return cls(
            [(Here(name, each.workers, each.most > APART, tags or {}), each.chains) for each in stays],
            list(dict.fromkeys(each.note for each in stays if each.note)),
        )

    @property
    def outputs(self) -> int:
        """Partitions that are written."""
        return total_outputs(phase for _, chains in self.stages for chain in chains for phase in chain)

    def execute(
        self, progress: Progress, began: Callable[[Executor], None] = lambda _: None, tally: Tally | None = None
    ) -> None:
        """Execute it to its end.

        Args:
            progress: called for each dataset written.
            began: told who executes the stage that begins.
            tally: counts what is written, also where a run failed.

        Raises:
            RunFailedError: a run failed; the other chains of its stage are finished first.

        """
        with lasting_workers():
            for executor, chains in self.stages:
                began(executor)
                executor.execute(chains, progress, tally)

"""Counts of runs from their events: partitions, rows, quarantined bars, warnings of checks.

`quant run` prints them as its summary. No data are read.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import dagster as dg

from quant_assets.io.manager import PARTITIONS_CHANGED, ROWS_OF_RUN

#: Metadata of each partition of `ohlcv` that are added up.
BARS = ("bars_refused", "bars_unexplained", "bars_without_open")


@dataclass
class Warned:
    """A check that warned.

    Attributes:
        runs: number of runs with the warning.
        said: its message of the first of them, over all partitions; may be empty.

    """

    runs: int
    said: str


@dataclass
class Tally:
    """Counts of written data.

    Attributes:
        partitions: written, by dataset.
        rows: of these partitions, by dataset.
        changed: new partitions and those with other rows than before, by dataset.
        bars: the figures named in `BARS`.
        warnings: by dataset and check, without runs in which the check also failed with an error.

    """

    partitions: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    bars: Counter[str] = field(default_factory=Counter)
    warnings: dict[tuple[str, str], Warned] = field(default_factory=dict)

    def add_run(self, events: Iterable[dg.DagsterEvent]) -> None:
        """Count all events of one run; events of other kinds are ignored."""
        seen: set[str] = set()
        warned: dict[tuple[str, str], str] = {}
        failed: set[tuple[str, str]] = set()
        for event in events:
            if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
                written = event.step_materialization_data.materialization
                name = written.asset_key.path[-1]
                self.partitions[name] += 1
                if name not in seen:  # every partition repeats the figures of the run
                    seen.add(name)
                    self.rows[name] += _figure(written, ROWS_OF_RUN)
                    self.changed[name] += _figure(written, PARTITIONS_CHANGED)
                if name == "ohlcv":
                    self.bars.update({figure: _figure(written, figure) for figure in BARS})
            elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                checked = event.asset_check_evaluation_data
                check = (checked.asset_key.path[-1], checked.check_name)
                if not checked.passed and checked.severity == dg.AssetCheckSeverity.ERROR:
                    failed.add(check)
                elif not checked.passed:  # those of single partitions come first, that of the run last
                    warned[check] = checked.description or ""
        for check, said in warned.items():
            if check not in failed:
                self._warn(check, Warned(1, said))

    def add(self, other: "Tally") -> None:
        """Add the counts of another tally."""
        for ours, theirs in (
            (self.partitions, other.partitions),
            (self.rows, other.rows),
            (self.changed, other.changed),
            (self.bars, other.bars),
        ):
            ours.update(theirs)
        for check, warned in other.warnings.items():
            self._warn(check, warned)

    def _warn(self, check: tuple[str, str], warned: Warned) -> None:
        before = self.warnings.get(check)
        self.warnings[check] = warned if before is None else Warned(before.runs + warned.runs, before.said)


def _figure(written: dg.AssetMaterialization, name: str) -> int:
    value = written.metadata.get(name)
    return value.value if isinstance(value, dg.IntMetadataValue) and value.value is not None else 0

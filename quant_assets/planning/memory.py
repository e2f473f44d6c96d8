"""How much memory the runs of a plan hold at most, reckoned before they begin, and how many of them fit at a time.

Reckoned from the tickers that a sector has ever had, so that it is too much rather than too little; what was measured
stands in docs/running-elsewhere.md.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import dagster as dg
import psutil

from quant_assets.assets.declare import Asset
from quant_assets.assets.market import BLOCK_CELLS
from quant_assets.dagster_internals import asset_function
from quant_assets.errors import SettingsError
from quant_assets.io.blocks import BLOCK_BYTES, row_bytes
from quant_assets.market.calendar import sessions
from quant_assets.partitions import month_end, month_range, month_start, shift_month
from quant_assets.planning.plan import Phase
from quant_assets.profile import Profile

GIB = 2**30

#: A run that may hold more has a process of its own, whose end can be told: it is the one that the system kills.
APART = 2 * GIB

#: Bytes of a process with the libraries, the definitions and what was read of small files.
_PROCESS = 0.7 * GIB
#: Bytes of a bar's history while it is judged, for each ticker and session.
_JUDGED = 480
#: Bytes that are kept of each of them until all are judged: which sessions have a bar, and of which provider.
_PRESENT = 50
#: Bytes held for each byte of a block that is computed and written, and of a frame that is read or returned.
_HELD, _FRAME = 5.0, 2.0
#: Bytes of a bar that a model reads windows of, for each ticker and session: as it is loaded, and in the tensor.
_WINDOWED = 530
#: What is reckoned more than by these figures, since peaks depend on the allocator and on what threads do at a time.
_SAFETY = 1.2
#: Sessions of a month at most, which have the rows of a decision in one.
_MONTH = 23
#: The dataset of bars.
_BARS = "prices"
#: The part of the available memory that runs may fill: the rest is for this process, the records' server and files.
_SHARE = 0.85

Chains = Sequence[Sequence[Phase]]


@dataclass(frozen=True)
class Fitted:
    """Chains whose workers fit into memory.

    Attributes:
        chains: with the phases divided that were too long.
        workers: how many at a time.
        most: bytes that the largest of them holds at most.
        note: what a person should know; None where there is plenty.

    """

    chains: list[list[Phase]]
    workers: int
    most: float
    note: str | None = None


class Reckoner:
    """Reckons the memory of runs.

    Args:
        defs: the definitions.
        profile: the profile that they were made for.
        tickers: that each sector has ever had.

    """

    def __init__(self, defs: dg.Definitions, profile: Profile, tickers: Mapping[str, int]) -> None:
        self._profile, self._tickers = profile, tickers
        self._assets: dict[str, Asset] = {}
        for definition in defs.assets or ():
            if isinstance(definition, dg.AssetsDefinition):
                self._assets |= {key.path[-1]: asset_function(definition).asset for key in definition.keys}  # type: ignore[attr-defined]

    def most(self, phase: Phase) -> float:
        """Bytes that the process of a run holds at most."""
        return _PROCESS + _SAFETY * max(self._of(self._assets[name], phase) for name in phase.assets)

    def _of(self, asset: Asset, phase: Phase) -> float:
        tickers = sum(self._tickers.get(each, 0) for each in phase.sectors or self._tickers)
        datasets = self._profile.every_dataset

        def rows(name: str, first: str, last: str) -> int:
            days = _sessions(max(first, self._profile.months.start), min(last, self._profile.last_month()))
            return tickers * (days if "date" in datasets[name].key else -(-days // _MONTH))

        def frame(name: str, first: str, last: str) -> float:
            return _FRAME * row_bytes(datasets[name]) * rows(name, first, last)

        if asset.sized_by:
            months = len(month_range(phase.first, phase.last))
            size = row_bytes(*(datasets[name] for name in (*asset.names, asset.sized_by))) * asset.times
            whole = max(1, size * rows(asset.sized_by, phase.first, phase.last))
            span = max(1, min(months, round(months * BLOCK_BYTES / whole)))
            # The last block reads most: its windows are not cut off by the start of history.
            begins = shift_month(phase.last, 1 - span)
            return _HELD * whole * span / months + sum(
                frame(name, shift_month(begins, first), shift_month(phase.last, last))
                for name, (first, last) in asset.windows.items()
            )
        # Of the datasets that one function fills one has the rows of every session, the others few.
        made = max(frame(name, phase.first, phase.last) for name in asset.names)
        if not asset.reads and len(asset.names) > 1:
            history = tickers * _sessions(self._profile.months.start, phase.last)
            return _JUDGED * min(history, BLOCK_CELLS) + _PRESENT * history + made
        if asset.pool:
            # A training loads its own window: every bar of what reads bars, of all else the sampled sessions.
            loaded = {
                name: (shift_month(phase.last, first), shift_month(phase.last, last))
                for name, (first, last) in asset.windows.items()
            }
            bars = _WINDOWED * rows(_BARS, *loaded.pop(_BARS)) if _BARS in loaded else 0
            sampled = self._profile.settings.training.sample_every_sessions
            return made + bars + _HELD / _FRAME / sampled * sum(frame(name, *span) for name, span in loaded.items())
        return made + sum(
            frame(name, shift_month(phase.first, first), shift_month(phase.last, last))
            for name, (first, last) in asset.windows.items()
        )


@cache
def _sessions(first: str, last: str) -> int:
    return len(sessions(month_start(first), month_end(last)))


def fitted(chains: Chains, workers: int, most: Callable[[Phase], float], budget: float) -> Fitted:
    """As many workers as fit into memory; where one alone does not, its phases are divided into shorter ranges.

    Args:
        chains: one for each worker, after each other where they are more.
        workers: at most.
        most: bytes that the process of a phase holds at most.
        budget: bytes for all workers.

    Raises:
        SettingsError: a month of a phase does not fit; names sector, datasets, memory and what to do.

    """
    needs = sorted((max(map(most, chain)) for chain in chains if chain), reverse=True)
    if not needs:
        return Fitted([], workers, 0.0)
    count = max((n for n in range(1, min(workers, len(needs)) + 1) if sum(needs[:n]) <= budget), default=0)
    asked = min(workers, len(needs))
    told = f"memory: about {needs[0] / GIB:.1f} GiB for the largest worker, {budget / GIB:.1f} GiB for all"
    if count == asked:
        plenty = sum(needs[:asked]) < max(budget / 2, APART)
        return Fitted(
            [list(chain) for chain in chains], workers, needs[0], None if plenty else f"{told}: {asked} at a time"
        )
    if count:
        return Fitted(
            [list(chain) for chain in chains], count, needs[0], f"{told}: {count} at a time instead of {asked}"
        )
    divided = [[part for phase in chain for part in _parts(phase, most, budget)] for chain in chains]
    return Fitted(
        divided, 1, min(needs[0], budget), f"{told}: one at a time, and long ranges of months in several runs"
    )


def _parts(phase: Phase, most: Callable[[Phase], float], budget: float) -> list[Phase]:
    months = month_range(phase.first, phase.last)
    for count in range(1, len(months) + 1):
        parts = list(_divided(phase, months, count))
        if max(map(most, parts)) <= budget:
            return parts
    raise SettingsError(
        f"{', '.join([*phase.sectors, phase.last])}: {', '.join(phase.assets)} need about "
        f"{most(replace(phase, first=phase.last)) / GIB:.1f} GiB of memory for a month alone, and {budget / GIB:.1f} "
        "GiB are there; end other programs, take a larger machine, or say with --memory how many GiB may be used"
    )


def _divided(phase: Phase, months: Sequence[str], count: int) -> Iterator[Phase]:
    for part in range(count):
        own = months[len(months) * part // count : len(months) * (part + 1) // count]
        yield replace(phase, first=own[0], last=own[-1])


def budget(gib: float | None) -> float:
    """Bytes that all workers may hold: those that are said, or a share of what this process may still get."""
    return gib * GIB if gib is not None else _SHARE * available()


def available(root: Path = Path("/sys/fs/cgroup"), process: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes of memory that this process may still get: of the machine, or of its control group where that is less."""
    found: list[int | None] = [int(psutil.virtual_memory().available)]
    lines = process.read_text(encoding="ascii").splitlines() if process.is_file() else []
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds == "":  # version 2
            folder, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            folder, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the path is the host's, and the files are at the root.
        found += [_left(place, *names) for place in (folder / path.lstrip("/"), folder) if (place / names[0]).is_file()]
    return min(each for each in found if each is not None)


def _left(group: Path, limit: str, used: str, cache: str) -> int | None:
    """Bytes that a control group may still get, what it holds of files that were read being given up for them."""
    most = (group / limit).read_text(encoding="ascii").strip()
    if most == "max":
        return None
    held = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    return max(0, int(most) - int((group / used).read_text(encoding="ascii")) + int(held.get(cache, 0)))

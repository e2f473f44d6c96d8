"""Estimates of the peak memory of a plan's runs, and the number of runs that fit at a time.

The estimates use all tickers that a sector has ever had, so they are too high rather than too low. Measurements are in
docs/running-elsewhere.md.
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

#: A run that may hold more gets its own process, so that it is the one that the system kills.
APART = 2 * GIB

#: Bytes of a process with libraries, definitions and small files.
_PROCESS = 0.7 * GIB
#: Bytes per ticker and session while the history of bars is judged.
_JUDGED = 480
#: Bytes per ticker and session that stay until all are judged: presence and provider of a bar.
_PRESENT = 50
#: Bytes in memory per byte of a computed block, and per byte of a frame that is read or returned.
_HELD, _FRAME = 5.0, 2.0
#: Bytes per ticker and session of bars that a model reads in windows: loaded, and in the tensor.
_WINDOWED = 530
#: Safety factor, since peaks depend on the allocator and on the timing of threads.
_SAFETY = 1.2
#: Most sessions of a month; datasets without a date have one row per month instead.
_MONTH = 23
#: The dataset of bars.
_BARS = "prices"
#: Share of the available memory for runs; the rest is for this process, the database server and the file cache.
_SHARE = 0.85

Chains = Sequence[Sequence[Phase]]


@dataclass(frozen=True)
class Fitted:
    """Chains whose workers fit into memory.

    Attributes:
        chains: with too long phases divided.
        workers: number at a time.
        most: peak bytes of the largest worker.
        note: for the user; None if memory is plentiful.

    """

    chains: list[list[Phase]]
    workers: int
    most: float
    note: str | None = None


class Reckoner:
    """Estimates the memory of runs.

    Args:
        defs: the definitions.
        profile: of the definitions.
        tickers: number of all tickers ever, by sector.

    """

    def __init__(self, defs: dg.Definitions, profile: Profile, tickers: Mapping[str, int]) -> None:
        self._profile, self._tickers = profile, tickers
        self._assets: dict[str, Asset] = {}
        for definition in defs.assets or ():
            if isinstance(definition, dg.AssetsDefinition):
                self._assets |= {key.path[-1]: asset_function(definition).asset for key in definition.keys}  # type: ignore[attr-defined]

    def most(self, phase: Phase) -> float:
        """Peak bytes of the process of a run."""
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
            # The last block reads most, as its windows are not truncated by the start of history.
            begins = shift_month(phase.last, 1 - span)
            return _HELD * whole * span / months + sum(
                frame(name, shift_month(begins, first), shift_month(phase.last, last))
                for name, (first, last) in asset.windows.items()
            )
        # Of several datasets of one function, one has rows of all sessions, the others few.
        output = max(frame(name, phase.first, phase.last) for name in asset.names)
        if not asset.reads and len(asset.names) > 1:
            history = tickers * _sessions(self._profile.months.start, phase.last)
            return _JUDGED * min(history, BLOCK_CELLS) + _PRESENT * history + output
        if asset.pool:
            # A training loads its own window: all bars, and the sampled sessions of the other inputs.
            loaded = {
                name: (shift_month(phase.last, first), shift_month(phase.last, last))
                for name, (first, last) in asset.windows.items()
            }
            bars = _WINDOWED * rows(_BARS, *loaded.pop(_BARS)) if _BARS in loaded else 0
            sampled = self._profile.settings.training.sample_every_sessions
            return output + bars + _HELD / _FRAME / sampled * sum(frame(name, *span) for name, span in loaded.items())
        return output + sum(
            frame(name, shift_month(phase.first, first), shift_month(phase.last, last))
            for name, (first, last) in asset.windows.items()
        )


@cache
def _sessions(first: str, last: str) -> int:
    return len(sessions(month_start(first), month_end(last)))


def fitted(chains: Chains, workers: int, most: Callable[[Phase], float], budget: float) -> Fitted:
    """The number of workers that fit into memory; if not even one fits, phases are divided into shorter ranges.

    Args:
        chains: one per worker; more chains wait.
        workers: largest number.
        most: returns the peak bytes of a phase.
        budget: bytes for all workers.

    Raises:
        SettingsError: a single month of a phase does not fit; names sector, datasets, memory and remedy.

    """
    needs = sorted((max(map(most, chain)) for chain in chains if chain), reverse=True)
    if not needs:
        return Fitted([], workers, 0.0)
    count = max((n for n in range(1, min(workers, len(needs)) + 1) if sum(needs[:n]) <= budget), default=0)
    asked = min(workers, len(needs))
    estimate = f"memory: about {needs[0] / GIB:.1f} GiB for the largest worker, {budget / GIB:.1f} GiB for all"
    if count == asked:
        plenty = sum(needs[:asked]) < max(budget / 2, APART)
        return Fitted(
            [list(chain) for chain in chains], workers, needs[0], None if plenty else f"{estimate}: {asked} at a time"
        )
    if count:
        return Fitted(
            [list(chain) for chain in chains], count, needs[0], f"{estimate}: {count} at a time instead of {asked}"
        )
    divided = [[part for phase in chain for part in _parts(phase, most, budget)] for chain in chains]
    return Fitted(
        divided, 1, min(needs[0], budget), f"{estimate}: one at a time, and long ranges of months in several runs"
    )


def _parts(phase: Phase, most: Callable[[Phase], float], budget: float) -> list[Phase]:
    months = month_range(phase.first, phase.last)
    for count in range(1, len(months) + 1):
        parts = list(_divided(phase, months, count))
        if max(map(most, parts)) <= budget:
            return parts
    raise SettingsError(
        f"{', '.join([*phase.sectors, phase.last])}: {', '.join(phase.assets)} need about "
        f"{most(replace(phase, first=phase.last)) / GIB:.1f} GiB of memory for a month alone, but {budget / GIB:.1f} "
        "GiB are available; end other programs, use a larger machine, or set the usable GiB with --memory"
    )


def _divided(phase: Phase, months: Sequence[str], count: int) -> Iterator[Phase]:
    for part in range(count):
        own = months[len(months) * part // count : len(months) * (part + 1) // count]
        yield replace(phase, first=own[0], last=own[-1])


def budget(gib: float | None) -> float:
    """Bytes for all workers: the given ones, or a share of the available memory."""
    return gib * GIB if gib is not None else _SHARE * available()


def available(root: Path = Path("/sys/fs/cgroup"), process: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes of available memory: of the machine, or of the process's control group if that has less."""
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
        # In a container the path is that of the host, and the files are at the root.
        found += [_left(place, *names) for place in (folder / path.lstrip("/"), folder) if (place / names[0]).is_file()]
    return min(each for each in found if each is not None)


def _left(group: Path, limit: str, used: str, cache: str) -> int | None:
    """Available bytes of a control group; its file cache counts as available."""
    most = (group / limit).read_text(encoding="ascii").strip()
    if most == "max":
        return None
    held = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    return max(0, int(most) - int((group / used).read_text(encoding="ascii")) + int(held.get(cache, 0)))

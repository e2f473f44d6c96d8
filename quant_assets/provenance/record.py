"""What is recorded with each partition's rows: digests, and what they stand for.

There are digests of code, settings, libraries, inputs and source files. They stand in the partition's file. What a
digest of settings, code, libraries or source files stands for is kept once, under `artifacts/settings`,
`artifacts/code`, `artifacts/libraries` and `artifacts/sources`. All of it is a function of the partition, of the
settings and of the files, never of the run or the machine, so that a range of months gives the bytes that single months
give.
"""

import hashlib
import json
import platform
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from quant_assets.grains import MONTH, period_of
from quant_assets.io.store import DatasetStore
from quant_assets.partitions import last_day, month_of, parse_key, shift
from quant_assets.profile import Profile
from quant_assets.provenance.code import digest
from quant_assets.provenance.versions import Version
from quant_assets.sentiment import scorers
from quant_assets.settings.loading import Settings
from quant_assets.settings.paths import effective
from quant_assets.sources.files_found import on_disk

#: Libraries whose arithmetic or files the rows come from.
_LIBRARIES = (
    "polars",
    "pyarrow",
    "numpy",
    "numba",
    "scipy",
    "duckdb",
    "scikit-learn",
    "exchange-calendars",
)

#: Hashes of the source's files that have been read once, by path and state on disk.
_HASHED = "sources/files.json"

#: The names by which the trial log and an order of a training stand among the inputs.
TRIALS, ORDERS = "trials", "orders"

Contents = Mapping[str, Mapping[str, str | None]]


@dataclass(frozen=True)
class MadeBy:
    """What the rows of a partition follow from.

    Attributes:
        code: digest of the definitions that the asset reaches.
        settings: digest of the settings that it depends on, those of other sectors left out.
        all_settings: digest of all settings from which rows can follow.
        libraries: digest of the versions of libraries and Python.
        inputs: for each dataset that was read, a digest over the hashes of its partitions; of the trial log one over
            what was tried, and of a training beside the cadence one of its order.
        sources: digest of the provider's files; empty where none were read.

    """

    code: str
    settings: str
    all_settings: str
    libraries: str
    inputs: Mapping[str, str]
    sources: str = ""

    @classmethod
    def parsed(cls, text: str | None) -> Self | None:
        """From what a file records; None where it records nothing."""
        return None if text is None else cls(**json.loads(text))

    def __str__(self) -> str:
        return json.dumps(vars(self), separators=(",", ":"), sort_keys=True)


class PartitionRecorder:
    """Records what partitions follow from.

    Args:
        profile: of the run.
        versions: of its assets.
        matures: months by which each asset looks ahead.

    """

    def __init__(self, profile: Profile, versions: Mapping[str, Version], matures: Mapping[str, int]) -> None:
        self._profile = profile
        self.versions = versions
        self._matures = matures
        self._effective = effective(profile.settings)
        self._all_settings = digest(_text(self._effective))
        self._kept: set[str] = set()
        learners, scorer = profile.models.learners.values(), profile.settings.sentiment.scorer
        of_scorer = scorers.libraries(scorer) if scorer is not None else ()
        self._libraries = libraries((*(each for of in learners for each in of.libraries), *of_scorer))
        #: State of the provider's files before anything has read them.
        self._first_states = self.file_states(versions)
        self._meanings: dict[tuple[str, str], Any] = {
            ("settings", self._all_settings): self._effective,
            ("libraries", digest(_text(self._libraries))): self._libraries,
            **{("code", version.code): version.symbols for version in versions.values()},
        }

    def made_by(self, name: str, contents: Contents) -> Callable[[str], str]:
        """The text to record for each partition of a run, from the hashes of the partitions that it has read."""
        made = self.now(name, contents)
        self.keep(name)
        return lambda key: str(made(key))

    def keep(self, name: str) -> None:
        """Write down what the digests of an asset's records stand for, where it is not there yet."""
        version, files = self.versions[name], self.source_files(name)
        self._keep(f"code/{version.code}.json", version.symbols)
        self._keep(f"settings/{self._all_settings}.json", self._effective)
        self._keep(f"libraries/{digest(_text(self._libraries))}.json", self._libraries)
        if files:
            self._keep(f"sources/{digest(_text(files))}.json", files)

    def now(self, name: str, contents: Contents) -> Callable[[str], MadeBy]:
        """What each partition of an asset would follow from, were it written now from these inputs."""
        version = self.versions[name]
        inputs = digests(contents, version, self._matures, self._matures.get(name, 0))
        files = self.source_files(name)
        tried = cache(
            lambda sector: self._profile.trials.digests(sector, self._profile.settings.report.history_months - 1)
        )
        ordered = cache(lambda sector: self._profile.orders.digests(sector, name) if version.reads_orders else {})
        sources, used = digest(_text(files)) if files else "", digest(_text(self._libraries))
        self._meanings["sources", sources] = files

        def made(key: str) -> MadeBy:
            sector, month = parse_key(key)
            read = inputs(key) | ({TRIALS: tried(sector)(month)} if version.reads_trials else {})
            read |= {ORDERS: ordered(sector)[month]} if month in ordered(sector) else {}
            return MadeBy(version.code, self.settings_digest(name, sector), self._all_settings, used, read, sources)

        return made

    @cache  # noqa: B019 - one recorder lives as long as its definitions
    def settings_digest(self, name: str, sector: str | None) -> str:
        """Digest of the settings that an asset's partitions of a sector depend on."""
        return digest(_text(self.versions[name].settings(self._effective, sector)))

    def source_files(self, name: str) -> dict[str, str]:
        """Hash of each file that an asset's source reads, by the file's name.

        None of them where one has changed since the recorder was made: nobody knows which of the two the rows are from.
        """
        found = self._hashed_files(name)
        now = self.file_states([name])
        return found if all(self._first_states.get(each) == state for each, state in now.items()) else {}

    @cache  # noqa: B019
    def _hashed_files(self, name: str) -> dict[str, str]:
        folder, files = self._profile.data_dir, self._files(name)
        return _file_hashes(self._profile.store, folder, files) if folder is not None and files else {}

    def _files(self, name: str) -> list[str]:
        settings, version = self._profile.settings, self.versions[name]
        named = named_files(settings, version.paths) if version.reads_source else []
        folder = self._profile.data_dir if named else None
        return named if folder is None else [found for each in named for found in on_disk(folder, each)]

    def file_states(self, names: Iterable[str]) -> dict[str, list[int] | None]:
        """Inode, time of change (ns) and size of each file that assets read, now; None for one that is not there."""
        folder = self._profile.data_dir
        return (
            {}
            if folder is None
            else {each: _state(folder / each) for each in {each for name in names for each in self._files(name)}}
        )

    def meaning(self, kind: str, found: str) -> Any:
        """What a digest of a kind stands for: of today's records, and of those that are kept in the storage."""
        if (kind, found) not in self._meanings:
            self._meanings[kind, found] = kept(self._profile.store, kind, found)
        return self._meanings[kind, found]

    def _keep(self, name: str, content: Any) -> None:
        if name not in self._kept:
            if not self._profile.store.has_artifact(name):
                self._profile.store.write_artifact(name, json.dumps(content, indent=1, sort_keys=True).encode())
            self._kept.add(name)


#: Gives what a digest of a kind (code, settings, libraries, sources) stands for.
Meaning = Callable[[str, str], Any]


def explain(
    version: Version, sector: str | None, recorded: MadeBy, now: MadeBy, before: Meaning, after: Meaning
) -> dict[str, str]:
    """What differs between two records of a partition, in words, by kind: code, settings, inputs, libraries, sources.

    Args:
        version: of the asset.
        sector: of the partition.
        recorded: the earlier record.
        now: the later one.
        before: what the digests of the earlier record stand for.
        after: what those of the later one stand for.

    """
    found = {}
    if recorded.code != now.code:
        found["code"] = (
            f"code of {_changes(before('code', recorded.code), after('code', now.code), values=False)} changed"
        )
    if recorded.settings != now.settings:
        was, is_now = (
            version.settings(found, sector)
            for found in (before("settings", recorded.all_settings), after("settings", now.all_settings))
        )
        found["settings"] = f"settings {_changes(was, is_now)}"
    if recorded.inputs != now.inputs:
        found["inputs"] = f"inputs {_changes(recorded.inputs, now.inputs, values=False)} changed"
    if recorded.libraries != now.libraries:
        found["libraries"] = (
            f"libraries {_changes(before('libraries', recorded.libraries), after('libraries', now.libraries))}"
        )
    if recorded.sources != now.sources:
        files = (
            meaning("sources", each.sources) if each.sources else {}
            for meaning, each in ((before, recorded), (after, now))
        )
        found["sources"] = f"files {_changes(*files, values=False)} changed"
    return found


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], most: int = 3, *, values: bool = True) -> str:
    """The names under which two mappings differ, the first few."""
    changed = [name for name in sorted({*before, *after}) if before.get(name, _NONE) != after.get(name, _NONE)]
    shown = [
        f"{name} {before.get(name, 'none')} -> {after.get(name, 'none')}" if values else name for name in changed[:most]
    ]
    return ", ".join(shown) + (f" and {len(changed) - most} more" if len(changed) > most else "")


_NONE = object()


def kept(store: DatasetStore, kind: str, found: str) -> Any:
    """What a recorded digest stands for: settings, symbols, libraries or files."""
    return json.loads(store.read_artifact(f"{kind}/{found}.json"))


def digests(
    contents: Contents, version: Version, matures: Mapping[str, int], own: int
) -> Callable[[str], dict[str, str]]:
    """A function that gives, for a partition, one digest for each dataset that it reads.

    It is over the partitions of the asset's windows that were there. Those that go on changing after the partition is
    finished (labels mature for months) are left out: what is known at its close cannot depend on what they become.

    Args:
        contents: hash of each partition read, by dataset.
        version: of the asset.
        matures: months by which each dataset looks ahead.
        own: the same of the asset.

    """
    by_name = {
        name: (_by_sector(found), version.windows[name][0], min(version.windows[name][1], own - matures.get(name, 0)))
        for name, found in contents.items()
        if name in version.windows
    }
    made: dict[tuple[str, str | None, int, int], str] = {}

    def of(key: str) -> dict[str, str]:
        sector, period = parse_key(key)
        result = {}
        for name, (sectors, first, last) in by_name.items():
            where = None if sectors.keys() <= {None} else sector  # a sector's asset may read what has none
            months, parts = sectors.get(where, ([], []))
            # What is by day may read months: that of its own day.
            at = month_of(last_day(period)) if months and period_of(months[0]) == MONTH else period
            start, end = bisect_left(months, shift(at, first)), bisect_right(months, shift(at, last))
            if (name, where, start, end) not in made:
                made[name, where, start, end] = digest("".join(parts[start:end]))
            result[name] = made[name, where, start, end]
        return result

    return of


def _by_sector(found: Mapping[str, str | None]) -> dict[str | None, tuple[list[str], list[str]]]:
    """Months and hashes in order of the month, by sector; None has all of them."""
    result: dict[str | None, tuple[list[str], list[str]]] = {}
    for key in sorted(found):
        sector, month = parse_key(key)
        for where in dict.fromkeys((sector, None)):
            months, parts = result.setdefault(where, ([], []))
            months.append(month)
            parts.append(f"{key} {found[key]}\n")
    return result


@cache
def libraries(more: tuple[str, ...] = ()) -> dict[str, str]:
    """Versions of Python, of the libraries and of some more of them, and the kind of processor."""
    found = {"python": ".".join(platform.python_version_tuple()[:2]), "processor": platform.machine()}
    for name in (*_LIBRARIES, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def named_files(settings: Settings, paths: Iterable[str]) -> list[str]:
    """Names of the files that these settings name, of the provider's group: those with a field `file`."""
    names: set[str] = set()
    own = getattr(settings, settings.source, None)
    for path in paths:
        group, _, part = path.partition(".")
        value = getattr(own, part, ()) if group == settings.source and part else ()
        names |= {each.file for each in (value if isinstance(value, tuple) else (value,)) if hasattr(each, "file")}
    return sorted(names)


def _file_hashes(store: DatasetStore, folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Hash of each file.

    One that has been hashed once is not read again while its inode, time of change and size are the same.
    """
    known: dict[str, list[Any]] = json.loads(store.read_artifact(_HASHED)) if store.has_artifact(_HASHED) else {}
    found: dict[str, str] = {}
    before = len(known), list(known.values())
    for name in names:
        path = folder / name
        entry = _state(path)
        if entry is None:
            continue  # the source says what is missing
        remembered = known.get(str(path))
        if remembered is None or remembered[:3] != entry:
            with path.open("rb") as file:
                known[str(path)] = [
                    *entry,
                    hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest(),
                ]
        found[name] = known[str(path)][3]
    if before != (len(known), list(known.values())):
        store.write_artifact(_HASHED, json.dumps(known, indent=1, sort_keys=True).encode())
    return found


def _state(path: Path) -> list[int] | None:
    """Inode, time of change and size of a file; None where there is none."""
    if not path.is_file():
        return None
    found = path.stat()
    return [found.st_ino, found.st_mtime_ns, found.st_size]


def _text(content: Any) -> str:
    return json.dumps(content, sort_keys=True)

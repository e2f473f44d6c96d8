"""The record of a partition: digests, and the contents behind them.

The partition's file has digests of code, settings, libraries, inputs and source files. The contents behind the digests
of settings, code, libraries and source files are stored once, under `artifacts/settings`, `artifacts/code`,
`artifacts/libraries` and `artifacts/sources`. All of them depend on the partition, the settings and the files, never on
the run, so that a range of months gives the same bytes as single months.
"""

import hashlib
import json
import platform
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

#: Libraries whose arithmetic or file formats affect rows.
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

#: Cached hashes of the source's files, by path and state on disk.
_HASHED = "sources/files.json"

#: Names of the trial log and of an order of a training among the inputs.
TRIALS, ORDERS = "trials", "orders"

Contents = Mapping[str, Mapping[str, str | None]]


@dataclass(frozen=True)
class MadeBy:
    """The dependencies of a partition's rows.

    Attributes:
        code: digest of the definitions that the asset reaches.
        settings: digest of the settings that it depends on, without those of other sectors.
        all_settings: digest of all settings that can affect rows.
        libraries: digest of the versions of libraries and Python.
        inputs: digests by input: over the hashes of a dataset's partitions, of the trial log, and of the order of a
            training outside the cadence.
        sources: digest of the provider's files; empty if none were read.

    """

    code: str
    settings: str
    all_settings: str
    libraries: str
    inputs: Mapping[str, str]
    sources: str = ""

    @classmethod
    def parsed(cls, text: str | None) -> Self | None:
        """Parse a file's record; None without one."""
        return None if text is None else cls(**json.loads(text))

    def __str__(self) -> str:
        return json.dumps(vars(self), separators=(",", ":"), sort_keys=True)


class PartitionRecorder:
    """Records the dependencies of partitions.

    Args:
        profile: of the run.
        versions: of its assets.
        matures: by asset, the months by which it looks ahead.

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
        #: State of the provider's files before they are read.
        self._first_states = self.file_states(versions)
        self._meanings: dict[tuple[str, str], Any] = {
            ("settings", self._all_settings): self._effective,
            ("libraries", digest(_text(self._libraries))): self._libraries,
            **{("code", version.code): version.symbols for version in versions.values()},
        }

    def made_by(self, name: str, contents: Contents) -> Callable[[str], str]:
        """The text to record for a partition of a run, from the hashes of the partitions that it has read."""
        made = self.now(name, contents)
        self.keep(name)
        return lambda key: str(made(key))

    def keep(self, name: str) -> None:
        """Store the contents behind the digests of an asset's records, unless stored."""
        version, files = self.versions[name], self.source_files(name)
        self._keep(f"code/{version.code}.json", version.symbols)
        self._keep(f"settings/{self._all_settings}.json", self._effective)
        self._keep(f"libraries/{digest(_text(self._libraries))}.json", self._libraries)
        if files:
            self._keep(f"sources/{digest(_text(files))}.json", files)

    def now(self, name: str, contents: Contents) -> Callable[[str], MadeBy]:
        """The record that a partition of an asset would get if it were written now from these inputs."""
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
        """Hashes of the files that an asset's source reads, by name.

        Empty if one has changed since the recorder was created, because the rows may come from either version.
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
        """Current inode, time of change (ns) and size of the files that assets read; None for a missing one."""
        folder = self._profile.data_dir
        return (
            {}
            if folder is None
            else {each: _state(folder / each) for each in {each for name in names for each in self._files(name)}}
        )

    def meaning(self, kind: str, found: str) -> Any:
        """The content behind a digest of a kind, of today's records or of the storage."""
        if (kind, found) not in self._meanings:
            self._meanings[kind, found] = kept(self._profile.store, kind, found)
        return self._meanings[kind, found]

    def _keep(self, name: str, content: Any) -> None:
        if name not in self._kept:
            if not self._profile.store.has_artifact(name):
                self._profile.store.write_artifact(name, json.dumps(content, indent=1, sort_keys=True).encode())
            self._kept.add(name)


#: Returns the content behind a digest of a kind (code, settings, libraries, sources).
Meaning = Callable[[str, str], Any]


def explain(
    version: Version, sector: str | None, recorded: MadeBy, now: MadeBy, before: Meaning, after: Meaning
) -> dict[str, str]:
    """The differences of two records of a partition, in words, by kind: code, settings, inputs, libraries, sources.

    Args:
        version: of the asset.
        sector: of the partition.
        recorded: the earlier record.
        now: the later one.
        before: contents behind the digests of the earlier record.
        after: contents behind those of the later one.

    """
    changes = {}
    if recorded.code != now.code:
        changes["code"] = f"code of {names_changed(before('code', recorded.code), after('code', now.code))}"
    if recorded.settings != now.settings:
        was, is_now = (
            version.settings(changes, sector)
            for changes in (before("settings", recorded.all_settings), after("settings", now.all_settings))
        )
        changes["settings"] = "; ".join(_settings(was, is_now))
    if recorded.inputs != now.inputs:
        changes["inputs"] = f"inputs {names_changed(recorded.inputs, now.inputs)}"
    if recorded.libraries != now.libraries:
        changes["libraries"] = (
            f"libraries {_changes(before('libraries', recorded.libraries), after('libraries', now.libraries))}"
        )
    if recorded.sources != now.sources:
        files = (
            meaning("sources", each.sources) if each.sources else {}
            for meaning, each in ((before, recorded), (after, now))
        )
        changes["sources"] = f"files {names_changed(*files)}"
    return changes


def _settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Changed settings; a model that is new or gone by its name alone, without each of its settings."""
    was, are = ({path.split(".")[1] for path in each if path.startswith("models.")} for each in (before, after))
    # A record without any model is of an asset that did not read them.
    new, gone = (are - was, was - are) if was and are else (set(), set())
    for which, names in (("new model", new), ("removed model", gone)):
        if names:
            yield f"{which} {', '.join(sorted(names))}"
    whole = tuple(f"models.{name}." for name in new | gone)
    before, after = (
        {path: value for path, value in each.items() if not path.startswith(whole)} for each in (before, after)
    )
    if before != after:
        yield f"settings {_changes(before, after)}"


def names_changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The first few names under which two mappings differ, and how."""
    found = {
        "changed": [name for name in before if name in after and before[name] != after[name]],
        "added": [name for name in after if name not in before],
        "gone": [name for name in before if name not in after],
    }
    return ", ".join(f"{_few(sorted(names))} {how}" for how, names in found.items() if names)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The first few names under which two mappings differ, with both values."""
    changed = [name for name in sorted({*before, *after}) if before.get(name, _NONE) != after.get(name, _NONE)]
    return _few([f"{name} {before.get(name, 'none')} -> {after.get(name, 'none')}" for name in changed])


def _few(shown: Sequence[str], most: int = 3) -> str:
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


_NONE = object()


def kept(store: DatasetStore, kind: str, found: str) -> Any:
    """The stored content behind a digest: settings, symbols, libraries or files."""
    return json.loads(store.read_artifact(f"{kind}/{found}.json"))


def digests(
    contents: Contents, version: Version, matures: Mapping[str, int], own: int
) -> Callable[[str], dict[str, str]]:
    """A function that returns, for a partition, one digest per dataset that it reads.

    The digest covers the existing partitions in the asset's windows. Partitions that still change after the reader is
    finished (labels mature for months) are left out, because its rows cannot depend on their later state.

    Args:
        contents: hash of each partition read, by dataset.
        version: of the asset.
        matures: by dataset, the months by which it looks ahead.
        own: the same for the asset.

    """
    by_name = {
        name: (_by_sector(found), version.windows[name][0], min(version.windows[name][1], own - matures.get(name, 0)))
        for name, found in contents.items()
        if name in version.windows
    }
    cached: dict[tuple[str, str | None, int, int], str] = {}

    def of(key: str) -> dict[str, str]:
        sector, period = parse_key(key)
        result = {}
        for name, (sectors, first, last) in by_name.items():
            where = None if sectors.keys() <= {None} else sector  # a sector asset may read a dataset without sectors
            months, parts = sectors.get(where, ([], []))
            # A daily asset may read a month: that of its day.
            at = month_of(last_day(period)) if months and period_of(months[0]) == MONTH else period
            start, end = bisect_left(months, shift(at, first)), bisect_right(months, shift(at, last))
            if (name, where, start, end) not in cached:
                cached[name, where, start, end] = digest("".join(parts[start:end]))
            result[name] = cached[name, where, start, end]
        return result

    return of


def _by_sector(found: Mapping[str, str | None]) -> dict[str | None, tuple[list[str], list[str]]]:
    """Months and hashes in order, by sector; None has all of them."""
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
    """Versions of Python and libraries, and the kind of processor."""
    found = {"python": ".".join(platform.python_version_tuple()[:2]), "processor": platform.machine()}
    for name in (*_LIBRARIES, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def named_files(settings: Settings, paths: Iterable[str]) -> list[str]:
    """Names of the files in these settings of the provider's group: those with a field `file`."""
    names: set[str] = set()
    own = getattr(settings, settings.source, None)
    for path in paths:
        group, _, part = path.partition(".")
        value = getattr(own, part, ()) if group == settings.source and part else ()
        names |= {each.file for each in (value if isinstance(value, tuple) else (value,)) if hasattr(each, "file")}
    return sorted(names)


def _file_hashes(store: DatasetStore, folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Hashes of files.

    A hashed file is not read again while its inode, time of change and size are the same.
    """
    known: dict[str, list[Any]] = json.loads(store.read_artifact(_HASHED)) if store.has_artifact(_HASHED) else {}
    found: dict[str, str] = {}
    before = len(known), list(known.values())
    for name in names:
        path = folder / name
        entry = _state(path)
        if entry is None:
            continue  # the source reports a missing file
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
    """Inode, time of change and size of a file; None if it is missing."""
    if not path.is_file():
        return None
    stat = path.stat()
    return [stat.st_ino, stat.st_mtime_ns, stat.st_size]


def _text(content: Any) -> str:
    return json.dumps(content, sort_keys=True)

"""Dependence of rows on more than their inputs: the last months of an audit again, in a new process elsewhere.

That process computes another market first, then the unaltered input. Module state whose key lacks the data (a cache by
ticker, a warm-started fit) brings the other market into the rows. Clock, time zone, locale, home, working folder and
hash seed are different, and all that the process opens is recorded (`audit.elsewhere`). One run tests all changes at
once; only if rows differ do further runs with single changes name the cause.

Why not a new process or a fork per altered run: importing everything and simulating the market takes 5 s, and ten times
that is half of a quick audit. A fork is cheap, but a child of a process with Polars' threads (21 after its first query)
inherits their locks without their holders. The altered runs do not need it: state that they leave to each other they
also leave to the unaltered input, which is tested here.
"""

import hashlib
import json
import os
import pickle
import site
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from quant_assets.audit.alterations import Perturbed
from quant_assets.audit.elsewhere import ANSWER, REQUEST, Opened, Record
from quant_assets.audit.findings import Comparison, Exempt, TestName
from quant_assets.audit.inputs import altered_source, readable_often
from quant_assets.audit.runs import Recomputed
from quant_assets.audit.trained import trained_datasets
from quant_assets.io.store import DatasetStore
from quant_assets.market.calendar import last_session_to
from quant_assets.partitions import month_start
from quant_assets.profile import Profile
from quant_assets.running.execute import RunFailedError
from quant_assets.settings.loading import Settings
from quant_assets.settings.origin import BASE, ROOT, conf_dir
from quant_assets.sources.base import Source
from quant_assets.sources.registry import as_given, class_of

#: A change of a process's surroundings.
Change = Literal["market", "clock", "zone", "locale", "home"]

#: Test and cause of a difference that a single change causes.
_MEANT: Mapping[Change | None, tuple[TestName, str]] = {
    None: (
        "state",
        "differs when it is computed again with nothing changed: a random draw without a seed, the order of a set "
        "(another in each process), or something that an earlier computation left behind",
    ),
    "market": (
        "state",
        "depends on another market that the same process computed before: "
        "a cache, or other state of a module, whose key lacks the data",
    ),
    "clock": ("surroundings", "depends on the clock: use the session or the settings' as_of, not today"),
    "zone": ("surroundings", "depends on the machine's time zone: name a zone (zoneinfo) to convert times to days"),
    "locale": ("surroundings", "depends on the machine's locale: its sorting, its decimal mark or its names of days"),
    "home": (
        "surroundings",
        "depends on the home or working folder, or on the hash seed",
    ),
}
_TOGETHER = "differs in other surroundings, but neither clock, time zone, locale nor home alone changes it"

#: Zones whose days begin three quarters of an hour off the hour, or most of a day off the exchange's.
_ZONE, _OTHER_ZONE = "Pacific/Chatham", "America/Adak"
_SEED = "271828"
#: Most paths of the provider that are named.
_NAMED = 3
#: Seed of the other market; no cut has it.
_MARKET = 97

#: Suffixes of code files, wherever they lie; any other file is data that no provider gave.
_CODE = {".py", ".pyc", ".pyi", ".so", ".pyd", ".dylib", ".dll", ".html", ".js", ".css", ".sql", ".nbi", ".nbc", ".pth"}
#: Programs that describe the machine, which libraries start at import.
_OF_THE_MACHINE = {"file", "uname", "lscpu", "ldconfig", "sysctl", "fc-list", "system_profiler"}
#: The user's fonts, in the home folder.
_FONTS = (".fonts", ".local/share/fonts", "Library/Fonts")
#: The system's folders, which hold no user data: devices, time zones, fonts, name services.
_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/lib64", "/bin", "/System", "/Library")


@dataclass(frozen=True)
class Asked:
    """A request to a process.

    Attributes:
        settings: of the profile, its last session fixed.
        provider: the caller's own, if any.
        base, keys: URL of the unaltered input's store, and its partitions.
        folder: scratch, for this process alone.
        names: assets.
        sectors: slugs.
        first, last: months.
        market_first: whether another market is computed first.

    """

    settings: Settings
    provider: Source | None
    base: str
    keys: Mapping[str, set[str]]
    folder: Path
    names: tuple[str, ...]
    sectors: tuple[str, ...]
    first: str
    last: str
    market_first: bool = False


@dataclass(frozen=True)
class Repeated:
    """The result of a process.

    Attributes:
        url: of the store of its rows.
        keys: partitions that were computed, by dataset.
        failures: why runs failed.
        opened: opened files outside data folder, scratch folder, code and system; addresses and commands.

    """

    url: str
    keys: dict[str, set[str]]
    failures: list[str] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As JSON types."""
        keys = {name: sorted(each) for name, each in self.keys.items()}
        return {"url": self.url, "keys": keys, "failures": list(self.failures), "opened": list(self.opened)}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Repeated":
        """The inverse of `plain`."""
        keys = {name: set(each) for name, each in plain["keys"].items()}
        return cls(plain["url"], keys, plain["failures"], [Opened(*each) for each in plain["opened"]])


Judge = Callable[[Repeated], list[Comparison]]
Start = Callable[[Asked, Collection[Change]], Repeated]


def compare_elsewhere(asked: Asked, judge: Judge) -> tuple[list[Comparison], list[str]]:
    """Compute months again in other surroundings and compare.

    Args:
        asked: without the other market.
        judge: compares the result of a process with the unaltered input.

    Returns:
        Comparisons of the tests `state` and `surroundings`, and a note on the provider's files outside its folder.

    """
    every: tuple[Change, ...] = ("market", "clock", "zone", "locale", "home")
    elsewhere = start(asked, every)
    found = judge(elsewhere)
    roots = [each for each in found if each.failed and each.inherited_from is None]
    alone: dict[Change | None, list[Comparison]] = {}
    if roots:
        again = replace(asked, names=tuple(dict.fromkeys(each.asset for each in roots)))
        for number, change in enumerate((None, *every)):
            own = replace(again, folder=asked.folder.with_name(f"{asked.folder.name}-{number}"))
            alone[change] = judge(start(own, [] if change is None else [change]))
            if change is None and alone[None] and all(_is_in(each, alone[None]) for each in roots):
                break
    comparisons = [each for one in found for each in _told(one, found, alone)]
    theirs = list(dict.fromkeys(each.what for each in elsewhere.opened if each.by_provider))
    rest = f" and {len(theirs) - _NAMED} more" if len(theirs) > _NAMED else ""
    note = (
        f"surroundings: the provider uses {', '.join(theirs[:_NAMED])}{rest}, outside the data folder: it is an input, "
        "but its content on an earlier day is not known"
    )
    return comparisons + list(_told_of(elsewhere.opened, asked.names)), [Exempt(note)] if theirs else []


def is_portable(provider: Source) -> bool:
    """Whether a provider can be passed to another process; that of a script or notebook cannot be loaded there."""
    if type(provider).__module__ == "__main__":
        return False
    try:
        pickle.dumps(provider)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def _is_in(one: Comparison, found: Sequence[Comparison]) -> bool:
    return any(each.failed and (each.asset, each.column) == (one.asset, one.column) for each in found)


def _told(
    one: Comparison, every: Sequence[Comparison], alone: Mapping[Change | None, Sequence[Comparison]]
) -> Iterator[Comparison]:
    """A comparison under the test of its cause; under both tests if nothing differs."""
    if not one.failed:
        yield replace(one, test="state")
        yield replace(one, test="surroundings")
        return
    root = next((each for each in every if each.asset == one.inherited_from and each.failed), one)
    changes = [change for change, found in alone.items() if _is_in(root, found)]
    # A nondeterministic column differs under every change too.
    changes = [None] if None in changes else changes
    tests: list[TestName] = list(dict.fromkeys(_MEANT[change][0] for change in changes))
    for test in tests or [one.test]:
        causes = [_MEANT[change][1] for change in changes if _MEANT[change][0] == test]
        failed = f"; {one.cause}" if one.cause.startswith("failed") else ""
        yield replace(one, test=test, cause="; ".join(causes or [_TOGETHER]) + failed)


def _told_of(opened: Sequence[Opened], names: Sequence[str]) -> Iterator[Comparison]:
    """A failure for everything that code other than the provider's opened, for the first asset in computation."""
    for each in (each for each in opened if not each.by_provider):
        asset = each.during.partition(",")[0] or names[0]
        when = "" if each.during else " while modules were imported"
        how = "opens" if each.event == "open" else f"uses ({each.event})"
        yield Comparison(
            asset,
            "surroundings",
            compared=1,
            differing=1,
            key=each.what,
            expected="inputs alone",
            found=each.event,
            cause=f"{how} {each.what}{when}, which is neither an input nor code: nothing says when its content "
            "was known; read it in a provider, or make it a setting",
        )


# --- The process, from outside ----------------------------------------------------------------------------------------


def start(asked: Asked, changes: Collection[Change]) -> Repeated:
    """Compute in a new process, in surroundings with these changes.

    Raises:
        RunFailedError: the process ended before it could answer.

    """
    folder = asked.folder
    for name in ("home", "work", "tmp"):
        (folder / name).mkdir(parents=True)
    request = pickle.dumps((compute, replace(asked, market_first="market" in changes)))
    (folder / REQUEST).write_bytes(request)
    work = folder / "work" if "home" in changes else Path.cwd()
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from quant_assets.audit.elsewhere import main; main()",
            str(folder),
            hashlib.sha256(request).hexdigest(),
            *sorted(changes),
        ],
        env=_environment(folder, changes),
        cwd=work,
        stdin=subprocess.PIPE,  # the process ends when the pipe is closed
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            error = process.stderr.read() if process.stderr is not None else b""
        except BaseException:
            process.kill()
            raise
    if process.returncode or not (folder / ANSWER).exists():
        last = error.decode(errors="replace").strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
        raise RunFailedError(f"the process of the audit's other surroundings ended early: {last[0]}")
    return Repeated.of(json.loads((folder / ANSWER).read_text(encoding="utf-8")))


def _environment(folder: Path, changes: Collection[Change]) -> dict[str, str]:
    inherited = dict(os.environ)
    cache = Path(inherited.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matplotlib"
    changed = {
        "PYTHONPATH": os.pathsep.join(os.path.abspath(each) for each in sys.path),
        "TMPDIR": str(folder / "tmp"),
        "QUANT_BASE_DIR": str(BASE),  # its working folder is another one
        "MPLCONFIGDIR": inherited.get("MPLCONFIGDIR") or str(cache),  # building its font list takes a second
    }
    if "zone" in changes:
        changed["TZ"] = _OTHER_ZONE if _offset() > 6 * 3_600 else _ZONE
    if "locale" in changes:
        changed |= {"LC_ALL": "C", "LANG": "C", "LANGUAGE": "C"}
    if "home" in changes:
        changed |= {"HOME": str(folder / "home"), "USERPROFILE": str(folder / "home"), "PYTHONHASHSEED": _SEED}
    return inherited | changed


def _offset() -> int:
    """Seconds by which local time is ahead of UTC."""
    return time.localtime().tm_gmtoff


# --- The process, from inside -----------------------------------------------------------------------------------------


def compute(asked: Asked, record: Record) -> Repeated:
    """Compute another market if requested, then the unaltered input; report what was opened meanwhile."""
    own = asked.provider
    record.provider = class_of(asked.settings.source) if own is None else type(as_given(own))
    stored = readable_often(Profile(asked.settings, own))
    store, cut = DatasetStore(asked.base), last_session_to(month_start(asked.first) - timedelta(days=1))

    def begun(what: str) -> None:
        record.during = what.partition(" (")[0]

    if asked.market_first:
        source = altered_source(stored, Perturbed(cut, seed=_MARKET), asked.settings)
        other = Recomputed.at(asked.folder / "other", asked.settings, source, stored, begun)
        other.take_over(store, asked.keys, asked.first, cut)
        other.compute(other.with_sectors(asked.names), asked.sectors, asked.first, asked.last)
    record.during = ""
    again = Recomputed.at(asked.folder / "again", asked.settings, stored.provider, stored, begun)
    again.take_over(store, asked.keys, asked.first, None)
    again.compute(again.with_sectors(asked.names), asked.sectors, asked.first, asked.last)
    home = str(asked.folder / "home")
    opened = [
        each._replace(what=each.what.replace(home, "~")) for each in _outside(record.end(), _allowed(asked, stored))
    ]
    return Repeated(again.profile.store.url, again.keys, again.failures, opened)


def _allowed(asked: Asked, stored: Profile) -> tuple[str, ...]:
    """Folders of inputs, the scratch folder, the environment and the system."""
    found = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()}
    found |= {*site.getsitepackages(), site.getusersitepackages(), *_SYSTEM, os.environ["MPLCONFIGDIR"]}
    found |= {str(asked.folder / name) for name in ("other", "again", "tmp", REQUEST)}
    found |= {str(Path.home() / name) for name in _FONTS}
    found |= {os.path.dirname(asked.base.rstrip("/")), str(conf_dir()), f"{ROOT}/quant_assets/provenance/__pycache__"}
    if stored.data_dir is not None:
        found |= {str(stored.data_dir), str(stored.settings.collecting.path)}
    if trained_datasets(stored):
        found.add(stored.store.url)
    # Files of models and scorers in the settings are read by their hash.
    models = (each.parameters.get("path") for each in stored.settings.models.values())
    found |= {os.path.expanduser(path) for path in models if isinstance(path, str)}
    if stored.settings.sentiment.path is not None and stored.settings.sentiment.sha256 is not None:
        found.add(str(stored.settings.sentiment.path.expanduser()))
    return tuple(each for name in found for each in (os.path.abspath(name), os.path.realpath(name)))


def _outside(opened: Sequence[Opened], allowed: Collection[str]) -> Iterator[Opened]:
    seen = set()
    for each in opened:
        if each.event == "subprocess.Popen" and each.what.partition(" ")[0] in _OF_THE_MACHINE:
            continue
        if each.event == "open" and "://" not in each.what:
            path = os.path.realpath(each.what)
            # A folder that the interpreter searches for modules is no data.
            code = os.path.splitext(path)[1] in _CODE or os.path.isdir(path)
            if code or any(path == root or path.startswith(f"{root}{os.sep}") for root in allowed):
                continue
        if (place := (each.during, each.what, each.by_provider)) not in seen:
            seen.add(place)
            yield each

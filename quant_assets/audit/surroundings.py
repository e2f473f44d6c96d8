"""What rows follow from beside their inputs: the last months of an audit once more, in a fresh process elsewhere.

That process computes another market first, and then the input as it is: state that a module keeps without its data as
the key (a cache by ticker, a fit that starts where the one before ended) brings the other market into the rows. Its
clock, time zone, locale, home, working folder and hash seed are other ones, and what it opens is recorded
(`audit.elsewhere`). One such run looks for all of that at once; only where rows differ are more done, a change each,
which tell what they follow from.

Why neither a fresh process for each altered run, nor a fork: a process that has everything imported and has simulated
the market is 5 s old, ten of them are half of a quick audit; to fork is cheap, but the one that would be forked holds
Polars' threads (21 after its first query), whose locks a child inherits without their holders. And the altered runs
of a process need no fresh one: whatever they leave to each other they leave to the input as it is, too, and that is
what is looked at here.
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

#: What is other in a process.
Change = Literal["market", "clock", "zone", "locale", "home"]

#: Under which test a difference is reported that a change alone brings about, and what it says.
_MEANT: Mapping[Change | None, tuple[TestName, str]] = {
    None: (
        "state",
        "differs when it is computed again with nothing changed: a random draw without a seed, the order of a set "
        "(another in each process), or something that an earlier computation left behind",
    ),
    "market": (
        "state",
        "follows from another market that the same process computed before: "
        "a cache, or other state of a module, whose key lacks the data",
    ),
    "clock": ("surroundings", "follows the clock: ask for the session or the settings' as_of, not for today"),
    "zone": ("surroundings", "follows the machine's time zone: name one (zoneinfo) where days are told from times"),
    "locale": ("surroundings", "follows the machine's locale: its sorting, its decimal mark or its names of days"),
    "home": (
        "surroundings",
        "follows from the home or working folder, or from the hash seed",
    ),
}
_TOGETHER = "differs in other surroundings, although no one of the clock, time zone, locale and home alone changes it"

#: Days there begin three quarters of an hour, and most of a day, apart from those of the exchange.
_ZONE, _OTHER_ZONE = "Pacific/Chatham", "America/Adak"
_SEED = "271828"
#: Things that the provider uses which are told by name.
_NAMED = 3
#: Of the other market: not one that a cut has.
_MARKET = 97

#: Code and what belongs to it, wherever it lies; any other file beside the code is data that no provider gave.
_CODE = {".py", ".pyc", ".pyi", ".so", ".pyd", ".dylib", ".dll", ".html", ".js", ".css", ".sql", ".nbi", ".nbc", ".pth"}
#: Programs that tell of the machine, which libraries ask while they are imported.
_OF_THE_MACHINE = {"file", "uname", "lscpu", "ldconfig", "sysctl", "fc-list", "system_profiler"}
#: Fonts that a person has installed, in the home folder.
_FONTS = (".fonts", ".local/share/fonts", "Library/Fonts")
#: The system's own, none of which holds a user's data: devices, time zones, fonts, name services.
_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/lib64", "/bin", "/System", "/Library")


@dataclass(frozen=True)
class Asked:
    """What a process is to compute.

    Attributes:
        settings: of the profile, its last session fixed.
        provider: of the caller's own, if any.
        base, keys: URL of the input as it is, and its partitions.
        folder: scratch, for this process alone.
        names: assets.
        sectors: slugs.
        first, last: months.
        market_first: whether another market is computed before.

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
    """What a process has left.

    Attributes:
        url: of the store of its rows.
        keys: partitions that were computed, by dataset.
        failures: why runs failed.
        opened: what was opened that is neither of the data folder, scratch folder, code nor the system's own.

    """

    url: str
    keys: dict[str, set[str]]
    failures: list[str] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        keys = {name: sorted(each) for name, each in self.keys.items()}
        return {"url": self.url, "keys": keys, "failures": list(self.failures), "opened": list(self.opened)}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Repeated":
        """What `plain` gave."""
        keys = {name: set(each) for name, each in plain["keys"].items()}
        return cls(plain["url"], keys, plain["failures"], [Opened(*each) for each in plain["opened"]])


Judge = Callable[[Repeated], list[Comparison]]
Start = Callable[[Asked, Collection[Change]], Repeated]


def compare_elsewhere(asked: Asked, judge: Judge) -> tuple[list[Comparison], list[str]]:
    """Compute months again in other surroundings and compare.

    Args:
        asked: without the other market.
        judge: compares what a process has left with the input as it is.

    Returns:
        Comparisons of the tests `state` and `surroundings`, and a note on what the provider reads beside its folder.

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
    made = [each for one in found for each in _told(one, found, alone)]
    theirs = list(dict.fromkeys(each.what for each in elsewhere.opened if each.by_provider))
    rest = f" and {len(theirs) - _NAMED} more" if len(theirs) > _NAMED else ""
    note = (
        f"surroundings: the provider uses {', '.join(theirs[:_NAMED])}{rest}, beside the data folder: an input like "
        "any other, but what it held on an earlier day is not known"
    )
    return made + list(_told_of(elsewhere.opened, asked.names)), [Exempt(note)] if theirs else []


def is_portable(provider: Source) -> bool:
    """Whether a provider can be handed to another process; that of a script or notebook cannot be read there."""
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
    """A comparison under the test that it belongs to; under both where nothing differs."""
    if not one.failed:
        yield replace(one, test="state")
        yield replace(one, test="surroundings")
        return
    root = next((each for each in every if each.asset == one.inherited_from and each.failed), one)
    changes = [change for change, found in alone.items() if _is_in(root, found)]
    # What differs by itself differs under every change too.
    changes = [None] if None in changes else changes
    tests: list[TestName] = list(dict.fromkeys(_MEANT[change][0] for change in changes))
    for test in tests or [one.test]:
        causes = [_MEANT[change][1] for change in changes if _MEANT[change][0] == test]
        failed = f"; {one.cause}" if one.cause.startswith("failed") else ""
        yield replace(one, test=test, cause="; ".join(causes or [_TOGETHER]) + failed)


def _told_of(opened: Sequence[Opened], names: Sequence[str]) -> Iterator[Comparison]:
    """A failure for each thing that code but the provider's opened, of the first asset that was being computed."""
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
            cause=f"{how} {each.what}{when}, which is neither an input nor code: what it holds is not known to have "
            "been known by any day; let a provider read it, or make it a setting",
        )


# --- The process, from outside ----------------------------------------------------------------------------------------


def start(asked: Asked, changes: Collection[Change]) -> Repeated:
    """Let a fresh process compute, in surroundings with these changes.

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
        stdin=subprocess.PIPE,  # it ends when the pipe does
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
    given = dict(os.environ)
    cache = Path(given.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matplotlib"
    made = {
        "PYTHONPATH": os.pathsep.join(os.path.abspath(each) for each in sys.path),
        "TMPDIR": str(folder / "tmp"),
        "QUANT_BASE_DIR": str(BASE),  # the folder that it starts in is another
        "MPLCONFIGDIR": given.get("MPLCONFIGDIR") or str(cache),  # its list of fonts takes a second to make
    }
    if "zone" in changes:
        made["TZ"] = _OTHER_ZONE if _offset() > 6 * 3_600 else _ZONE
    if "locale" in changes:
        made |= {"LC_ALL": "C", "LANG": "C", "LANGUAGE": "C"}
    if "home" in changes:
        made |= {"HOME": str(folder / "home"), "USERPROFILE": str(folder / "home"), "PYTHONHASHSEED": _SEED}
    return given | made


def _offset() -> int:
    """Seconds that this machine's clock is ahead of UTC."""
    return time.localtime().tm_gmtoff


# --- The process, from inside -----------------------------------------------------------------------------------------


def compute(asked: Asked, record: Record) -> Repeated:
    """Compute another market where that is asked for, then the input as it is, and tell what was opened meanwhile."""
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
    # The file of a model that the settings name, which is read by its hash.
    models = (each.parameters.get("path") for each in stored.settings.models.values())
    found |= {os.path.expanduser(path) for path in models if isinstance(path, str)}
    return tuple(each for name in found for each in (os.path.abspath(name), os.path.realpath(name)))


def _outside(opened: Sequence[Opened], allowed: Collection[str]) -> Iterator[Opened]:
    seen = set()
    for each in opened:
        if each.event == "subprocess.Popen" and each.what.partition(" ")[0] in _OF_THE_MACHINE:
            continue
        if each.event == "open" and "://" not in each.what:
            path = os.path.realpath(each.what)
            # A folder that the interpreter looks through for modules is no file that is read.
            code = os.path.splitext(path)[1] in _CODE or os.path.isdir(path)
            if code or any(path == root or path.startswith(f"{root}{os.sep}") for root in allowed):
                continue
        if (place := (each.during, each.what, each.by_provider)) not in seen:
            seen.add(place)
            yield each

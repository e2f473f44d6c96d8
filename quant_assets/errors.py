"""Errors that a user can fix: the message is one line that names the problem, its place, and the remedy.

The command line prints them without a traceback. Anything else that is raised is a bug in this project.
"""

import errno
import os
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches

#: What helps where a disk refuses, by what the operating system says.
_REMEDIES = {
    os.strerror(number): remedy
    for number, remedy in (
        (errno.ENOSPC, "free space there (quant prune shows old partitions) and run again: what is stored is whole"),
        (errno.EDQUOT, "free space there (quant prune shows old partitions) and run again: what is stored is whole"),
        (errno.EROFS, "set QUANT__STORAGE to a folder that can be written"),
        (errno.EACCES, "give yourself the right to it, or set QUANT__STORAGE to a folder of your own"),
    )
}
#: What a file is called while it is written: the dot before its name, and the end.
_TEMPORARY = re.compile(r"(?<=/)\.(?=[^/]+\.tmp$)|\.[^/.]+\.tmp$")


class QuantError(Exception):
    """Base of every error whose message is written for the user."""


class SettingsError(QuantError):
    """A setting, profile, sector or month that does not exist or cannot be used."""


class UsageError(SettingsError):
    """A mistake in what was typed: options that do not go together, or a value that cannot be one; exit status 2."""


class SourceError(QuantError):
    """A provider's data is absent or unusable; names the file, the ticker or the column."""


class InterruptedRunError(QuantError):
    """The user ended a run; its written partitions stay."""


class MissingPartitionError(QuantError):
    """An upstream partition has not been materialised; names the asset and the partitions.

    Args:
        message: for the user.
        existing: keys of the dataset's partitions that are stored. Only the command line names them: a run's message
            becomes metadata, which must not depend on other months.

    """

    def __init__(self, message: str, existing: Callable[[], set[str]] | None = None) -> None:
        super().__init__(message)
        self.existing = existing

    def __reduce__(self) -> tuple[type, tuple[str]]:
        """For another process: the message alone, since a store does not travel."""
        return type(self), (str(self),)


class DatasetError(QuantError):
    """Rows that break the dataset's schema or lie outside the partitions of the run."""


class LedgerError(DatasetError):
    """A ledger entry would be changed, or is of a day without a session; names the days."""


class ModelFileError(DatasetError):
    """A model's file is missing, truncated or changed; names it."""


class HistoryError(QuantError):
    """A computation lacks inputs that the time contract needs."""


class InfeasibleError(QuantError):
    """Portfolio limits that contradict each other, or an optimisation without a solution; names them."""


class MissingPackageError(QuantError):
    """A package of an extra is not installed; names the extra."""


class LaunchError(QuantError):
    """A unit of work could not be started elsewhere, or its process failed."""


class CheckpointError(QuantError):
    """A state of a training could not be saved or read; names the file, and the intact states."""


def refused_by_the_machine(file: str, what: str) -> str:
    """A message of the operating system about a file (empty if it names none), with a remedy."""
    where = f"{_TEMPORARY.sub('', file)}: " if file else ""
    return f"{where}{what}; {_REMEDIES.get(what, 'fix that and run again')}"


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The known names most like a misspelt one, the best first; at most three, none if nothing is like it.

    Capitals do not count.
    """
    plain: dict[str, str] = {}
    for each in known:
        plain.setdefault(each.lower(), each)
    return [plain[each] for each in get_close_matches(name.lower(), plain, n=3)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A clause with the known names most like a misspelt one, for messages; empty if nothing is like it."""
    near = nearest(name, known)
    return f"; did you mean {' or '.join(near)}?" if near else ""

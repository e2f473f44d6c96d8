"""Errors that a user can mend: each message is one line that names what is wrong, where, and the remedy.

The command line prints them without a traceback. Anything else that is raised is a bug in this project.
"""

import errno
import os
import re
from collections.abc import Callable

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


class SourceError(QuantError):
    """A provider's data is absent or unusable; names the file, the ticker or the column."""


class InterruptedRunError(QuantError):
    """The user ended a run; what it had written stays."""


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
    """What was said on a day would be said otherwise, or of a day that is no session; names the days."""


class ModelFileError(DatasetError):
    """A model's file is missing, cut off or not the one that was written; names it."""


class HistoryError(QuantError):
    """A computation was asked for without the inputs that the time contract needs."""


class InfeasibleError(QuantError):
    """Limits of a portfolio that cannot hold together, or an optimisation without a solution; names them."""


class MissingPackageError(QuantError):
    """A package of an extra is not installed; names the extra."""


class LaunchError(QuantError):
    """A unit of work could not be started elsewhere, or its process failed."""


class CheckpointError(QuantError):
    """A state of a training could not be saved or read; names the file, and what is whole."""


def refused_by_the_machine(file: str, what: str) -> str:
    """A message of the operating system about a file (empty where it names none), with what helps."""
    where = f"{_TEMPORARY.sub('', file)}: " if file else ""
    return f"{where}{what}; {_REMEDIES.get(what, 'mend that and run again')}"

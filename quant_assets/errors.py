"""Errors that a user can fix: the message is one line that names the problem, its place, and the remedy.

The command line prints them without a traceback. Anything else that is raised is a bug in this project.
"""


class QuantError(Exception):
    """Base of every error whose message is written for the user."""


class SettingsError(QuantError):
    """A setting, profile, sector or month that does not exist or cannot be used."""


class SourceError(QuantError):
    """A provider's data is absent or unusable; names the file, the ticker or the column."""


class InterruptedRunError(QuantError):
    """The user ended a run; its written partitions stay."""


class MissingPartitionError(QuantError):
    """An upstream partition has not been materialised; names the asset and the partitions."""


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

"""Private names of Dagster like those of `dagster_internals`: where a run or an instigator comes from.

The web UI's timeline, the daemon and the launchers find the code location of a run by its origin.
"""

import os
import sys

from dagster._core.code_pointer import CodePointer
from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT, JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

#: The repository that Dagster makes of a module's definitions.
_REPOSITORY = "__repository__"


def repository_origin(module: str) -> RemoteRepositoryOrigin:
    """The repository of a code location that is named like its module, which holds `defs`."""
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=module)
    return RemoteRepositoryOrigin(ManagedGrpcPythonEnvCodeLocationOrigin(target, module), _REPOSITORY)


def job_origins(job_name: str, module: str) -> tuple[RemoteJobOrigin, JobPythonOrigin]:
    """A job as the daemon and the web UI name it, and as a process finds it. Nothing of the location is loaded."""
    repository = RepositoryPythonOrigin(
        sys.executable, CodePointer.from_module(module, "defs", os.getcwd()), entry_point=DEFAULT_DAGSTER_ENTRY_POINT
    )
    return RemoteJobOrigin(repository_origin(module), job_name), JobPythonOrigin(job_name, repository)

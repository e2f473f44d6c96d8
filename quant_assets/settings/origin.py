"""Sources of settings: the project's folder, its YAML files, and environment variables."""

import os
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource
from pydantic_settings import SettingsError as PydanticSettingsError

from quant_assets.errors import SettingsError, UsageError
from quant_assets.settings.yaml_files import read_yaml

_PACKAGE = Path(__file__).resolve().parents[1]

#: Folder of the package: the project's, or site-packages.
ROOT = _PACKAGE.parent

#: Whether the package is installed from a wheel, which has `conf/` and `dbt_like_sql/` inside the package.
INSTALLED = (_PACKAGE / "conf").is_dir()

#: Folder with `conf/` and `dbt_like_sql/` of the project.
SHIPPED = _PACKAGE if INSTALLED else ROOT

#: Base of relative paths in settings: `QUANT_BASE_DIR`, else the project's folder, or with a package from a wheel the
#: working directory of the process.
BASE = Path(os.path.abspath(os.path.expanduser(os.environ.get("QUANT_BASE_DIR") or ("." if INSTALLED else ROOT))))

#: Environment variables other than settings.
VARIABLES = (
    "QUANT_PROFILE",
    "QUANT_DATA_DIR",
    "QUANT_CONF_DIR",
    "QUANT_BASE_DIR",
    "QUANT_TEST_DATA_DIR",
    "QUANT_MODEL_KEY",
    "QUANT_ALERT_URL",
    "QUANT_GPUS",
)


def conf_dir() -> Path:
    """The folder of YAML settings: `QUANT_CONF_DIR`, else `conf/` of `BASE` with a base.yaml, else the project's."""
    folder = os.environ.get("QUANT_CONF_DIR")
    if folder:
        return at_home(folder, "QUANT_CONF_DIR")
    return _own_or_shipped()


def _own_or_shipped() -> Path:
    own = BASE / "conf"
    return own if (own / "base.yaml").is_file() else SHIPPED / "conf"


def dagster_template() -> Path:
    """The template of a Dagster instance: `dagster.yaml` beside the settings, else the project's."""
    own = conf_dir() / "dagster.yaml"
    return own if own.exists() else SHIPPED / "conf" / "dagster.yaml"


def profile_file(profile: str) -> str:
    """The YAML file of a profile, for messages; relative to `BASE` if it is below it."""
    path = conf_dir() / "profiles" / f"{profile}.yaml"
    return str(path.relative_to(BASE) if path.is_relative_to(BASE) else path)


def at_home(path: str, what: str) -> Path:
    """Expand `~` in a path to the home folder.

    Raises:
        SettingsError: the home folder does not exist.

    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise SettingsError(f"{what} {path}: there is no such home folder; write the whole path") from None


def refuse_a_file(storage: str) -> None:
    """Raise a SettingsError if a storage on this machine, or a folder above it, is a file."""
    if "://" in storage:
        return
    for path in (storage, *map(str, Path(storage).parents)):
        if os.path.exists(path):
            if not os.path.isdir(path):
                raise SettingsError(
                    f"storage {storage}: {path} is a file; set QUANT__STORAGE (or storage in {conf_dir()}) to a folder"
                )
            return


def sources(settings: type[BaseSettings]) -> tuple[PydanticBaseSettingsSource, ...]:
    """Environment and files; the environment has priority."""
    return (_EnvironmentSource(settings), _YamlSource(settings))


class _EnvironmentSource(EnvSettingsSource):
    """`QUANT__…` variables; an unknown one is an error, so that typos are not ignored."""

    def __call__(self) -> dict[str, Any]:
        known = [name for name in self.settings_cls.model_fields if name != "profile"]
        for variable in self.env_vars:
            if variable.startswith("quant__") and variable.split("__")[1] not in known:
                raise SettingsError(
                    f"environment variable {variable.upper()} names no setting; settings are {', '.join(known)}, "
                    "written as QUANT__GROUP__NAME; QUANT_PROFILE chooses the profile"
                )
            if variable.startswith("quant_") and "__" not in variable and variable.upper() not in VARIABLES:
                raise SettingsError(
                    f"environment variable {variable.upper()} is unknown; did you mean one of {', '.join(VARIABLES)}?"
                )
        try:
            return super().__call__()
        except PydanticSettingsError as error:
            raise SettingsError(
                f"{str(error).partition(' from source')[0]}: "
                "the environment needs QUANT__GROUP__NAME=value, or JSON for a group or list"
            ) from None


class _YamlSource(PydanticBaseSettingsSource):
    """`conf/base.yaml` overlaid with the profile's file."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError("values come from __call__")

    def __call__(self) -> dict[str, Any]:
        profile = str(self.current_state.get("profile") or "demo")
        folder = conf_dir()
        try:
            known = sorted(path.stem for path in (folder / "profiles").iterdir() if path.suffix == ".yaml")
        except (FileNotFoundError, NotADirectoryError):
            known = []
        except OSError as error:
            raise SettingsError(
                f"{folder / 'profiles'} cannot be read: {error.strerror}; fix that, or set QUANT_CONF_DIR to a folder "
                "that holds base.yaml and profiles"
            ) from None
        if not known:
            what = (
                "has no profiles/*.yaml" if folder.is_dir() else "is no folder" if folder.exists() else "does not exist"
            )
            raise SettingsError(
                f"the folder of settings {folder} {what}; set QUANT_CONF_DIR to a folder that holds base.yaml and "
                f"profiles, or unset it for {_own_or_shipped()}"
            )
        if profile not in known:
            raise UsageError(
                f"profile '{profile}' does not exist; choose one of {', '.join(known)} "
                f"with --profile or QUANT_PROFILE, or add {folder / 'profiles' / (profile + '.yaml')}"
            )
        return _merge(read_yaml(folder / "base.yaml"), read_yaml(folder / "profiles" / f"{profile}.yaml"))


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        merged[key] = (
            _merge(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
        )
    return merged

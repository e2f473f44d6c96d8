"""Where values of settings come from: the project's folder, its YAML files, and environment variables."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource
from pydantic_settings import SettingsError as PydanticSettingsError

from quant_assets.errors import SettingsError

ROOT = Path(__file__).resolve().parents[2]

#: Environment variables besides the settings themselves.
VARIABLES = ("QUANT_PROFILE", "QUANT_DATA_DIR", "QUANT_CONF_DIR", "QUANT_TEST_DATA_DIR")


def conf_dir() -> Path:
    """The folder of YAML settings: `QUANT_CONF_DIR`, else `conf/` of the project."""
    return Path(os.environ.get("QUANT_CONF_DIR") or ROOT / "conf")


def sources(settings: type[BaseSettings]) -> tuple[PydanticBaseSettingsSource, ...]:
    """Environment and files, the first winning over the second."""
    return (_EnvironmentSource(settings), _YamlSource(settings))


class _EnvironmentSource(EnvSettingsSource):
    """`QUANT__…` variables; one that names no setting is an error rather than a typo that is ignored."""

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
        known = sorted(path.stem for path in (folder / "profiles").glob("*.yaml"))
        if profile not in known:
            raise SettingsError(
                f"profile '{profile}' does not exist; choose one of {', '.join(known) or '(none)'} "
                f"with --profile or QUANT_PROFILE, or add {folder / 'profiles' / (profile + '.yaml')}"
            )
        return _merge(_read_yaml(folder / "base.yaml"), _read_yaml(folder / "profiles" / f"{profile}.yaml"))


@cache
def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path} is missing; set QUANT_CONF_DIR to the folder that holds base.yaml") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must hold a mapping of settings, found {type(content).__name__}")
    return content


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        merged[key] = (
            _merge(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
        )
    return merged

"""Settings by dotted name (`weights.horizon`): their types and values, and which of them can affect rows."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from quant_assets.settings.loading import Settings
from quant_assets.settings.sectors import SECTORS

#: Settings of storage, display, collection and scheduling, and end dates: they do not affect rows, or the rows record
#: their last session, or the hash of the source files covers them.
WITHOUT_EFFECT = (
    "profile",
    "data_dir",
    "storage",
    "as_of",
    "dagster",
    "launch",
    "learning",
    "live",
    "collecting",
    "partitions.end",
    "retraining",
    "revisions",
    "freshness",
    "vacuum",
)

_ABSENT = object()


@cache
def groups() -> Mapping[Any, str]:
    """Dotted names of the groups of settings, by type."""
    names: dict[Any, str] = {}

    def walk(model: type[BaseModel], path: str) -> None:
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                names[field.annotation] = f"{path}{name}"
                walk(field.annotation, f"{path}{name}.")

    walk(Settings, "")
    return names


def setting_type(path: str) -> Any:
    """Type of a setting, or of a group of settings.

    Raises:
        TypeError: it does not exist.

    """
    current: Any = Settings
    for part in path.split("."):
        if not (isinstance(current, type) and issubclass(current, BaseModel)) or part not in current.model_fields:
            raise TypeError(f"there is no setting '{path}'")
        current = current.model_fields[part].annotation
    return current


def setting(settings: Settings, path: str) -> Any:
    """Value of a setting, or of a group of settings."""
    value: Any = settings
    for part in path.split("."):
        value = getattr(value, part)
    return value


def with_effect(chain: Iterable[str]) -> str:
    """The longest prefix of a chain of attributes that is a setting with an effect on rows; empty without one."""
    path: list[str] = []
    model: Any = Settings
    for part in chain:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            break
        model = model.model_fields[part].annotation
        path.append(part)
    prefixes = {".".join(path[:length]) for length in range(1, len(path) + 1)}
    return "" if prefixes & set(WITHOUT_EFFECT) else ".".join(path)


def effective(settings: Settings) -> dict[str, Any]:
    """The settings as plain values, without those that do not affect rows."""
    parts = [name.partition(".") for name in WITHOUT_EFFECT]
    return settings.model_dump(mode="json", exclude={first: {rest} if rest else True for first, _, rest in parts})


def chosen(dump: Mapping[str, Any], paths: Iterable[str], sector: str | None = None) -> dict[str, Any]:
    """Values of dotted names, one entry per leaf; unknown names are left out.

    Args:
        dump: the settings as plain values.
        paths: names of settings or groups.
        sector: of settings by sector, only the value of this one; all values where None.

    """
    values: dict[str, Any] = {}
    for path in paths:
        value: Any = dump
        for part in path.split("."):
            value = value.get(part, _ABSENT) if isinstance(value, Mapping) else _ABSENT
        if value is not _ABSENT:
            values |= dict(_leaves(path, value, sector))
    return dict(sorted(values.items()))


def _leaves(path: str, value: Any, sector: str | None) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        yield path, value
        return
    for name, child in value.items():
        if f"{path}.{name}" not in WITHOUT_EFFECT and not (sector is not None and name in SECTORS and name != sector):
            yield from _leaves(f"{path}.{name}", child, sector)

"""Settings by dotted name (`weights.horizon`): which there are, their values, and those from which rows can follow."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from quant_assets.settings.loading import Settings
from quant_assets.settings.sectors import SECTORS

#: Where something is kept, shown, asked for or run, and until when: no rows follow from it, or they say until when they
#: are, or the hash of the files that were read does.
WITHOUT_EFFECT = (
    "profile",
    "data_dir",
    "storage",
    "as_of",
    "dagster",
    "launch",
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
    """Dotted name of each group of settings, by its type."""
    found: dict[Any, str] = {}

    def walk(model: type[BaseModel], path: str) -> None:
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                found[field.annotation] = f"{path}{name}"
                walk(field.annotation, f"{path}{name}.")

    walk(Settings, "")
    return found


def setting_type(path: str) -> Any:
    """Type of a setting, or of a group of settings.

    Raises:
        TypeError: there is none.

    """
    found: Any = Settings
    for part in path.split("."):
        if not (isinstance(found, type) and issubclass(found, BaseModel)) or part not in found.model_fields:
            raise TypeError(f"there is no setting '{path}'")
        found = found.model_fields[part].annotation
    return found


def setting(settings: Settings, path: str) -> Any:
    """Value of a setting, or of a group of settings."""
    found: Any = settings
    for part in path.split("."):
        found = getattr(found, part)
    return found


def with_effect(chain: Iterable[str]) -> str:
    """The longest beginning of a chain of attributes that is a setting from which rows can follow; empty where none."""
    path: list[str] = []
    model: Any = Settings
    for part in chain:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            break
        model = model.model_fields[part].annotation
        path.append(part)
    begun = {".".join(path[:length]) for length in range(1, len(path) + 1)}
    return "" if begun & set(WITHOUT_EFFECT) else ".".join(path)


def effective(settings: Settings) -> dict[str, Any]:
    """The settings as plain values, without those from which no rows follow."""
    parts = [name.partition(".") for name in WITHOUT_EFFECT]
    return settings.model_dump(mode="json", exclude={first: {rest} if rest else True for first, _, rest in parts})


def chosen(dump: Mapping[str, Any], paths: Iterable[str], sector: str | None = None) -> dict[str, Any]:
    """Values of dotted names, each leaf by its own name; a name that does not exist is left out.

    Args:
        dump: the settings as plain values.
        paths: of settings, or of groups.
        sector: of a setting by sector this one's alone; all of them where None.

    """
    found: dict[str, Any] = {}
    for path in paths:
        value: Any = dump
        for part in path.split("."):
            value = value.get(part, _ABSENT) if isinstance(value, Mapping) else _ABSENT
        if value is not _ABSENT:
            found |= dict(_leaves(path, value, sector))
    return dict(sorted(found.items()))


def _leaves(path: str, value: Any, sector: str | None) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        yield path, value
        return
    for name, each in value.items():
        if f"{path}.{name}" not in WITHOUT_EFFECT and not (sector is not None and name in SECTORS and name != sector):
            yield from _leaves(f"{path}.{name}", each, sector)

"""The reference of settings: name, environment variable, type, default and meaning, from the models of the settings."""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from quant_assets.documentation.markdown import code, page, table, text
from quant_assets.settings.loading import Settings
from quant_assets.settings.origin import conf_dir

_INTRODUCTION = """
`conf/base.yaml`, then `conf/profiles/<profile>.yaml`, then the environment; [Configuration](../configuration.md) says
how they are found and written. A default is that of `conf/base.yaml`, else of the code; profiles may have others.
`<name>` in a setting stands for a name that you choose (a sector, a model, a series), `[]` for each entry of a list.
A list is set by the environment as JSON, as a whole: `QUANT__LABELS__HORIZONS='[5, 20]'`.
"""
_WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    date: "day",
    Path: "path",
    SecretStr: "text, secret",
    Any: "any value",
}
#: Settings whose variable does not follow from their name.
_VARIABLES = {"profile": "QUANT_PROFILE", "data_dir": "QUANT_DATA_DIR"}
#: Attributes of a constraint, and how they are written before its value.
_BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "multiple_of": "a multiple of"}


@dataclass(frozen=True)
class Setting:
    """One value that can be set.

    Attributes:
        path: dotted name, with `<name>` for a free key and `[]` for the entries of a list.
        kind: type of the value, in Markdown.
        default: in Markdown.
        meaning: from the docstring of its model.

    """

    path: str
    kind: str
    default: str
    meaning: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it; empty inside a list, which is set as a whole."""
        if "[]" in self.path:
            return ""
        return _VARIABLES.get(self.path, f"QUANT__{self.path.upper().replace('.', '__')}")


@dataclass(frozen=True)
class Group:
    """Settings of one model.

    Attributes:
        path: dotted name; empty for those at the top.
        introduction: docstring of the model.
        settings: its own values.
        same_as: path of an earlier group of the same model on the page.

    """

    path: str
    introduction: str
    settings: tuple[Setting, ...]
    same_as: str | None = None


def settings_page() -> str:
    """The page of all settings, group by group."""
    sections = list(groups())
    contents = ", ".join(
        f"[{each.path}](#{_anchor(each.path)})" for each in sections if each.path and "." not in each.path
    )
    return page("Settings", _INTRODUCTION, f"Groups: {contents}", *map(_section, sections))


def groups() -> Iterator[Group]:
    """Every group of settings, from the top down, in the order of the models."""
    base = yaml.safe_load((conf_dir() / "base.yaml").read_text(encoding="utf-8"))
    yield from _walk(Settings, "", base, {})


def _walk(model: type[BaseModel], path: str, base: Any, seen: dict[Any, str]) -> Iterator[Group]:
    prose, meanings = _described(model)
    if model in seen:
        yield Group(path, prose, (), seen[model])
        return
    seen[model] = path
    own, inner = [], []
    for name, field in model.model_fields.items():
        value = base.get(name) if isinstance(base, Mapping) else None
        here = f"{path}.{name}" if path else name
        below, mark = _model_in(field.annotation)
        if below is not None:
            inner.append((below, here + mark, None if mark else value))
        else:
            own.append(Setting(here, _kind(field), _default(field, value), meanings.get(name, "")))
    yield Group(path, prose, tuple(own))
    for below, here, value in inner:
        yield from _walk(below, here, value, seen)


def _model_in(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The model in an annotation, and the suffix of the path (`[]`, `.<name>`)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    mark = {dict: ".<name>", tuple: "[]"}.get(get_origin(annotation) or annotation, "")
    for argument in get_args(annotation):
        model, more = _model_in(argument)
        if model is not None:
            return model, mark + more
    return None, ""


def _described(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """A model's docstring without its attributes, and their meanings, including those of base classes."""
    meanings: dict[str, str] = {}
    for base in reversed(model.__mro__):
        _, _, listed = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        for names, meaning in re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", listed, flags=re.MULTILINE):
            meanings |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return inspect.cleandoc(model.__doc__ or "").partition("Attributes:\n")[0].strip(), meanings


def _kind(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(constraint, name)}"
        for constraint in field.metadata
        for name, sign in _BOUNDS.items()
        if getattr(constraint, name, None) is not None
    ]
    return " ".join((_word(field.annotation), ", ".join(bounds))).strip().replace("<", "&lt;")


def _word(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(map(code, args))
    if origin in (Union, UnionType):
        return " or ".join(code("null") if each is type(None) else _word(each) for each in args)
    if origin is tuple:
        return f"list of {_word(args[0])}"
    if origin is dict:
        return f"names with {_word(args[1])}"
    if origin is not None and args:  # Annotated
        return _word(args[0])
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo, value: Any) -> str:
    if value is not None:
        return _written(value)
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return "" if default is PydanticUndefined else _written(default)


def _written(value: Any) -> str:
    """A value as YAML writes it."""
    if isinstance(value, date):
        return "" if value in (date.min, date.max) else code(value)
    if isinstance(value, tuple | list | set | frozenset):
        return code(f"[{', '.join(map(str, value))}]")
    if isinstance(value, Mapping):
        return code(yaml.safe_dump(dict(value), default_flow_style=True, width=1_000).strip())
    words = {None: "null", True: "true", False: "false", "": "''"}
    return code(words[value] if isinstance(value, str | bool | None) and value in words else value)


def _anchor(path: str) -> str:
    """The anchor of a heading that is a path, as both GitHub and MkDocs make it."""
    return re.sub(r"[^\w-]", "", path.lower())


def _section(group: Group) -> str:
    level = "##" if "." not in group.path else "###"
    parts = [f"{level} {group.path.replace('<name>', 'NAME')}" if group.path else "## At the top"]
    parts += ["\n\n".join(text(each) for each in group.introduction.split("\n\n"))]
    if group.same_as is not None:
        parts.append(f"Takes what [{group.same_as}](#{_anchor(group.same_as)}) takes.")
    if group.settings:
        rows = (
            (
                "<br>".join(filter(None, (code(each.path.rpartition(".")[2]), code(each.variable)))),
                each.kind,
                each.default,
                text(each.meaning),
            )
            for each in group.settings
        )
        parts.append(table(("setting and variable", "type", "default", "meaning"), rows))
    return "\n\n".join(parts)

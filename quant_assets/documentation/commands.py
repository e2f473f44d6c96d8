"""The reference of commands: arguments, options, help and examples, as declared by the `quant` command."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer

from quant_assets.cli import app
from quant_assets.documentation.markdown import code, page, table, text

_INTRODUCTION = """
`make setup` installs the command as `.venv/bin/quant`; `source .venv/bin/activate` puts it on the path. `quant
COMMAND --help` shows the same as this page. A command that ends with an error prints one line that begins with
`error:` and has exit status 1; a mistake in what was typed has exit status 2, Ctrl-C has 130.
"""
_KINDS = {str: "text", int: "number", float: "number", bool: "", Path: "path"}


def commands_page() -> str:
    """The page of all commands, in the order of the help."""
    commands = list(_commands(typer.main.get_command(app), "quant"))
    contents = table(
        ("command", "what it does"),
        ((f"[{code(name)}](#{_anchor(name)})", text(_paragraphs(command.help)[0])) for name, command in commands),
    )
    return page("Commands", _INTRODUCTION, contents, *(_section(name, command) for name, command in commands))


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All commands by full name; a group that is also a command stands before its subcommands."""
    for part, each in command.commands.items():
        if each.hidden:
            continue
        subcommands = hasattr(each, "commands")
        if not subcommands or each.invoke_without_command:
            yield f"{name} {part}", each
        if subcommands:
            yield from _commands(each, f"{name} {part}")


def _anchor(heading: str) -> str:
    return heading.replace(" ", "-")


def _section(name: str, command: Any) -> str:
    shown = [param for param in command.params if not getattr(param, "hidden", False) and param.name != "help"]
    hints = get_type_hints(command.callback)
    rows = [_row(param, hints[param.name]) for param in shown]
    options = table(("argument or option", "value", "default", "meaning"), rows) if rows else ""
    return "\n\n".join(part for part in (f"## {name}", _body(command.help), options) if part)


def _paragraphs(written: str) -> list[str]:
    return re.split(r"\n\s*\n", written.strip("\n"))


def _body(written: str) -> str:
    """The help as Markdown, with neighbouring examples in one block."""
    blocks: list[str] = []
    for paragraph in _paragraphs(written):
        if not paragraph.startswith("    "):
            blocks.append(paragraph)
            continue
        lines = "\n".join(line.removeprefix("    ") for line in paragraph.splitlines())
        if blocks[-1].startswith("```"):
            blocks[-1] = blocks[-1].removesuffix("\n```") + f"\n{lines}\n```"
        else:
            blocks.append(f"```sh\n{lines}\n```")
    return "\n\n".join(blocks)


def _row(param: Any, hint: Any) -> tuple[str, str, str, str]:
    argument = not param.opts[0].startswith("-")
    names = [param.name.upper()] if argument else [*param.opts, *param.secondary_opts]
    default = _default(param)
    # Without a default in the code, the help has it.
    default_in_help = re.search(r"\s*\[default: ([^\]]*)\]", param.help or "")
    meaning = re.sub(r"\s*\[default: [^\]]*\]", "", param.help or "")
    return (
        ", ".join(map(code, names)),
        _kind(hint),
        default or (text(default_in_help[1]) if default_in_help else ""),
        text(meaning),
    )


def _default(param: Any) -> str:
    if isinstance(param.show_default, str):
        return param.show_default
    if param.required:
        return "required"
    return "" if param.default is None or param.default is False else code(param.default)


def _kind(hint: Any) -> str:
    """What a value is, in words."""
    if get_origin(hint) is Literal:
        return ", ".join(map(code, get_args(hint)))
    if get_origin(hint) is list:
        return f"{_kind(get_args(hint)[0])}, repeated"
    inner = [_kind(argument) for argument in get_args(hint) if argument is not type(None)]
    return inner[0] if inner else _KINDS.get(hint, getattr(hint, "__name__", str(hint)))

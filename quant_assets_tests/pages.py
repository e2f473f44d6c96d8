"""Pages of the documentation as tests: their blocks run in order, and what they print is compared with the page.

- `console`: lines that begin with `$ ` are run, the lines below them are what they print. `quant …` and `python FILE`
  run in this process, `export NAME=value` holds for the rest of the page, `NAME=value` before a command for it alone.
- `pycon` (with prompts, `>>>`) is a doctest, `python` is executed.
- a block with a `title` is that file, written into the folder of the page.
- `...` stands for text that may differ, and spaces count as one. A command must fail if the page shows that it prints
  `error: …`, and must not fail otherwise. Every other language is not run.
"""

import contextlib
import doctest
import io
import os
import re
import runpy
import shlex
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from quant_assets.cli import main

_BLOCK = re.compile(
    r'^(?P<indent> *)```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?[^\n]*\n(?P<text>.*?)^(?P=indent)```$',
    re.DOTALL | re.MULTILINE,
)
_ASSIGNED = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)")
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that it is (or ""), its text, and the page's line at which it begins."""

    language: str
    title: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            found["language"],
            found["title"] or "",
            textwrap.dedent(found["text"]),
            text.count("\n", 0, found.start()) + 1,
        )
        for found in _BLOCK.finditer(text)
    ]


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Commands of a `console` block, each with the output that the page shows."""
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        command, _, expected = part.partition("\n")
        while command.endswith("\\"):
            more, _, expected = expected.partition("\n")
            command = command[:-1] + more.strip()
        yield re.sub(r"\s+#\s.*$", "", command), expected


@dataclass
class Reader:
    """Who follows a page: a folder to work in, and the variables that were exported."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    names: dict[str, Any] = field(default_factory=dict)

    def follow(self, page: Path) -> int:
        """Run the blocks of a page; how many there were to run."""
        ran = 0
        for block in blocks(page):
            where = f"{page.name}:{block.line}"
            if block.title:
                path = self.folder / block.title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
            elif block.language == "console":
                for command, expected in commands(block):
                    self._compare(f"{where}: {command}", expected, self._run(where, command, expected))
            elif block.language == "pycon":
                self._doctest(where, block.text)
            elif block.language == "python":
                exec(compile(block.text, where, "exec"), self.names)  # noqa: S102
            else:
                continue
            ran += 1
        return ran

    def _run(self, where: str, command: str, expected: str = "") -> str:
        """What a command prints; the page's own folder is left out of paths."""
        words = shlex.split(command)
        if words[0] == "export":
            for word in words[1:]:
                name, _, value = word.partition("=")
                self.monkeypatch.setenv(name, value)
            return ""
        with pytest.MonkeyPatch.context() as only_here:
            while found := _ASSIGNED.fullmatch(words[0]):
                only_here.setenv(found["name"], found["value"])
                del words[0]
            only_here.setattr(sys, "argv", words if words[0] == "quant" else words[1:])
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                if words[0] == "quant":
                    with pytest.raises(SystemExit) as ended:
                        main()
                    status = int(ended.value.code or 0)
                else:
                    assert words[0] == "python", f"{where}: a page runs quant, python FILE and export, not {words[0]}"
                    runpy.run_path(words[1], run_name="__main__")
                    status = 0
        output = printed.getvalue().replace(f"{self.folder}{os.sep}", "")
        refused = expected.startswith("error:")
        assert status == refused, f"{where}: {command} ended with status {status}:\n{output}"
        return output

    @staticmethod
    def _compare(where: str, expected: str, output: str) -> None:
        if expected.strip() and not doctest.OutputChecker().check_output(expected, output, _FLAGS):
            pytest.fail(f"{where} shows\n{expected}\nand prints\n{output}", pytrace=False)

    def _doctest(self, where: str, text: str) -> None:
        examples = doctest.DocTestParser().get_doctest(text, self.names, where, where, 0)
        told: list[str] = []
        result = doctest.DocTestRunner(verbose=False, optionflags=_FLAGS).run(
            examples, out=told.append, clear_globs=False
        )
        self.names.update(examples.globs)
        assert result.failed == 0, "".join(told)

"""`quant --help`: every command is in one group, those for a start first, and a line of it fits a narrow window."""

import typer

from quant_assets.cli import app
from quant_assets.cli.overview import OVERVIEW
from quant_assets_tests.command import Quant

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_every_command_is_in_one_group_of_the_help() -> None:
    named = [name for lines in OVERVIEW.values() for name in lines]
    assert sorted(named) == sorted(COMMANDS)
    for title, lines in OVERVIEW.items():
        for name, line in lines.items():
            assert (COMMANDS[name].rich_help_panel, COMMANDS[name].short_help) == (title, line)


def test_a_newcomer_reads_run_picks_report_show_first(command: Quant) -> None:
    shown = command("--help").out.splitlines()
    titles = [line.split("\u2500 ")[1].split(" \u2500")[0] for line in shown if line.startswith("\u256d")]
    assert titles == ["Options", *OVERVIEW]
    first = next(at for at, line in enumerate(shown) if "Start here" in line)
    assert [line.split()[1] for line in shown[first + 1 : first + 5]] == ["run", "picks", "report", "show"]


def test_a_command_takes_one_line_of_a_narrow_window() -> None:
    width = max(map(len, COMMANDS))
    for lines in OVERVIEW.values():
        for name, line in lines.items():
            assert width + len(line) + 6 <= 80, name

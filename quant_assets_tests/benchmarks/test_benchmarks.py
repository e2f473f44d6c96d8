"""The frame of the benchmarks: what it finds, and that a peer that is absent is never a win. Times are not tested."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_topic_measures() -> None:
    code = (
        "import importlib, benchmarks.__main__ as frame\n"
        "for topic in frame.topics(): print(topic, "
        "importlib.import_module(f'benchmarks.bench_{topic}').measure.__name__)"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert "alpha158 measure" in done.stdout.splitlines()


def test_an_unknown_topic_is_refused_and_the_known_are_named() -> None:
    done = run("-m", "benchmarks", "nonsense")
    assert done.returncode == 2
    assert "no benchmark 'nonsense'" in done.stderr
    assert "alpha158" in done.stderr


def test_a_peer_that_is_not_installed_has_no_ratio() -> None:
    code = (
        "from rich.console import Console\n"
        "from benchmarks.ratio import Ratio, table\n"
        "rows = [Ratio('t', 'w', 0.5, 'there', 2.0), Ratio('t', 'w', 0.0005, 'absent', None)]\n"
        "print([row.ratio for row in rows])\n"
        "Console(width=160).print(table(rows))"
    )
    lines = run("-c", code).stdout.splitlines()
    assert lines[0] == "[4.0, None]"
    there, absent = ([cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│"))
    assert there[2:6] == ["500 ms", "there", "2 s", "4"]
    assert absent[2:6] == ["500 µs", "absent", "not installed", "-"]


def test_runs_are_taken_in_turns_after_one_that_is_not_counted() -> None:
    code = (
        "from benchmarks.ratio import alternating\n"
        "order = []\n"
        "alternating(lambda: order.append('a'), lambda: order.append('b'), repetitions=2)\n"
        "print(''.join(order))"
    )
    assert run("-c", code).stdout.strip() == "ababab"


@pytest.mark.slow
def test_planted_faults_are_found_and_mended() -> None:
    done = run("benchmarks/repairs.py", "--series", "4")
    assert done.returncode == 0, done.stderr
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if line.startswith("│")
    ]
    found = {name: cells for name, *cells in rows}
    for fault in ("a split for one day", "some bad days", "flag days early or late", "decimal point, all four prices"):
        assert found[fault] == ["100%"] * 4
    assert found["split without a flag"][2:] == found["reverse split by an odd ratio"][2:] == ["100%", "100%"]
    assert found["opens of 0"] == ["100%"] * 4
    alone = next(line for line in done.stdout.splitlines() if line.startswith("alone: precision"))
    assert float(alone.split()[2].rstrip("%;")) > 95.0

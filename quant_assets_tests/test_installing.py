"""What an installation brings: groups and how what lacks one says so, a wheel with every file, the demo from it."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterable
from importlib.metadata import requires
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from quant_assets import __version__
from quant_assets.assets.pretraining_unit import pretrain_unit
from quant_assets.collectors.yahoo_session import yahoo_session
from quant_assets.errors import QuantError
from quant_assets.io.artifacts import ArtifactStore
from quant_assets.learning.models.transformer import Transformer
from quant_assets.portfolio.convex import cvxpy
from quant_assets.risk.hidden_markov import MarkovModel, gaussian
from quant_assets.sentiment.scorers import library
from quant_assets_tests.learning.kinds import made_up_rows

PROJECT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = {
    group: [Requirement(line) for line in lines]
    for group, lines in PYPROJECT["project"]["optional-dependencies"].items()
}


def brought(lines: Iterable[Requirement]) -> set[str]:
    """Every package that requirements bring into this environment, by the metadata of what is installed."""
    seen: set[tuple[str, str]] = set()
    waiting = [(line, "") for line in lines]
    while waiting:
        line, of_extra = waiting.pop()
        name = canonicalize_name(line.name)
        if line.marker is None or line.marker.evaluate({"extra": of_extra}):
            for extra in {"", *line.extras} - {extra for one, extra in seen if one == name}:
                seen.add((name, extra))
                waiting += [(Requirement(each), extra) for each in requires(name) or ()]
    return {name for name, _ in seen} - {"quant-assets"}


@pytest.mark.skipif(
    (sys.platform, platform.machine(), sys.version_info[:2]) != ("linux", "x86_64", (3, 11)),
    reason="the pages give the counts of Linux, x86-64 and Python 3.11",
)
def test_pages_count_the_packages_that_an_installation_brings() -> None:
    core = brought(Requirement(line) for line in PYPROJECT["project"]["dependencies"])
    counts = {group: len(brought(lines) - core) for group, lines in GROUPS.items()}
    page = (PROJECT / "docs" / "installing.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `?(\w+)`? \|.*\| (\d+) \| \d+ \|$", page, re.MULTILINE)
    assert {group: int(count) for group, count in told} == {"core": len(core), **counts}
    whole = re.findall(r"\(`make (demo|test)`\) \| (\d+) \|", page)
    assert whole == [("demo", str(len(core) + 1)), ("test", str(len(core) + counts["dev"] + 1))]
    assert f"({len(core) + 1} packages" in (PROJECT / "README.md").read_text(encoding="utf-8")


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Have an import of the modules fail, as where they are not installed."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)  # what it once imported


def fit_normal_states() -> None:
    start = MarkovModel(*([np.zeros(1)] * 4), 5.0, 0.0, np.zeros(1))
    gaussian(np.zeros(10), start, np.zeros((1, 1)), 1)


@pytest.mark.parametrize(
    ("group", "modules", "ask"),
    [
        ("deep", ["torch"], lambda: Transformer("t").fit(made_up_rows(40), made_up_rows(40), 1)),
        ("deep", ["lightning"], lambda: pretrain_unit(Path(), Path(), as_of="", model={"name": "t"}, seed=1, kept="")),
        ("live", ["yfinance.data"], lambda: yahoo_session("https://query2.finance.yahoo.com", 1)),
        ("portfolio", ["cvxpy"], cvxpy),
        ("portfolio", ["hmmlearn.hmm"], fit_normal_states),
        ("s3", ["s3fs"], lambda: ArtifactStore("s3://bucket/prefix")),
        ("sentiment", ["tokenizers"], lambda: library("tokenizers")),
    ],
)
def test_what_needs_a_group_that_is_not_installed_says_how_it_is(
    group: str, modules: list[str], ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, *modules)
    with pytest.raises(QuantError) as caught:
        ask()
    assert f"pip install 'quant-assets[{group}]'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_says_it_in_one_line() -> None:
    code = "import sys; sys.modules['s3fs'] = None; sys.argv[0] = 'quant'; from quant_assets.cli import main; main()"
    environment = os.environ | {"QUANT__STORAGE": "s3://bucket/prefix"}
    done = subprocess.run(
        [sys.executable, "-c", code, "status"],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: storage s3://…: ")
    assert line.endswith("(pip install 'quant-assets[s3]')")


def test_groups_that_messages_and_pages_name_exist() -> None:
    files = [*(PROJECT / "quant_assets").rglob("*.py"), *(PROJECT / "docs").rglob("*.md"), PROJECT / "README.md"]
    named = {
        group
        for file in files
        for groups in re.findall(r"quant-assets\[([\w,-]+)\]", file.read_text(encoding="utf-8"))
        for group in groups.split(",")
    }
    assert {"deep", "live", "s3"} <= named <= GROUPS.keys()


def test_every_group_is_described_and_dev_has_it() -> None:
    page = (PROJECT / "docs" / "installing.md").read_text(encoding="utf-8")
    assert [group for group in GROUPS if f"\n| `{group}` |" not in page] == []
    (own,) = [each for each in GROUPS["dev"] if canonicalize_name(each.name) == "quant-assets"]
    assert own.extras == GROUPS.keys() - {"dev"}


def test_the_wheel_has_every_file_of_the_package_with_settings_and_sql(tmp_path: Path) -> None:
    """Built as pip builds it, by the release of hatchling that is installed."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=PROJECT, check=True
    )
    (wheel,) = tmp_path.glob(f"quant_assets-{__version__}-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if ".dist-info/" not in name}
        (scripts,) = [content.read(name).decode() for name in content.namelist() if name.endswith("entry_points.txt")]
    assert "quant = quant_assets.cli:main" in scripts
    at = {"quant_assets": "quant_assets", "conf": "quant_assets/conf", "dbt_like_sql": "quant_assets/dbt_like_sql"}
    files = {
        f"{inside}/{path.relative_to(PROJECT / folder).as_posix()}"
        for folder, inside in at.items()
        for path in (PROJECT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == files
    assert {"quant_assets/conf/profiles/demo.yaml", "quant_assets/reporting/templates/page.html"} <= names


#: Takes the place of a Python in the Makefile: notes what pip is asked for, and fails where a file says so.
PYTHON = """#!/bin/sh
case "$*" in
    "-m venv "*)
        mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
        printf '#!/bin/sh\\necho computed\\n' >"$3/bin/quant" && chmod +x "$3/bin/quant" ;;
    "-m pip "*)
        echo "$*" >>asked
        for number in $(seq 50); do echo "  Downloading part_$number-1.0-py3-none-any.whl (2.5 MB)"; done
        echo "  Downloading part-1.0-py3-none-any.whl.metadata (2 kB)"
        echo "Installing collected packages: part"
        [ ! -e fails ] ;;
esac
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_installs_what_the_demo_runs_and_starts_afresh_after_an_interruption(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    python, fails, left = tmp_path / "python", tmp_path / "fails", tmp_path / ".venv" / "left"
    python.write_text(PYTHON, encoding="utf-8")
    python.chmod(0o755)
    # `make test` hands its own on: what it calls would then print the folders that it enters.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }

    def make(target: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["make", target, f"PYTHON={python}"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def asked() -> list[str]:
        return [line.rpartition(" ")[2] for line in (tmp_path / "asked").read_text(encoding="utf-8").splitlines()]

    done = make("demo")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == [
        "  25 packages, now part_25 (2.5 MB)",
        "  50 packages, now part_50 (2.5 MB)",
        "  50 packages downloaded; installing them …",
        "computed",
    ]
    assert make("demo").stdout == "computed\n", "once is enough"
    assert asked() == ["."]
    left.touch()
    fails.touch()
    assert make("format").returncode != 0
    assert asked() == [".", ".[dev]"]
    assert left.exists()
    fails.unlink()
    assert make("demo").stdout.startswith("An earlier installation was interrupted: starting afresh.\n")
    assert not left.exists()
    assert asked() == [".", ".[dev]", "."]


@pytest.mark.nightly
def test_the_demo_runs_from_a_wheel_outside_the_checkout(tmp_path: Path) -> None:
    """With what a plain installation brings, into a folder that has nothing; then with settings of that folder."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=PROJECT, check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    bin_ = tmp_path / "venv" / "bin"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run(
        [bin_ / "pip", "install", "-q", "-c", PROJECT / "requirements.lock", wheel], cwd=tmp_path, check=True
    )
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("QUANT") and name not in ("PYTHONPATH", "DAGSTER_HOME")
    } | {"QUANT__AS_OF": "2024-06-28"}

    def quant(*arguments: str, at: Path = folder, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [bin_ / "quant", *arguments],
            env=environment | variables,
            cwd=at,
            capture_output=True,
            text=True,
            check=False,
        )

    installed = subprocess.run([bin_ / "pip", "list", "--format", "freeze"], capture_output=True, text=True, check=True)
    names = {canonicalize_name(line.partition("==")[0]) for line in installed.stdout.splitlines()}
    plain = {canonicalize_name(Requirement(line).name) for line in PYPROJECT["project"]["dependencies"]}
    others = {canonicalize_name(each.name) for group in GROUPS.values() for each in group} - {"quant-assets"}
    shared = {"pip", "sqlalchemy", "alembic"}  # Dagster's as well
    assert names & (others - plain - shared) == set()
    demo = quant("demo")
    assert demo.returncode == 0, demo.stderr
    assert (folder / "storage" / "demo").is_dir()
    assert "report" in demo.stdout
    lacking = quant("status", QUANT__STORAGE="s3://bucket/prefix")
    assert lacking.stderr.endswith("(pip install 'quant-assets[s3]')\n")
    (folder / "conf" / "profiles").mkdir(parents=True)
    (folder / "conf" / "base.yaml").write_bytes((PROJECT / "conf" / "base.yaml").read_bytes())
    (folder / "conf" / "profiles" / "mine.yaml").write_text("source: demo\n", encoding="utf-8")
    own = quant("status", "--profile", "demo")
    assert "choose one of mine" in own.stderr
    kept = {"QUANT_BASE_DIR": str(folder), "QUANT_CONF_DIR": str(PROJECT / "conf")}
    named = quant("status", at=tmp_path, **kept)
    assert named.returncode == 0, named.stderr
    again = quant("repro", "--partition", "2024-06|it", "--asset", "weights", at=tmp_path, **kept)
    assert again.returncode == 0, again.stderr

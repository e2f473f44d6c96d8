"""The project as a newcomer meets it: light imports, a lock that fits, files that are complete and hold no secret."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from quant_assets import __version__
from quant_assets.running.work import CODE_LOCATION

PROJECT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
DIRECT = [
    requirement
    for group in (PYPROJECT["project"]["dependencies"], PYPROJECT["build-system"]["requires"], *EXTRAS.values())
    for line in group
    if (requirement := Requirement(line)).name != PYPROJECT["project"]["name"]  # the groups that dev names
]

#: Loaded only inside the modules that need them.
HEAVY = {
    "arch",
    "cvxpy",
    "fredapi",
    "hmmlearn",
    "lightgbm",
    "lightning",
    "matplotlib",
    "mlflow",
    "numba",
    "onnxruntime",
    "s3fs",
    "safetensors",
    "scipy",
    "skfolio",
    "sklearn",
    "skops",
    "sqlglot",
    "statsmodels",
    "threadpoolctl",
    "tokenizers",
    "torch",
    "vaderSentiment",
    "xgboost",
    "yfinance",
}
#: What torch's CUDA builds depend on; pip resolves it on the machine where it is needed.
CUDA = re.compile(r"^(nvidia|triton|cuda)\b")


def pins() -> list[Requirement]:
    return [Requirement(line) for line in LOCK.splitlines() if line and not line.lstrip().startswith("#")]


def loaded_by(code: str, **variables: str) -> tuple[set[str], str]:
    """Top-level modules that a fresh interpreter has after `code`, and what it printed."""
    script = (
        f"import sys\ntry:\n    {code}\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('\\nLOADED', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | variables,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed, _, modules = done.stdout.rpartition("LOADED")
    return {name.partition(".")[0] for name in modules.split()}, printed


def test_importing_the_definitions_loads_no_heavy_library() -> None:
    loaded, _ = loaded_by("import quant_assets.definitions")
    assert "dagster" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.slow
def test_the_command_shows_its_help_without_the_orchestrator() -> None:
    module, _, function = PYPROJECT["project"]["scripts"]["quant"].partition(":")
    loaded, printed = loaded_by(f"sys.argv = ['quant', '--help']; from {module} import {function}; {function}()")
    assert all(command in printed for command in ("run", "picks", "candidates", "status", "demo"))
    assert loaded & (HEAVY | {"dagster", "pandas"}) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "completed"),
    [("quant pi", {"picks"}), ("quant picks --sector he", {"healthcare"}), ("quant run -p d", {"demo"})],
)
def test_a_shell_completes_commands_sectors_and_profiles(typed: str, completed: set[str]) -> None:
    asked = {"_QUANT_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    loaded, printed = loaded_by("sys.argv = ['quant']; from quant_assets.cli import main; main()", **asked)
    assert set(printed.split()) == completed
    assert loaded & (HEAVY | {"dagster", "pandas", "polars"}) == set()


def test_the_version_is_that_of_the_package() -> None:
    _, printed = loaded_by("sys.argv = ['quant', '--version']; from quant_assets.cli import main; main()")
    assert printed.strip() == f"quant-assets {__version__}"


def test_the_lock_holds_exact_versions_and_nothing_else() -> None:
    assert re.search(r"://|--|\bfile:|@", LOCK) is None, "an index, a link, a hash or a URL"
    for pin in pins():
        assert [one.operator for one in pin.specifier] == ["=="], str(pin)
        assert "*" not in str(pin.specifier)
        assert "+" not in str(pin.specifier), f"{pin}: a local build exists on this machine only"


def test_the_lock_pins_every_direct_dependency() -> None:
    for requirement in DIRECT:
        versions = [
            next(iter(pin.specifier)).version
            for pin in pins()
            if canonicalize_name(pin.name) == canonicalize_name(requirement.name)
        ]
        assert versions, f"{requirement.name} is not in requirements.lock; run make lock"
        assert all(version in requirement.specifier for version in versions), (
            f"{requirement} does not allow {versions}; run make lock"
        )


def test_the_lock_is_complete() -> None:
    locked = {canonicalize_name(pin.name) for pin in pins()}
    seen: set[tuple[str, str]] = set()
    here = [each for each in DIRECT if each.marker is None or each.marker.evaluate()]
    todo = [(requirement.name, extra) for requirement in here for extra in ("", *requirement.extras)]
    while todo:
        name, extra = todo.pop()
        name = canonicalize_name(name)
        if (name, extra) in seen or CUDA.match(name):
            continue
        seen.add((name, extra))
        assert name in locked, f"{name} is needed and not in requirements.lock; run make lock"
        for line in importlib.metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                todo += [(needed.name, other) for other in ("", *needed.extras)]


def test_the_lock_fixes_torch_and_leaves_out_its_cuda_libraries_and_the_project() -> None:
    assert "torch==2.13.0" in LOCK.splitlines()
    names = {canonicalize_name(pin.name) for pin in pins()}
    assert not [name for name in names if CUDA.match(name)]
    assert canonicalize_name(PYPROJECT["project"]["name"]) not in names


@pytest.mark.parametrize(
    "name",
    [
        ".ci/run",
        ".env.example",
        ".github/workflows/ci.yml",
        ".pre-commit-config.yaml",
        "Makefile",
        "README.md",
        "conf/base.yaml",
        "conf/containers.yaml",
        "docs/index.md",
        "mkdocs.yml",
        "docker-compose.gpu.yml",
        "docker-compose.yml",
        "storage/.gitkeep",
        "workspace.yaml",
    ],
)
def test_a_clone_has(name: str) -> None:
    assert (PROJECT / name).is_file()


def test_the_licence_is_apache_2() -> None:
    text = (PROJECT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert text.rstrip().endswith("limitations under the License.")
    assert PYPROJECT["project"]["license"] == "Apache-2.0"


def test_the_example_environment_has_names_and_no_secret() -> None:
    lines = (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines()
    settings = [match.groups() for line in lines if (match := re.match(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", line))]
    assert "QUANT_DATA_DIR" in dict(settings)
    assert [name for name, value in settings if value and re.search(r"KEY|SECRET|TOKEN|PASSWORD|URL|DSN", name)] == []
    assert ".env" in (PROJECT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_continuous_integration_runs_make_test() -> None:
    assert os.access(PROJECT / ".ci" / "run", os.X_OK)
    assert (PROJECT / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith("\nmake test")


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile, in order."""
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{target}:[^\n]*\n((?:\t[^\n]*\n)+)", makefile, re.MULTILINE)
    assert found is not None
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in found[1].splitlines()]


def test_a_commit_is_checked_as_make_lint_does() -> None:
    settings = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (local,) = settings["repos"]
    assert local["repo"] == "local", "nothing is downloaded"
    assert [hook["entry"] for hook in local["hooks"]] == recipe("lint")
    assert not any(hook["pass_filenames"] for hook in local["hooks"]), "the tools know their files"


def test_the_workflow_lints_then_tests_on_every_python_that_is_supported() -> None:
    jobs = yaml.safe_load((PROJECT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    ran = {job: [step["run"] for step in found["steps"] if "run" in step] for job, found in jobs.items()}
    assert ran == {"lint": ["make lint"], "test": ["bash .ci/run"], "coverage": ["make coverage"]}
    assert jobs["test"]["needs"] == "lint"
    specifiers = SpecifierSet(PYPROJECT["project"]["requires-python"])
    supported = [f"3.{minor}" for minor in range(8, 30) if f"3.{minor}" in specifiers]
    assert jobs["test"]["strategy"]["matrix"]["python"] == supported


def test_dagster_finds_the_same_module_everywhere() -> None:
    workspace = yaml.safe_load((PROJECT / "workspace.yaml").read_text(encoding="utf-8"))
    module = workspace["load_from"][0]["python_module"]["module_name"]
    assert module == PYPROJECT["tool"]["dg"]["project"]["root_module"] + ".definitions"
    assert module == CODE_LOCATION


def test_the_instance_template_reports_nothing_and_queues_runs(tmp_path: Path) -> None:
    from dagster import DagsterInstance, QueuedRunCoordinator

    shutil.copy(PROJECT / "conf" / "dagster.yaml", tmp_path)
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.telemetry_enabled is False
        assert instance.nux_enabled is False
        assert isinstance(instance.run_coordinator, QueuedRunCoordinator)


def test_containers_listen_on_loopback_only() -> None:
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:3000:3000"]


def test_every_module_stands_under_an_import_contract() -> None:
    named = re.findall(r"quant_assets\.\w+", str(PYPROJECT["tool"]["importlinter"]["contracts"]))
    found = {
        path.stem
        for path in (PROJECT / "quant_assets").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert {f"quant_assets.{name}" for name in found - {"__init__"}} - set(named) == set()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_names_a_python_that_is_too_old(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.10.13 && exit 0\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    done = subprocess.run(["make", "demo", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: needs Python 3.11, 3.12 or 3.13, found Python 3.10.13; run make PYTHON=")
    assert not (tmp_path / ".venv").exists()

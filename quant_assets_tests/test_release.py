"""`make release`: what it refuses, and what a release of a scratch clone leaves behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from quant_assets_tests.graph import PROJECT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]

CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2024-06-28\n"
PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "quant-assets"
dynamic = ["version"]
requires-python = ">=3.11"
[tool.hatch.version]
path = "quant_assets/__init__.py"
[tool.hatch.build.targets.wheel]
only-include = ["quant_assets/__init__.py"]
"""


def git(clone: Path, *words: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *words], cwd=clone, capture_output=True, text=True, check=True)
    return done.stdout


def release(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The script with the version, the identity of a committer and the Python of this process."""
    who = {f"GIT_{role}_{part}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    return subprocess.run(
        ["bash", ".ci/release", *words],
        cwd=clone,
        env=os.environ | who | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with a package of one file, a dated section of its version, and the project's script."""
    files = {
        "quant_assets/__init__.py": '"""A package."""\n\n__version__ = "1.2.3"\n',
        "CHANGELOG.md": CHANGELOG,
        "pyproject.toml": PYPROJECT,
        ".gitignore": "dist/\nbuild/\n*.egg-info/\n__pycache__/\n",
    }
    made = tmp_path / "clone"
    for name, text in files.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text, encoding="utf-8")
    (made / ".ci").mkdir()
    shutil.copy(PROJECT / ".ci" / "release", made / ".ci")
    git(made, "init", "-q")
    git(made, "add", "-A")
    git(made, "commit", "-qm", "one")
    return made


def test_a_wheel_that_lacks_a_file_of_the_package_is_refused(clone: Path) -> None:
    (clone / "quant_assets" / "page.html").write_text("<p>", encoding="utf-8")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "a page that the wheel's settings do not name")
    done = release(clone, "--tag")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the wheel lacks quant_assets/page.html; see tool.hatch.build.targets.wheel")
    assert git(clone, "tag") == ""


def test_a_dry_run_builds_and_sets_no_tag_and_a_release_sets_it_once(clone: Path) -> None:
    done = release(clone)
    assert done.returncode == 0, done.stderr
    assert "dry run: v1.2.3 was not set; set it with: make release TAG=1" in done.stdout
    built = {path.name for path in (clone / "dist").iterdir()} - {".gitignore"}
    assert built == {"quant_assets-1.2.3-py3-none-any.whl", "quant_assets-1.2.3.tar.gz"}
    assert git(clone, "tag") == ""
    done = release(clone, "--tag")
    assert done.returncode == 0, done.stderr
    assert git(clone, "tag") == "v1.2.3\n"
    assert git(clone, "rev-parse", "v1.2.3^{commit}") == git(clone, "rev-parse", "HEAD")
    done = release(clone)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: tag v1.2.3 exists; raise __version__ in quant_assets/__init__.py\n"


@pytest.mark.parametrize(
    ("file", "old", "new", "commit", "message"),
    [
        ("CHANGELOG.md", "2024", "2025", False, "the working tree has changes that are not committed"),
        ("notes.txt", "", "new", False, "the working tree has changes that are not committed"),
        ("CHANGELOG.md", "[1.2.3] - 2024-06-28", "[1.2.3]", True, "has no section '## [1.2.3] - YYYY-MM-DD'"),
        ("CHANGELOG.md", "[1.2.3]", "[1.2x3]", True, "has no section '## [1.2.3] - YYYY-MM-DD'"),
        ("quant_assets/__init__.py", "1.2.3", "1.2.3.dev0", True, "'1.2.3.dev0' is not MAJOR.MINOR.PATCH"),
    ],
)
def test_what_cannot_be_released_is_refused(
    clone: Path, file: str, old: str, new: str, commit: bool, message: str
) -> None:
    path = clone / file
    path.write_text(path.read_text(encoding="utf-8").replace(old, new) if path.exists() else new, encoding="utf-8")
    if commit:
        git(clone, "commit", "-qam", "two")
    done = release(clone, "--tag")
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert git(clone, "tag") == ""
    assert not (clone / "dist").exists()

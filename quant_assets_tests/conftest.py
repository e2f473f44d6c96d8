"""Fixtures that every test has: the real market data, which makes a test slow, and an environment of its own."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

FOLDER = Path(__file__).resolve().parent
PROJECT = FOLDER.parent


#: Files of a minute and more, the longest first.
LONGEST = (
    "test_graph.py",
    "test_real_data.py",
    "audit/test_leaks_of_days.py",
    "audit/test_mutations.py",
    "audit/test_diagnosis.py",
    "audit/test_lookahead.py",
    "audit/test_surroundings_of_providers.py",
    "automation/test_revise.py",
    "test_web_ui.py",
    "running/test_execute.py",
    "running/test_instance.py",
    "planning/test_staleness.py",
    "planning/test_memory.py",
    "test_fuzz.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever looks at the real market data is slow: it reads files of 25 years.

    Files go in order of their length, as far as that is known: a worker that begins a long one last is waited for.
    """
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    places = {FOLDER / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (places.get(item.path, len(places)), item.path not in slow))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real market data beside the checkout (or `QUANT_TEST_DATA_DIR`); skips where it is absent."""
    folder = Path(os.environ.get("QUANT_TEST_DATA_DIR") or PROJECT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real market data is not in {folder}; set QUANT_TEST_DATA_DIR to run this test")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _migrations_read_once() -> Iterator[None]:
    """Each Dagster instance that is made or opened reads sixty files of migrations, thrice; they stay as they are."""
    read, known = ScriptDirectory.from_config, dict[Any, ScriptDirectory]()

    def once(config: Config) -> ScriptDirectory:
        place = config.get_alembic_option("script_location"), *(config.get_version_locations_list() or ())
        if place not in known:
            known[place] = read(config)
        return known[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", once)
        yield


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests start from the files in conf/, whatever the developer has exported."""
    for name in list(os.environ):
        if name.startswith("QUANT_"):
            monkeypatch.delenv(name)

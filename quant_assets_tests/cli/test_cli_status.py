"""`quant status`: what the Dagster instance lists otherwise than the storage has, and both directions mended."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.io.binding import bound_to
from quant_assets.io.store import DatasetStore
from quant_assets.running import instance
from quant_assets_tests.command import Outcome, Quant
from quant_assets_tests.graph import demo_datasets

PRICES = demo_datasets()["prices"]
STORED = [f"{month}|{sector}" for sector in ("energy", "it") for month in ("2024-03", "2024-05")]


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    found = DatasetStore(str(tmp_path / "storage" / "demo"))
    found.write(PRICES, PRICES.empty(), STORED)
    return found


@pytest.fixture
def status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Quant) -> Callable[..., Outcome]:
    # Whether this checkout has been used, and so has an instance below its own storage, is none of these tests' matter.
    monkeypatch.setattr(instance, "BASE", tmp_path / "checkout")

    def call(*arguments: str, storage: str = "storage", home: str = "") -> Outcome:
        for name, value in {
            "QUANT__STORAGE": str(tmp_path / storage),
            "QUANT__DAGSTER__STORAGE": "sqlite",
            "QUANT__AS_OF": "2024-06-28",
            "DAGSTER_HOME": home and str(tmp_path / home),
        }.items():
            monkeypatch.setenv(name, value)
        return command("status", *arguments)

    return call


def listed(home: Path) -> set[str]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return instance.get_materialized_partitions(dg.AssetKey("prices"))


def differing(outcome: Outcome) -> list[list[str]]:
    """Rows of the second table."""
    lines = outcome.out.partition("differs:")[2].splitlines()
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]


@pytest.mark.slow
def test_an_instance_is_made_and_mended_only_where_that_is_asked_for(
    tmp_path: Path, store: DatasetStore, status: Callable[..., Outcome]
) -> None:
    home = tmp_path / "storage" / "dagster" / "demo"
    first = status()
    assert (first.status, first.err) == (0, "")
    assert f"no Dagster instance yet; quant status --report creates {home}, which then lists them" in first.out
    assert not home.exists()

    reported = status("--report")
    assert (reported.status, reported.err) == (0, "")
    assert differing(reported) == [["prices", "stored, not known to the instance", "2024-03|energy", "2024-05|it", "4"]]
    assert "reported to the instance: 4 stored partitions" in reported.out
    assert listed(home) == set(STORED)
    assert bound_to(home) == str(tmp_path / "storage" / "demo")
    assert f"the Dagster instance {home} lists the same partitions" in status().out

    Path(store.path(PRICES, "2024-05|it")).unlink()
    Path(store.path(PRICES, "2024-05|energy")).unlink()
    store.write(PRICES, PRICES.empty(), ["2024-06|it"])
    before = status()
    assert differing(before) == [
        ["prices", "stored, not known to the instance", "2024-06|it", "2024-06|it", "1"],
        ["prices", "listed, not stored", "2024-05|energy", "2024-05|it", "2"],
    ]
    assert "quant status --report reports" in before.out
    assert "quant status --forget makes" in before.out
    assert listed(home) == set(STORED), "looking changes nothing"
    assert differing(status("--sector", "energy")) == [
        ["prices", "listed, not stored", "2024-05|energy", "2024-05|energy", "1"]
    ]
    assert "forgotten by the instance: 1 partitions that are not stored" in status("-s", "energy", "--forget").out
    assert listed(home) == {*STORED} - {"2024-05|energy"}
    assert "lists the same" not in status("--forget", "--report").out
    assert listed(home) == {"2024-03|energy", "2024-03|it", "2024-06|it"} == store.existing(PRICES)


@pytest.mark.slow
def test_an_instance_whose_storage_was_emptied_is_mended_too(
    store: DatasetStore, status: Callable[..., Outcome]
) -> None:
    assert status("--report").status == 0
    for key in STORED:
        Path(store.path(PRICES, key)).unlink()
    assert differing(status()) == [["prices", "listed, not stored", "2024-03|energy", "2024-05|it", "4"]]
    assert "forgotten by the instance: 4" in status("--forget").out
    assert "error: nothing has been materialised" in status().err


def test_an_instance_of_another_storage_is_refused_in_one_line(
    tmp_path: Path, store: DatasetStore, status: Callable[..., Outcome]
) -> None:
    assert status("--report", home="home").status == 0
    for arguments in ((), ("--report",), ("--forget",)):
        refused = status(*arguments, storage="other", home="home")
        assert (refused.status, refused.out) == (1, "")
        (line,) = refused.err.splitlines()
        assert line.startswith(
            f"error: the Dagster instance {tmp_path / 'home'} keeps the records of {store.url}, "
            f"not of {tmp_path / 'other' / 'demo'} "
        )
    assert listed(tmp_path / "home") == set(STORED)

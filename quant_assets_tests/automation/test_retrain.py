"""The sensor `retrain` on storages and run records made by hand: each reason, and each state of what was asked for."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.automation.moment import Moment
from quant_assets.automation.retrain import Tick, retrain_sensor
from quant_assets_tests.synthetic_checkpoints import ENVIRONMENT, SECTOR, Built

NOW = 1_700_000_000.0


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Built:
    for name, value in (ENVIRONMENT | {"QUANT__STORAGE": str(tmp_path / "storage")}).items():
        monkeypatch.setenv(name, value)
    return Built(Moment("demo"))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def tick(instance: dg.DagsterInstance, now: float = NOW) -> Tick:
    return Tick.at(Moment("demo"), instance, now)


def test_a(built: Built, instance: dg.DagsterInstance) -> None:
    built.inputs()
    built.checkpoints(["2020-12", "2021-03"], ["2020-11", "2021-01", "2021-02"])
    found = tick(instance)
    print("\n".join(found.said()))
    for each in found.decision.asked:
        print(each.request)
    built.checkpoints([], ["2021-04"])
    print("\n".join(tick(instance).said()))
    assert 0

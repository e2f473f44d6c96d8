"""The limit of the trainings' pool: as many as devices where a model is trained on one, no limit elsewhere."""

import pytest

from quant_assets.graph import build_defs
from quant_assets.learning.models import learner_type
from quant_assets.running.pools import pool_limits
from quant_assets.settings.loading import load_settings
from quant_assets_tests.learning.kinds import OWN


def test_trainings_alone_take_a_slot() -> None:
    defs = build_defs(load_settings("demo"))
    pools = {spec.key.path[-1]: each.op.pool for each in defs.assets or [] for spec in each.specs}
    assert {name: pool for name, pool in pools.items() if pool} == {"lightgbm_checkpoint": "gpu"}


def test_devices_limit_what_is_trained_on_them_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = load_settings("demo")
    on_device = load_settings("demo", models={"mine": {"kind": OWN}})
    monkeypatch.setattr(learner_type(OWN), "on_device", True)
    monkeypatch.setenv("QUANT_GPUS", "8")
    assert pool_limits(on_device) == {"gpu": 8}
    assert pool_limits(on_cpu) == {"gpu": 100}, "eight devices are no reason to train eight models on the CPU at most"
    monkeypatch.setenv("QUANT_GPUS", "none")
    assert pool_limits(on_device) == {"gpu": 100}

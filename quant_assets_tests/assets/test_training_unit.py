"""The real training in a process of its own: the bytes are those of the step's process."""

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from quant_assets.assets.training_unit import train
from quant_assets.errors import SettingsError
from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.learning.models.lightgbm import LightGBM
from quant_assets.learning.observing import observed_by
from quant_assets.learning.trained import TrainedModel
from quant_assets.learning.training import train_checkpoint
from quant_assets.market.calendar import sessions
from quant_assets.runtime.launch import Torchrun, Unit, launcher
from quant_assets.settings.domain import PredictionSettings, TrainingSettings
from quant_assets.settings.loading import LaunchSettings
from quant_assets_tests.graph import PROJECT
from quant_assets_tests.learning.kinds import OWN as OWN_KIND
from quant_assets_tests.learning.ridge import Ridge

FEATURES = FeatureLibrary({"core": ready_made("core")}).names
AS_OF = date(2021, 6, 30)
SETTINGS = TrainingSettings(window_months=12, min_rows=300, sample_every_sessions=2)
LEARNER = LightGBM("trees", {"min_data_in_leaf": 20})
GIVEN = (SETTINGS, PredictionSettings(), LEARNER, (5, 60), "it", FEATURES)
#: A kind of one's own: one fit for all horizons, several files.
OWN = (SETTINGS, PredictionSettings(), Ridge("mine"), (5, 1), "it", FEATURES)


@pytest.fixture(scope="module")
def market() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Features without values here and there; labels over 1 and 5 sessions, over 60 for one name alone."""
    days, rng = sessions(date(2020, 6, 1), AS_OF), np.random.default_rng(7)
    keys = pl.DataFrame({"ticker": [f"T{place:02d}" for place in range(12)]}).join(
        pl.DataFrame({"date": pl.Series(days, dtype=pl.Date)}), how="cross"
    )
    values = rng.normal(size=(len(FEATURES), len(keys)))
    values[rng.uniform(size=values.shape) < 0.02] = np.nan
    features = keys.with_columns(
        **{name: pl.Series(values[place], nan_to_null=True) for place, name in enumerate(FEATURES)}
    )
    labels = [
        features.filter(pl.col("date") <= days[-1 - horizon], pl.col("ticker").is_in(names)).select(
            "ticker",
            "date",
            horizon=pl.lit(horizon, pl.Int32),
            forward_return=pl.col("return_20").fill_null(0.0) * 0.01 + pl.col("return_5").fill_null(0.0) * 0.01,
            known_at=pl.col("date").replace_strict(days[:-horizon], days[horizon:], return_dtype=pl.Date),
        )
        for horizon, names in ((1, keys["ticker"].unique()), (5, keys["ticker"].unique()), (60, ["T01"]))
    ]
    return features, pl.concat(labels)


def trained(
    market: tuple[pl.DataFrame, pl.DataFrame],
    kind: str,
    folder: Path,
    given: tuple[Any, ...] = GIVEN,
    of: str = "lightgbm",
) -> tuple[list[TrainedModel], Mapping[str, object]]:
    found: list[TrainedModel] = []

    @dg.asset
    def checkpoint(context: dg.AssetExecutionContext) -> None:
        place = launcher(context, LaunchSettings(kind=kind, device_locks=folder.with_name("locks")))
        found.extend(train(place, of, *market, AS_OF, *given, folder))

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([checkpoint], instance=instance)
        return found, {"log": "\n".join(entry.to_json() for entry in instance.all_logs(result.run_id))}


@pytest.mark.slow
def test_a_kind_on_a_device_trains_in_a_process_of_its_own_that_holds_one(
    market: tuple[pl.DataFrame, pl.DataFrame], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("QUANT_GPUS", "5,")
    for on_device in (False, True):
        (tmp_path / str(on_device)).mkdir()
        monkeypatch.setattr(Ridge, "on_device", on_device)
        found, said = trained(market, "in_process", tmp_path / str(on_device), OWN, OWN_KIND)
        assert [each.files is not None for each in found] == [True, True]
        assert ("computes on device 5 (1 of 1 devices)" in said["log"]) == on_device
    assert (tmp_path / "locks" / "device-5").read_text().count('"subject": "it"') == 1


@pytest.mark.slow
@pytest.mark.parametrize(("of", "given"), [("lightgbm", GIVEN), (OWN_KIND, OWN)])
def test_a_subprocess_trains_the_same_bytes(
    of: str,
    given: tuple[Any, ...],
    market: tuple[pl.DataFrame, pl.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    folders = [tmp_path / name for name in ("here", "there")]
    for each in folders:
        each.mkdir()
    here = train_checkpoint(*market, AS_OF, *given, folders[0])
    assert here[0].files is not None
    if given is GIVEN:
        assert here[1].files is None, "too little history is a result too"
        assert 0 < here[1].rows < SETTINGS.min_rows
    else:
        assert len(here[1].files.paths) > 1
    monkeypatch.setattr(
        "quant_assets.assets.training_unit.train_checkpoint", lambda *_, **__: pytest.fail("trained here")
    )
    there, told = trained(market, "subprocess", folders[1], given, of)
    assert "external process successfully opened dagster pipes" in str(told["log"])
    for one, other in zip(here, there, strict=True):
        assert replace(one, files=None) == replace(other, files=None)
        assert contents(one) == contents(other)
        assert (one.out_of_fold is None) == (other.out_of_fold is None)
        if one.out_of_fold is not None and other.out_of_fold is not None:
            assert one.out_of_fold.equals(other.out_of_fold)
            assert one.out_of_fold.schema == other.out_of_fold.schema


def contents(item: TrainedModel) -> dict[str, bytes] | None:
    return None if item.files is None else {name: path.read_bytes() for name, path in item.files.paths.items()}


def test_in_process_nothing_travels_nor_where_the_audit_looks_on(
    market: tuple[pl.DataFrame, pl.DataFrame], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        "quant_assets.assets.training_unit.train_checkpoint", lambda *each, **_: given.append(each) or []
    )
    assert trained(market, "in_process", tmp_path)[0] == []
    with observed_by(None):  # type: ignore[arg-type]
        assert trained(market, "subprocess", tmp_path)[0] == []
    assert len(given) == 2
    for each in given:
        assert each[0] is market[0]
        assert each[2:] == (AS_OF, *GIVEN, tmp_path)


def test_several_processes_are_refused_by_a_kind_for_one(
    market: tuple[pl.DataFrame, pl.DataFrame], tmp_path: Path
) -> None:
    with dg.build_asset_context() as context:
        place = launcher(context, LaunchSettings(kind="torchrun", processes=2))
        message = r"launch\.processes is 2, and model trees of kind lightgbm .* to 1 .*, or launch\.kind to subprocess"
        with pytest.raises(SettingsError, match=message):
            train(place, "lightgbm", *market, AS_OF, *GIVEN, tmp_path)
    assert not list(tmp_path.iterdir())


class OneAfterTheOther(Torchrun):
    """The processes of a unit in this one, as torchrun numbers them."""

    def launch(self, unit: Unit) -> None:
        for rank in reversed(range(self.processes)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("RANK", str(rank))
                unit.carry_out()


def test_of_a_distributed_kind_the_first_process_is_read(
    market: tuple[pl.DataFrame, pl.DataFrame], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Ridge, "distributed", True)
    with dg.build_asset_context() as context:
        place = OneAfterTheOther(context, LaunchSettings(processes=2))
        found = train(place, OWN_KIND, *market, AS_OF, *OWN, tmp_path)
    assert [item.horizon for item in found] == [5, 1]
    for item in found:
        assert item.files is not None
        assert all(path.is_relative_to(tmp_path / "outputs" / "files") for path in item.files.paths.values())

"""The asset of predictions where a model's files are not whole: the version before, which the rows say, or an error."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.asset_functions import Run
from quant_assets.assets import learning
from quant_assets.assets.learning import predictions
from quant_assets.errors import DatasetError, ModelFileError
from quant_assets.partitions import RunPartitions, key, month_range
from quant_assets.profile import Profile
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.model_use import RegistrySettings
from quant_assets_tests.synthetic_predictions import AS_OF, SECTOR, TRAININGS, profile_at, write

pytestmark = pytest.mark.slow


class Told(Run):
    """A run that keeps what it is told."""

    def __init__(self, profile: Profile, months: tuple[str, ...]) -> None:
        super().__init__(profile, RunPartitions((SECTOR,), months), None, {})  # type: ignore[arg-type]
        self.said: list[tuple[str, bool]] = []
        self.figures: dict[str, Any] = {}

    def tell(self, sector: Any, month: str, figures: Any, asset: Any = None) -> None:
        self.figures[month] = figures["checkpoint"]

    def tell_log(self, text: str, *, warning: bool = False) -> None:
        self.said.append((text, warning))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    write(folder)
    return folder


@pytest.fixture
def profile(made: Path, tmp_path: Path) -> Profile:
    shutil.copytree(made, tmp_path / "storage")
    return profile_at(tmp_path / "storage")


def forecasts(profile: Profile, *months: str, fallback: str = "previous") -> tuple[pl.DataFrame, Told]:
    run, store = Told(profile, months), profile.store
    keys = [key(SECTOR, each) for each in month_range("2020-12", "2021-03")]
    gone = set(store.missing(CHECKPOINTS, keys))
    found = predictions(
        run,
        profile.settings.training,
        profile.settings.predictions,
        profile.settings.applicability,
        RegistrySettings(fallback=fallback),
        "2020-01",
        1.0,
        profile.models,
        profile.features,
        store.read(profile.datasets["features"], [key(SECTOR, month) for month in months]),
        store.read(CHECKPOINTS, [each for each in keys if each not in gone]),
    )
    return found, run


def versions(profile: Profile) -> list[str]:
    return (
        profile.store.read(CHECKPOINTS, profile.store.existing(CHECKPOINTS))
        .sort("as_of")
        .collect()["model_version"]
        .to_list()
    )


def files(profile: Profile, month: str) -> list[Path]:
    return sorted(Path(profile.store.url, "artifacts/lightgbm_checkpoint", SECTOR, month).glob("model_*"))


def test_whole_files_are_used_and_exported(profile: Profile) -> None:
    found, run = forecasts(profile, "2021-05", "2021-06")
    assert found["model_version"].unique().to_list() == versions(profile)[1:]
    assert run.said == []
    folder = Path(profile.store.url, "exports/predictions/it")
    day = pl.read_parquet(folder / "predictions_2021-06-30.parquet")
    assert day.equals(pl.read_parquet(folder / "predictions.parquet"))
    own = found.filter(pl.col("date") == AS_OF)
    assert dict(day.select("ticker", "prediction").iter_rows()) == dict(own.select("ticker", "prediction").iter_rows())
    assert (folder / "predictions_2021-05-28.parquet").exists()


@pytest.mark.parametrize("how", ["tampered", "truncated", "missing"])
def test_a_file_that_is_not_whole_is_replaced_by_the_version_before_and_said(profile: Profile, how: str) -> None:
    (path,) = files(profile, "2021-03")
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] if how == "truncated" else path.read_bytes().replace(b"leaf", b"Leaf"))
    found, run = forecasts(profile, "2021-05", "2021-06")
    older, newer = versions(profile)
    assert found["model_version"].unique().to_list() == [older] != [newer]
    assert [warning for _, warning in run.said] == [True, True]
    assert all(path.name in text for text, _ in run.said)
    assert all("not usable" in figure and path.name in figure for figure in run.figures.values())
    single = pl.concat([forecasts(profile, month)[0] for month in ("2021-05", "2021-06")])
    order = ["ticker", "date", "horizon"]
    assert found.sort(order).equals(single.sort(order))
    with pytest.raises(ModelFileError, match=path.name.partition("-")[0]):
        forecasts(profile, "2021-06", fallback="refuse")


def test_an_unread_training_does_not_weigh_the_model_that_stands_in(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(learning, "combined", lambda given, judged, _: asked.append(judged) or given[0].clear())
    forecasts(profile, "2021-06")
    (path,) = files(profile, "2021-03")
    path.write_bytes(b"")
    forecasts(profile, "2021-06")
    assert [sorted(each["as_of"].unique()) for each in asked] == [list(TRAININGS), [TRAININGS[0]]]


def test_without_any_usable_version_there_is_no_forecast_and_the_log_says_why(profile: Profile) -> None:
    for path in (*files(profile, "2020-12"), *files(profile, "2021-03")):
        path.write_bytes(b"")
    found, run = forecasts(profile, "2021-06")
    assert found.is_empty()
    assert len(run.said) == 2
    assert run.figures["2021-06"].count("not usable") == 2
    empty = pl.read_parquet(Path(profile.store.url, "exports/predictions/it/predictions.parquet"))
    assert empty.is_empty()


def test_a_checkpoint_of_another_kind_is_an_error_and_not_replaced(profile: Profile) -> None:
    rows = profile.store.read(CHECKPOINTS, [key(SECTOR, "2021-03")]).collect().drop("month")
    changed = rows.with_columns(kind=pl.lit("linear"))
    profile.store.write(CHECKPOINTS, changed, [key(SECTOR, "2021-03")], lambda _: date(2021, 3, 31))
    with pytest.raises(DatasetError, match="is of kind linear, the settings say lightgbm"):
        forecasts(profile, "2021-06")

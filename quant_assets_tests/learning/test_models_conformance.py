"""What every registered kind of model must hold: the same tests for each of them, without Dagster."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quant_assets.errors import DatasetError, SettingsError
from quant_assets.learning.forecast import load_models
from quant_assets.learning.model_files import ModelFiles, sha256
from quant_assets.learning.models import lightgbm, xgboost
from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.residuals import ResidualBuckets
from quant_assets.learning.rows import Distribution, Rows
from quant_assets_tests.learning.kinds import LEARNERS, TASKS, made_up_rows


@pytest.fixture(scope="module", params=TASKS, ids="-".join)
def learner(request: pytest.FixtureRequest) -> Learner[Any]:
    name, task = request.param
    return LEARNERS[name]("here", task=task)


@pytest.fixture(scope="module")
def rows(learner: Learner[Any]) -> Rows:
    return made_up_rows(horizons=(5, 20) if learner.all_horizons else (20,), task=learner.task)


def fitted(learner: Learner[Any], rows: Rows, seed: int = 7) -> FittedModel:
    number = np.arange(len(rows))
    return learner.fit(rows.where(number < 2_000), rows.where(number // 500 == 4), seed)


@pytest.fixture(scope="module")
def model(learner: Learner[Any], rows: Rows) -> FittedModel:
    return fitted(learner, rows)


def saved(model: FittedModel, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    model.write(folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def same_bits(one: Distribution, other: Distribution) -> bool:
    pairs = (one.mean, other.mean), (one.std, other.std), (one.prob_up, other.prob_up)
    return all((a is b is None) or (a is not None and b is not None and a.tobytes() == b.tobytes()) for a, b in pairs)


def test_it_says_what_it_is(learner: Learner[Any]) -> None:
    assert learner.kind.isidentifier()
    assert learner.file_format
    assert learner.missing in ("learned", "filled")
    assert learner.exact in (True, False)
    assert "regression" in learner.tasks
    assert all(version(name) for name in learner.libraries)
    assert learner.without_effect <= set(learner.parameters_type.model_fields)
    with pytest.raises(
        SettingsError, match=rf"models\.here\.parameters\.no_such .* parameters of kind {learner.kind} are"
    ):
        type(learner)("here", {"no_such": 1})


def test_what_is_in_the_rows_is_learned(learner: Learner[Any], model: FittedModel, rows: Rows) -> None:
    later = rows.where(np.arange(len(rows)) >= 2_500)
    found = model.predict(later)
    assert found.mean.shape == later.targets.shape
    assert found.std is None or (found.std > 0).all()
    for forecast, target in zip(found.mean.T, later.targets.T, strict=True):
        assert np.corrcoef(forecast, target)[0, 1] > 0.6
    directions = learner.task == "classification"
    assert (found.prob_up is not None) == directions
    if directions or found.std is not None:
        chances = model.predict_proba(later)
        assert chances.shape == (*later.targets.shape, 2)
        np.testing.assert_allclose(chances.sum(axis=2), 1)
        risen = (later.targets if later.outcomes is None else later.outcomes) > 0
        assert np.abs(chances[..., 1].mean() - risen.mean()) < 0.05
        assert ((chances[..., 1] > 0.5) == risen).mean() > 0.7
    else:
        with pytest.raises(DatasetError, match=f"model here of kind {learner.kind} has no probabilities"):
            model.predict_proba(later)
    for values in model.importances().values():
        carries, *_, never = values
        assert (len(values), never) == (4, 0)
        assert carries > 0
    ranked = model.get_feature_importance()
    assert list(ranked.values()) == sorted(ranked.values(), reverse=True)
    assert not ranked or (set(ranked) == set(rows.features) and ranked["carries"] > ranked["never"])
    told = json.loads(json.dumps(model.get_model_info(), allow_nan=False))
    assert told.items() >= model.description().items()
    assert (told["model"], told["task_type"]) == (f"model here of kind {learner.kind}", learner.task)
    assert (told["features"], told["missing"]) == (list(rows.features), learner.missing)


def test_the_same_seed_gives_the_same_bytes(
    learner: Learner[Any], model: FittedModel, rows: Rows, tmp_path: Path
) -> None:
    before = [array.copy() for array in (rows.matrix, rows.targets)]
    again = fitted(learner, rows)
    if learner.exact:
        assert saved(again, tmp_path / "again") == saved(model, tmp_path / "first")
        assert same_bits(again.predict(rows), model.predict(rows))
    for array, was in zip((rows.matrix, rows.targets), before, strict=True):
        assert array.tobytes() == was.tobytes(), "a fit changes nothing of what it is given"


@pytest.mark.slow
def test_saved_and_loaded_in_another_process_it_gives_the_same_bits(
    learner: Learner[Any], model: FittedModel, rows: Rows, tmp_path: Path
) -> None:
    contents = saved(model, tmp_path / "model")
    assert contents
    np.savez(tmp_path / "rows.npz", matrix=rows.matrix, horizons=np.array(rows.horizons))
    code = (
        "import sys; from pathlib import Path; import numpy as np;"
        f"from {type(learner).__module__} import {type(learner).__name__} as kind;"
        "from quant_assets_tests.learning.kinds import made_up_rows;"
        "folder = Path(sys.argv[1]); given = np.load(folder / 'rows.npz');"
        "horizons = tuple(given['horizons'].tolist());"
        f"rows = made_up_rows(horizons=horizons, task='{learner.task}');"
        "assert rows.matrix.tobytes() == given['matrix'].tobytes();"
        "found = kind('there').read(folder / 'model', horizons).predict(rows);"
        "np.save(folder / 'mean.npy', found.mean);"
        "found.prob_up is None or np.save(folder / 'prob_up.npy', found.prob_up);"
        "found.std is None or np.save(folder / 'std.npy', found.std);"
        "print([name for name in sys.modules if name.split('.')[0] == 'dagster'])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
    kept = [tmp_path / f"{each}.npy" for each in ("mean", "std", "prob_up")]
    mean, std, prob_up = (np.load(path) if path.exists() else None for path in kept)
    assert same_bits(Distribution(mean, std, prob_up), model.predict(rows))
    loaded = learner.read(tmp_path / "model", rows.horizons)
    assert (loaded.features, loaded.horizons) == (model.features, model.horizons)
    assert saved(loaded, tmp_path / "once more") == contents


def test_loaded_it_says_of_itself_what_it_did(learner: Learner[Any], model: FittedModel, tmp_path: Path) -> None:
    model.write(tmp_path)
    assert learner.read(tmp_path, model.horizons).get_model_info() == model.get_model_info()


def test_a_row_alone_and_in_any_company_gives_the_same_bits(model: FittedModel, rows: Rows) -> None:
    many = model.predict(rows)
    order = np.random.default_rng(3).permutation(len(rows))
    shuffled = model.predict(rows.where(order))
    assert many.mean[order].tobytes() == shuffled.mean.tobytes()
    for number in (0, 17, len(rows) - 1):
        one = model.predict(rows.where(np.arange(len(rows)) == number))
        std, prob_up = (None if each is None else each[[number]] for each in (many.std, many.prob_up))
        assert same_bits(one, Distribution(many.mean[[number]], std, prob_up))
    assert len(model.predict(rows.where(np.zeros(len(rows), dtype=bool))).mean) == 0


def test_contributions_add_up_to_the_raw_forecast(model: FittedModel, rows: Rows) -> None:
    found = model.contributions(rows)
    assert (found is None) == (not isinstance(model, lightgbm.Trees | xgboost.Trees))
    if found is None:
        return
    assert found.shape == (len(rows.horizons), len(rows), len(rows.features) + 1)
    told = model.predict(rows)
    raw = told.mean if told.prob_up is None else np.log(told.prob_up / (1 - told.prob_up))
    np.testing.assert_allclose(found.sum(axis=2).T, raw, rtol=1e-4, atol=1e-6)  # XGBoost's are of single precision
    share = np.abs(found[0, :, :-1]).mean(axis=0)
    assert rows.features[int(share.argmax())] in ("carries", "by_absence")
    assert not share[rows.features.index("never")]


def test_missing_values_follow_its_rule(learner: Learner[Any], model: FittedModel, rows: Rows) -> None:
    nothing = replace(rows, matrix=np.full_like(rows.matrix, np.nan))
    assert np.isfinite(model.predict(nothing).mean).all()
    if learner.missing == "filled":
        assert model.fill is not None
        filled = replace(rows, matrix=np.where(np.isnan(rows.matrix), model.fill, rows.matrix))
        assert same_bits(model.predict(filled), model.predict(rows))
        number = np.arange(len(rows))
        other = replace(rows, matrix=np.where((number < 2_000)[:, None], rows.matrix, rows.matrix + 9.0))
        assert fitted(learner, other).fill.tobytes() == model.fill.tobytes(), "from the training rows alone"
    else:
        assert model.fill is None
        here = np.nan_to_num(rows.matrix[:, [1]], nan=0.0)
        absent, present = (
            model.predict(replace(rows, matrix=np.hstack([rows.matrix[:, :1], values, rows.matrix[:, 2:]]))).mean.mean()
            for values in (np.full_like(here, np.nan), here)
        )
        # Half of what it tells: 0.02 of the return, so 0.31 of the probability of a rise, and by that 0.011.
        least = 0.01 if learner.task == "regression" else 0.0055
        assert absent - present > least, "that a value is missing tells the target here"


# --- A checkpoint's files ---------------------------------------------------------------------------------------------


def checkpoint(learner: Learner[Any], model: FittedModel, folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A row of the dataset of checkpoints and the files that it names, as a training writes them."""
    folder.mkdir()
    model.write(folder)
    files = ModelFiles.of(folder, "model")
    contents = {name: path.read_bytes() for name, path in files.paths.items()}
    described = {
        "model_sha256": files.sha256,
        "features": model.features,
        "horizon": model.horizons[0],
        "horizons": model.horizons,
        "residuals": ResidualBuckets((), (9,), (0.1,), 0.1).to_manifest(),
    }
    contents["manifest"] = json.dumps(described).encode()
    row = {
        "model_file": files.name,
        "model_sha256": files.sha256,
        "manifest_file": "manifest",
        "manifest_sha256": sha256(contents["manifest"]),
        "horizon": model.horizons[0],
        "kind": learner.kind,
        "as_of": date(2024, 6, 28),
    }
    return row, contents


Load = Callable[..., FittedModel]


@pytest.fixture
def load(learner: Learner[Any], model: FittedModel, tmp_path: Path) -> tuple[Load, dict[str, bytes], dict[str, Any]]:
    row, contents = checkpoint(learner, model, tmp_path / "saved")

    def load(features: tuple[str, ...] = model.features, **changed: Any) -> FittedModel:
        (into := tmp_path / str(len(list(tmp_path.iterdir())))).mkdir()
        found = load_models([row | changed], learner, features, contents.__getitem__, into)
        return found[model.horizons[0]].fitted

    return load, contents, row


def test_a_checkpoint_loads_and_its_features_and_kind_are_compared(
    load: tuple[Load, dict[str, bytes], dict[str, Any]], learner: Learner[Any], model: FittedModel, rows: Rows
) -> None:
    loaded = load[0]()
    assert same_bits(loaded.predict(rows), model.predict(rows))
    with pytest.raises(DatasetError, match="in another order"):
        load[0](model.features[::-1])
    with pytest.raises(DatasetError, match=r"trained on 4 \(never\), the features are 4 \(another\)"):
        load[0]((*model.features[:-1], "another"))
    with pytest.raises(DatasetError, match="is of kind stump, the settings say"):
        load[0](kind="stump")
    contents = load[1]
    contents["manifest"] = json.dumps(json.loads(contents["manifest"]) | {"features": model.features[::-1]}).encode()
    with pytest.raises(DatasetError, match="in another order"):  # the manifest agrees, the model itself does not
        load[0](model.features[::-1], manifest_sha256=sha256(contents["manifest"]))
    with pytest.raises(DatasetError, match=f"kind {learner.kind}: .* its 4 features: they have .* in another order"):
        model.predict(replace(rows, features=rows.features[::-1]))
    with pytest.raises(DatasetError, match=r"they lack carries, never and have in addition one, two$"):
        model.predict(replace(rows, features=("one", *rows.features[1:3], "two")))


def test_a_file_that_was_changed_is_refused_before_anything_is_loaded(
    load: tuple[Load, dict[str, bytes], dict[str, Any]], learner: Learner[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, contents, _ = load

    def never(*_: Any) -> FittedModel:
        raise AssertionError("a changed file was loaded")

    monkeypatch.setattr(type(learner), "load", never)
    for name, content in list(contents.items()):
        contents[name] = content + b" "
        with pytest.raises(DatasetError, match=r"has SHA-256 .* the file was changed: materialise"):
            loading()
        contents[name] = content
    with pytest.raises(AssertionError):
        loading()

"""Models that were trained elsewhere: verified before they are opened, and judged on what they cannot know."""

import hashlib
import json
import pickle
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression

from quant_assets.errors import DatasetError, SettingsError
from quant_assets.learning.forecast import load_models
from quant_assets.learning.model_files import LISTING, ModelFiles
from quant_assets.learning.models import learner_type
from quant_assets.learning.models.external import ExternalLearner
from quant_assets.learning.registry import Loaded, ModelSpec, load_model
from quant_assets.learning.rows import Rows
from quant_assets.learning.splits import unseen_folds
from quant_assets.learning.trained import checkpoint_rows
from quant_assets.learning.training import train_checkpoint
from quant_assets.market.calendar import sessions
from quant_assets.settings.domain import PredictionSettings, TrainingSettings
from quant_assets_tests.learning.kinds import made_up_rows
from quant_assets_tests.synthetic_learning import FEATURES, PLANTED, simulate

INPUTS = ("noise", "carries")  # in another order than the rows, and not all of them
TRUSTED = (
    "sklearn.linear_model._base.LinearRegression",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.ndarray",
    "numpy.dtype",
)

#: Formats of models that take no missing values.
NO_MISSING = ("pickle", "skops", "onnx", "safetensors", "state_dict")

MARK: list[str] = []


def needs(format_: str) -> None:
    """Skip where the extra of a format is not installed."""
    of = {
        "skops": ("skops",),
        "onnx": ("onnx", "onnxruntime"),
        "safetensors": ("safetensors",),
        "state_dict": ("torch",),
    }
    for name in of.get(format_, ()):
        pytest.importorskip(name, reason="an extra is not installed")


def leave_a_mark(what: str) -> str:
    MARK.append(what)
    return what


class Payload:
    """What a hostile pickle is made of: it calls a function of its choice when it is read."""

    def __reduce__(self) -> tuple[Callable[[str], str], tuple[str]]:
        return leave_a_mark, ("read",)


def inputs(rows: Rows) -> np.ndarray:
    return np.ascontiguousarray(rows.matrix[:, [rows.features.index(name) for name in INPUTS]])


def made_elsewhere(kind: str, rows: Rows, path: Path) -> np.ndarray:
    """A model in a file, and what it forecasts by its own library."""
    matrix, target = inputs(rows), rows.targets[:, 0]
    if kind == "lightgbm":
        import lightgbm as lgb

        data = lgb.Dataset(matrix, target, feature_name=list(INPUTS))
        booster = lgb.train({"verbosity": -1, "num_threads": 1}, data, 10)
        booster.save_model(path)
        return np.asarray(booster.predict(matrix))
    if kind == "xgboost":
        import xgboost as xgb

        matrix_of = xgb.DMatrix(matrix, target, feature_names=list(INPUTS))
        trees = xgb.train({"nthread": 1}, matrix_of, 10)
        path.write_bytes(bytes(trees.save_raw("json")))
        return np.asarray(trees.predict(matrix_of))
    matrix = np.nan_to_num(matrix)
    if kind == "state_dict":
        import torch

        torch.manual_seed(1)
        layers = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
        torch.save(layers.state_dict(), path)
        return np.asarray(layers(torch.from_numpy(matrix)).detach()[:, 0])
    line = LinearRegression().fit(matrix, target)
    if kind == "pickle":
        path.write_bytes(pickle.dumps(line))
    elif kind == "skops":
        import skops.io

        path.write_bytes(skops.io.dumps(line))
    elif kind == "safetensors":
        from safetensors.numpy import save

        path.write_bytes(save({"weight": line.coef_[None], "bias": np.array([line.intercept_])}))
    else:
        path.write_bytes(onnx_line(line.coef_, line.intercept_).SerializeToString())
    return np.asarray(line.predict(matrix))


def onnx_line(slopes: np.ndarray, offset: float, outputs: int = 1) -> Any:
    """A linear model in ONNX: rows by features in, a value for each row out."""
    from onnx import TensorProto, helper, numpy_helper

    tensors = {"slopes": np.tile(slopes[:, None], (1, outputs)), "offset": np.full(outputs, offset)}
    shape = TensorProto.DOUBLE, ["rows", len(slopes)]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "slopes"], ["xb"]), helper.make_node("Add", ["xb", "offset"], ["y"])],
        "line",
        [helper.make_tensor_value_info("x", *shape)],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["rows", outputs])],
        [numpy_helper.from_array(each, name) for name, each in tensors.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


def settings(path: Path, **changed: Any) -> dict[str, Any]:
    content = path.read_bytes()
    return {
        "path": str(path),
        "sha256": hashlib.sha256(content).hexdigest(),
        "features": INPUTS,
        "trained_until": date(2019, 12, 31),
        "trusted_types": TRUSTED,
    } | changed


def without_missing(rows: Rows) -> Rows:
    return Rows(**{**rows.__dict__, "matrix": np.nan_to_num(rows.matrix)})


@pytest.fixture(params=["lightgbm", "xgboost", *NO_MISSING])
def given(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Rows, np.ndarray, dict[str, Any]]:
    needs(request.param)
    rows = made_up_rows(400, horizons=(20,))
    if request.param in NO_MISSING:
        rows = without_missing(rows)
    expected = made_elsewhere(request.param, rows, tmp_path / "theirs")
    activation = {"activation": "tanh"} if request.param == "state_dict" else {}
    return rows, expected, settings(tmp_path / "theirs", format=request.param, **activation)


def test_it_forecasts_what_its_own_library_does_and_stays_itself(
    given: tuple[Rows, np.ndarray, dict[str, Any]], tmp_path: Path
) -> None:
    rows, expected, parameters = given
    learner = ExternalLearner("theirs", parameters)
    model = learner.fit(rows, rows.where(np.zeros(len(rows), dtype=bool)), 1)
    np.testing.assert_allclose(model.predict(rows).mean[:, 0], expected, atol=1e-12)
    one = model.predict(rows.where(np.arange(len(rows)) == 7)).mean
    assert one.tobytes() == model.predict(rows).mean[[7]].tobytes()
    assert model.get_model_info()["inputs"] == list(INPUTS)
    (tmp_path / "kept").mkdir()
    model.write(tmp_path / "kept")
    Path(parameters["path"]).unlink()
    again = learner.read(tmp_path / "kept", (20,))
    assert again.features == rows.features
    assert again.predict(rows).mean.tobytes() == model.predict(rows).mean.tobytes()


def test_another_content_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    path, rows = tmp_path / "theirs", made_up_rows(100, horizons=(20,))
    path.write_bytes(pickle.dumps(Payload()))
    own = f"{__name__}.leave_a_mark"
    MARK.clear()
    wrong = settings(path, format="pickle", trusted_types=(own,), sha256="0" * 64)
    with pytest.raises(DatasetError, match=r"model it of kind external: .* has SHA-256 .* it was not opened: restore"):
        ExternalLearner("it", wrong).fit(rows, rows, 1)
    with pytest.raises(DatasetError, match=r"names .*leave_a_mark, which is not in trusted_types; nothing was"):
        ExternalLearner("it", settings(path, format="pickle")).fit(rows, rows, 1)
    assert MARK == []
    with pytest.raises(DatasetError, match="str has no predict"):
        ExternalLearner("it", settings(path, format="pickle", trusted_types=(own,))).fit(rows, rows, 1)
    assert MARK == ["read"], "the payload works where it is trusted, or the test would show nothing"


@pytest.mark.parametrize("format_", ["lightgbm", "xgboost"])
def test_what_it_keeps_is_loaded_by_its_listing_with_no_word_of_trust(format_: str, tmp_path: Path) -> None:
    path, rows = tmp_path / "theirs", made_up_rows(400, horizons=(20,))
    expected = made_elsewhere(format_, rows, path)
    given = settings(path, format=format_)
    (folder := tmp_path / "kept").mkdir()
    ExternalLearner("it", given).fit(rows, rows, 1).write(folder)
    files = ModelFiles.of(folder, "it")
    told = {"kind": "external", "model_sha256": files.sha256, "horizons": [20], "features": list(rows.features)}
    for trusted in ([], ["os.system"]):
        parameters = given | {"trained_until": str(given["trained_until"]), "trusted_types": trusted}
        spec = ModelSpec.of_manifest(told | {"parameters": parameters}, str(folder / LISTING), "it")
        assert (load_model(spec, loaded=Loaded(1))[0].predict(rows).mean[:, 0] == expected).all()
        assert "trusted_types" not in spec.parameters


def test_a_pickle_that_it_keeps_has_its_suffix_and_is_refused_by_it(tmp_path: Path) -> None:
    path, rows = tmp_path / "theirs", made_up_rows(400, horizons=(20,))
    made_elsewhere("pickle", without_missing(rows), path)
    (folder := tmp_path / "kept").mkdir()
    given = settings(path, format="pickle", trusted_types=TRUSTED)
    ExternalLearner("it", given).fit(rows, rows, 1).write(folder)
    files = ModelFiles.of(folder, "it")
    with pytest.raises(DatasetError, match=r"model model\.pkl: opening a \.pkl file can execute code in it"):
        load_model(ModelSpec(str(folder / LISTING), "external", "it", files.sha256, parameters=given))


@pytest.mark.parametrize("format_", ["lightgbm", "xgboost", *NO_MISSING])
def test_a_truncated_or_foreign_file_is_named(format_: str, tmp_path: Path) -> None:
    needs(format_)
    path, rows = tmp_path / "theirs", made_up_rows(200, horizons=(20,))
    for content in (b"", b"tree\nversion=v4\n", b"\x80\x04nothing", b"{}"):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"model it of kind external: .*(file is no|names|inputs)"):
            ExternalLearner("it", settings(path, format=format_)).fit(rows, rows, 1)
    learner = ExternalLearner("it", settings(path, format=format_))
    path.unlink()
    with pytest.raises(DatasetError, match=r"theirs cannot be read \(No such file.*fix models\.it\.parameters\.path"):
        learner.fit(rows, rows, 1)


def refused(rows: Rows, path: Path, message: str, **changed: Any) -> None:
    with pytest.raises(DatasetError, match=message):
        ExternalLearner("it", settings(path, **changed)).fit(rows, rows, 1)


def test_layers_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    needs("safetensors")
    from safetensors.numpy import save

    path, rows, rng = tmp_path / "theirs", without_missing(made_up_rows(50, horizons=(20,))), np.random.default_rng(1)
    shapes = {"2.weight": (4, 2), "2.bias": (4,), "10.weight": (1, 4), "10.bias": (1,)}
    good = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    for changed in (
        {"10.weight": good["10.weight"].T},
        {"10.bias": None},
        {"2.scale": good["2.bias"]},
        {"2.weight": rng.normal(size=(4, 3))},
        {"10.weight": rng.normal(size=(3, 4)), "10.bias": rng.normal(size=3)},
        dict.fromkeys(good),
    ):
        path.write_bytes(save({name: each for name, each in (good | changed).items() if each is not None}))
        refused(rows, path, "the tensors are .*; they must be pairs of weight", format="safetensors", activation="relu")
    path.write_bytes(save(good))
    refused(rows, path, "the file has 2 layers, parameters.activation is None; set it", format="safetensors")
    model = ExternalLearner("it", settings(path, format="safetensors", activation="relu")).fit(rows, rows, 1)
    inner = np.maximum(inputs(rows) @ good["2.weight"].T + good["2.bias"], 0)
    expected = inner @ good["10.weight"].T + good["10.bias"]
    np.testing.assert_allclose(model.predict(rows).mean, expected, atol=1e-12)
    with pytest.raises(SettingsError, match=r"parameters\.activation is not valid"):
        ExternalLearner("it", settings(path, format="safetensors", activation="mystery"))


def test_a_state_dict_calls_nothing_and_holds_tensors_alone(tmp_path: Path) -> None:
    needs("state_dict")
    import torch

    path, rows = tmp_path / "theirs", without_missing(made_up_rows(50, horizons=(20,)))
    MARK.clear()
    torch.save({"weight": Payload()}, path)
    refused(rows, path, "is not a readable torch state dict with only tensors", format="state_dict")
    torch.save(torch.nn.Linear(2, 1), path)
    refused(rows, path, "is not a readable torch state dict with only tensors", format="state_dict")
    torch.save({"weight": torch.ones(1, 2), "bias": 3}, path)
    refused(rows, path, "is not a state dict of tensors", format="state_dict")
    assert MARK == []


def test_an_unknown_type_of_a_skops_file_is_trusted_by_name_alone(tmp_path: Path) -> None:
    needs("skops")
    import skops.io

    path, rows = tmp_path / "theirs", without_missing(made_up_rows(50, horizons=(20,)))
    path.write_bytes(skops.io.dumps(Constant()))
    own = f"{__name__}.Constant"
    refused(rows, path, rf"the skops file names {own}, which are not in trusted_types; nothing", format="skops")
    learner = ExternalLearner("it", settings(path, format="skops", trusted_types=(own,)))
    assert set(learner.fit(rows, rows, 1).predict(rows).mean[:, 0]) == {0.25}


class Constant:
    """An estimator that skops does not know."""

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        return np.full(len(matrix), 0.25)


def test_a_graph_of_another_form_or_with_tensors_elsewhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("onnx")
    import onnx

    path, rows = tmp_path / "theirs", without_missing(made_up_rows(50, horizons=(20,)))
    path.write_bytes(onnx_line(np.ones(3), 0.0).SerializeToString())
    refused(rows, path, r"the file has 3 inputs, parameters\.features are 2", format="onnx")
    path.write_bytes(onnx_line(np.ones(2), 0.0, outputs=2).SerializeToString())
    with pytest.raises(DatasetError, match="kind external: it returned 2 values for a row; it must return one"):
        ExternalLearner("it", settings(path, format="onnx")).fit(rows, rows, 1).predict(rows)
    two = onnx_line(np.ones(2), 0.0)
    two.graph.output.append(onnx.helper.make_tensor_value_info("xb", onnx.TensorProto.DOUBLE, ["rows", 1]))
    path.write_bytes(two.SerializeToString())
    refused(rows, path, r"the graph's inputs and outputs are x tensor\(double\)\['rows', 2\], y .*, xb ", format="onnx")
    monkeypatch.chdir(tmp_path)
    model = onnx_line(np.ones(2), 0.0)
    onnx.save(model, path, save_as_external_data=True, location="beside", size_threshold=0)
    assert (tmp_path / "beside").exists()
    refused(rows, path, r"is not a readable ONNX model \(.*External data path", format="onnx")


def test_a_library_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rows = tmp_path / "theirs", made_up_rows(50, horizons=(20,))
    path.write_bytes(b"something")
    for format_, module, extra in (
        ("onnx", "onnxruntime", "external"),
        ("safetensors", "safetensors.numpy", "external"),
        ("skops", "skops.io", "external"),
        ("state_dict", "torch", "deep"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        refused(rows, path, rf"its format needs {module.partition('.')[0]} .*\[{extra}\]", format=format_)


def test_other_inputs_are_listed(tmp_path: Path) -> None:
    path, rows = tmp_path / "theirs", made_up_rows(400, horizons=(20,))
    made_elsewhere("lightgbm", rows, path)
    for features, message in (
        (INPUTS[::-1], "the file's inputs are noise, carries, in this order; parameters.features are carries, noise"),
        (("noise", "gone"), "there are no features gone; add their set"),
    ):
        with pytest.raises(DatasetError, match=message):
            ExternalLearner("it", settings(path, format="lightgbm", features=features)).fit(rows, rows, 1)
    made_elsewhere("pickle", without_missing(rows), path)
    with pytest.raises(DatasetError, match=r"the file has 2 inputs, parameters\.features are 1"):
        ExternalLearner("it", settings(path, format="pickle", features=("noise",))).fit(rows, rows, 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": "joblib"}, r"parameters\.format is not valid"),
        ({"sha256": "abc"}, r"parameters\.sha256 is not valid"),
        ({"trusted_types": ("sklearn.*",)}, "patterns are not allowed"),
    ],
)
def test_settings_that_trust_too_much_are_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"")
    with pytest.raises(SettingsError, match=message):
        ExternalLearner("it", settings(tmp_path / "theirs", **({"format": "pickle"} | changed)))
    with pytest.raises(SettingsError, match="task_type is classification; kind external supports regression"):
        ExternalLearner("it", settings(tmp_path / "theirs", format="pickle"), "classification")


# --- What it may know -------------------------------------------------------------------------------------------------


def test_it_is_judged_on_sessions_that_it_cannot_know(tmp_path: Path) -> None:
    features, labels = simulate(horizons=(20,))
    until, as_of = date(2019, 12, 31), date(2021, 6, 30)
    given = (TrainingSettings(), PredictionSettings())

    def trained(until: date, folder: str) -> Any:
        path = tmp_path / "slope"
        line = LinearRegression().fit(np.array([[0.0], [1.0]]), np.array([0.0, 0.02]))
        path.write_bytes(pickle.dumps(line))
        known = features.with_columns(pl.col(PLANTED).fill_null(0.0))
        learner = ExternalLearner("slope", settings(path, format="pickle", features=(PLANTED,), trained_until=until))
        (tmp_path / folder).mkdir()
        return learner, train_checkpoint(
            known, labels, as_of, *given, learner, (20,), "it", FEATURES, tmp_path / folder
        )[0]

    learner, found = trained(until, "one")
    manifest = json.loads(found.manifest)
    assert found.out_of_fold["date"].min() > until
    assert found.metrics.rank_ic > 0.2
    assert [fold["test"]["rows"] > 0 for fold in manifest["folds"]] == [True, True]
    assert manifest["folds"][0]["test"]["last_date"] < manifest["folds"][1]["test"]["first_date"]
    assert manifest["final"]["trained_until"] == "2019-12-31"
    contents = {f"there/{name}": file.read_bytes() for name, file in found.files.paths.items()}
    contents[f"there/{found.manifest_name}"] = found.manifest
    (tmp_path / "loaded").mkdir()
    rows = checkpoint_rows([found], "there")
    loaded = load_models(rows.iter_rows(named=True), learner, FEATURES, contents.__getitem__, tmp_path / "loaded")
    assert set(loaded) == {20}
    _, late = trained(as_of, "two")
    assert (late.files, late.metrics) == (None, None), "no session is left that it could be judged on"


def test_unseen_folds_are_tests_after_the_last_known_session() -> None:
    days = np.repeat(sessions(date(2020, 1, 2), date(2020, 3, 31)), 2)
    folds = unseen_folds(days, days, np.datetime64("2020-01-31"), 4, 5)
    tested = [np.unique(days[fold.test]) for fold in folds[:-1]]
    assert np.concatenate(tested).tolist() == [day for day in np.unique(days).tolist() if day > date(2020, 1, 31)]
    assert [len(part) for part in tested] == [14, 14, 13]
    for fold, part in zip(folds, tested, strict=False):
        before = np.unique(days[days < part[0]])
        assert np.unique(days[fold.train]).tolist() == before[:-5].tolist()
    assert (folds[-1].train.all(), folds[-1].test.any()) == (True, False)
    assert learner_type("lightgbm")("it").knows_until is None

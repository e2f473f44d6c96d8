"""What the catalogue derives from the declarations, and a user's modules that do not fit."""

from pathlib import Path

import pytest

from quant_assets.catalogue import library, own_features
from quant_assets.errors import SettingsError
from quant_assets.settings.domain import FeatureSettings
from quant_assets.settings.loading import Settings, load_settings
from quant_assets_tests.graph import demo_datasets

FEATURE = (
    "from quant_assets.windows.declarations import Feature\n"
    "FEATURES = [Feature('mine', ('close',), 0, lambda x, w: x['close'], '')]\n"
)


def settings(*modules: str, sets: tuple[str, ...] = ("core",)) -> Settings:
    return load_settings("demo").model_copy(update={"features": FeatureSettings(sets=sets, modules=modules)})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where modules are looked for."""
    monkeypatch.setattr("quant_assets.catalogue.conf_dir", lambda: tmp_path)
    return tmp_path


def test_features_are_the_declared_columns_in_order() -> None:
    features = library(load_settings("demo"))
    assert tuple(demo_datasets()["features"].columns) == ("ticker", "date", *features.names)
    assert [name.endswith("_to_peak") for name in features.names[:26]] == [True] * 25 + [False]
    assert not {"change", "log_return", "macd_line"} & set(features.names), "hidden intermediates are no columns"


def test_a_module_is_a_file_of_the_settings_or_on_the_path(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch
) -> None:
    (folder / "mine.py").write_text(FEATURE)
    assert library(settings("mine")).names[-1] == "mine"
    elsewhere = tmp_path_factory.mktemp("path")
    (elsewhere / "quant_test_elsewhere.py").write_text(FEATURE.replace("'mine'", "'theirs'"))
    monkeypatch.syspath_prepend(elsewhere)
    assert library(settings("mine", "quant_test_elsewhere")).names[-2:] == ("mine", "theirs")
    assert library(settings("mine", sets=())).names == ("mine",)


def test_a_module_may_compare_its_features_with_those_of_others(folder: Path) -> None:
    compared = "from quant_assets.features.cross_section import compared\n" + FEATURE
    (folder / "mine.py").write_text(
        compared + "FEATURES += [compared('mine', 'sector', 'rank'), compared('mine', 'market', 'zscore')]\n"
    )
    features = library(settings("mine"))
    features.audit_own()
    assert features.names[-2:] == ("mine", "mine_sector_rank")
    assert [each.name for each in features.market] == ["mine_market_zscore"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"module 'mine' is neither .*mine.py nor importable from PYTHONPATH; add the file"),
        (
            "import quant_no_such_package",
            r"cannot be imported \(ModuleNotFoundError: No module named 'quant_no_such_package'\); fix it",
        ),
        ("FEATURES = [", r"mine.py\) cannot be imported \(SyntaxError: .*; fix it"),
        ("1 / 0", "ZeroDivisionError"),
        ("FEATURE = []", r"mine.py\) needs FEATURES, a list of quant_assets.windows.declarations.Feature"),
        ("FEATURES = ['close']", "needs FEATURES, a list of"),
        (
            FEATURE.replace("'mine'", "'rsi_14'"),
            "features of mine: 'rsi_14' is declared a second time, first by core; rename it",
        ),
        (
            FEATURE.replace("('close',)", "('clos',)"),
            "features of mine: feature 'mine' reads 'clos', which is neither a field",
        ),
        (
            FEATURE.replace("('close',)", "('mine',)"),
            "features of mine: features read each other in a circle: mine <- mine",
        ),
    ],
)
def test_a_module_that_does_not_fit_is_one_line_that_names_it(folder: Path, text: str | None, message: str) -> None:
    if text is not None:
        (folder / "mine.py").write_text(text)
    with pytest.raises(SettingsError, match=message) as caught:
        library(settings("mine"))
    assert "\n" not in str(caught.value)


def test_two_folders_may_have_a_module_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "mine.py").write_text(FEATURE.replace("'mine'", f"'mine_{number}'"))
        monkeypatch.setattr("quant_assets.catalogue.conf_dir", lambda number=number: tmp_path / str(number))
        assert own_features("mine")[0].name == f"mine_{number}"


def test_a_module_cannot_have_the_name_of_a_set(folder: Path) -> None:
    (folder / "core.py").write_text(FEATURE)
    with pytest.raises(SettingsError, match="'core' is the name of a ready-made set; rename the module"):
        library(settings("core"))

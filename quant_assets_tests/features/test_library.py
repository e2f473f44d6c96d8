"""Ready-made sets and the user's features side by side, and the tests that every feature of every set passes without a
line of its own."""

from collections import Counter
from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import SettingsError
from quant_assets.features.cross_section import CrossSection, cross_sections
from quant_assets.features.library import SETS, FeatureLibrary, ready_made
from quant_assets.windows import kernels, window_statistics
from quant_assets.windows.declarations import Declared, Feature
from quant_assets.windows.recomputation import audit, made_up
from quant_assets.windows.windows import Windows

COMPARED = [feature for feature in ready_made("cross_section") if isinstance(feature, CrossSection)]


def own(name: str, *inputs: str) -> Feature:
    return Feature(name, inputs or ("close",), 0, lambda x, w: x["close"], "")


@pytest.mark.parametrize("name", ["core", "alpha158"])
def test_every_feature_depends_on_its_declared_lookback_and_nothing_later(name: str) -> None:
    for feature, values in audit(FeatureLibrary({name: ready_made(name)}).windows).items():
        assert np.isfinite(values[0]).any(), f"{feature} has no value with a complete history"


@pytest.mark.parametrize("declared", COMPARED, ids=lambda feature: feature.name)
def test_every_comparison_depends_on_its_input_and_session_alone(declared: CrossSection) -> None:
    rng = np.random.default_rng(9)
    days = [date(2024, 6, 3), date(2024, 6, 4), date(2024, 6, 5)]
    rows = pl.DataFrame({"ticker": [f"T{i}" for i in range(6) for _ in days], "date": days * 6})
    rows = rows.with_columns(pl.Series(declared.inputs[0], rng.normal(size=18)), other=pl.Series(rng.normal(size=18)))
    whole = cross_sections(rows, [declared])
    assert whole[declared.name].is_finite().all()
    for day in days:
        here = pl.col("date") == day
        assert cross_sections(rows.filter(here).drop("other"), [declared]).equals(whole.filter(here))
    changed = rows.with_columns(
        pl.when(here).then(declared.inputs[0]).otherwise(1e3 * pl.col(declared.inputs[0]) + 1.0)
    )
    assert cross_sections(changed, [declared]).filter(here).equals(whole.filter(here))


@pytest.mark.parametrize("name", ["core", "alpha158"])
def test_no_kernel_is_called_twice_for_one_result(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[tuple[object, ...]] = Counter()

    def counted(kernel: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def call(*arguments: object) -> np.ndarray:
            calls[
                kernel.__name__, *(value.tobytes() if isinstance(value, np.ndarray) else value for value in arguments)
            ] += 1
            return kernel(*arguments)

        return call

    for module in (kernels, window_statistics):
        for called, kernel in list(vars(module).items()):
            if hasattr(kernel, "__wrapped__"):
                monkeypatch.setattr(module, called, counted(kernel))
    features = FeatureLibrary({name: ready_made(name)}).windows
    days, fields = made_up(features.total_lookback())
    features.evaluate(fields, Windows(days))
    assert sum(calls.values()) > 50
    assert [call[0] for call, times in calls.items() if times > 1] == []


@pytest.mark.parametrize("name", SETS)
def test_every_feature_says_what_it_is(name: str) -> None:
    for feature in FeatureLibrary({"core": ready_made("core"), name: ready_made(name)}).features:
        assert feature.meaning, feature.name
        assert feature.unit, feature.name
        assert feature.inputs, feature.name


def test_the_columns_are_those_of_the_groups_in_order() -> None:
    library = FeatureLibrary({"core": ready_made("core"), "mine": [own("mine_b"), own("mine_a", "rsi_14", "close")]})
    assert library.names[-2:] == ("mine_b", "mine_a")
    assert tuple(library.dataset.columns)[2:] == library.names
    assert [library.group(feature) for feature in library.features[-3:]] == ["core", "mine", "mine"]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            {"core": ready_made("core"), "mine": [own("rsi_14")]},
            "features of mine: 'rsi_14' is declared a second time, first by core",
        ),
        ({"mine": [own("close")]}, "features of mine: 'close' cannot be the name of a feature"),
        ({"mine": [own("two words")]}, "'two words' cannot be the name"),
        ({"mine": [own("a", "rsi_14")]}, "features of mine: feature 'a' reads 'rsi_14', which is neither"),
        ({"mine": [own("a", "b"), own("b", "a")]}, "features of mine: features read each other in a circle"),
        ({}, "name no feature"),
    ],
)
def test_what_does_not_fit_together_is_refused(groups: dict[str, list[Declared[object]]], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        FeatureLibrary(groups)


def test_a_set_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingsError, match="set 'nosuch' does not exist; choose among core"):
        ready_made("nosuch")

"""Ready-made sets and the user's features side by side, and the test that every feature of every set passes without a line of its own."""

import numpy as np
import pytest

from quant_assets.errors import SettingsError
from quant_assets.features.library import SETS, FeatureLibrary, ready_made
from quant_assets.signals.audit import audit
from quant_assets.signals.declarations import Declared, Feature


def own(name: str, *inputs: str) -> Feature:
    return Feature(name, inputs or ("close",), 0, lambda x, w: x["close"], "")


@pytest.mark.parametrize("name", SETS)
def test_every_feature_depends_on_its_declared_lookback_and_nothing_later(name: str) -> None:
    library = FeatureLibrary({"core": ready_made("core"), name: ready_made(name)})
    for feature, values in audit(library.windows).items():
        assert np.isfinite(values[0]).any(), f"{feature} has no value with a complete history"


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
        ({"core": ready_made("core"), "mine": [own("rsi_14")]}, "features of mine: 'rsi_14' is declared a second time, first by core"),
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

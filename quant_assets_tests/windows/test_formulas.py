"""A digest changes with a formula, and with nothing else."""

from functools import partial
from typing import Any

import polars as pl
import pytest

from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.windows.declarations import Declared, Feature
from quant_assets.windows.formulas import digests


def mean(window: int, name: str = "a", **changed: Any) -> Feature:
    values = {"inputs": ("close",), "lookback": 20, "compute": lambda x, w: w.mean(x["close"], window)} | changed
    return Feature(name, meaning="mean close", **values)


def digest(feature: Declared[object], *others: Feature) -> str:
    return digests({item.name: item for item in (feature, *others)})[feature.name]


def without_source(text: str) -> Any:
    return eval(text)  # noqa: S307  # as a formula that was typed at a prompt


def test_the_same_formula_has_the_same_digest() -> None:
    assert digest(mean(20)) == digest(mean(20))
    assert digest(mean(20, compute=without_source("lambda x, w: -x['close']"))) == digest(
        mean(20, compute=without_source("lambda x, w: -x['close']"))
    )


@pytest.mark.parametrize(
    "changed",
    [
        mean(10),
        mean(20, lookback=21),
        mean(20, inputs=("open",)),
        mean(20, compute=lambda x, w: w.mean(x["close"], 20) + 1),
        mean(20, compute=partial(lambda n, x, w: w.mean(x["close"], n), 20)),
    ],
)
def test_a_changed_formula_has_another(changed: Feature) -> None:
    assert digest(changed) != digest(mean(20))


def test_code_without_source_and_bound_arguments_count() -> None:
    texts = (
        "lambda x, w: -x['close']",
        "lambda x, w: -x['open']",
        "lambda x, w: [v + 1 for v in x]",
        "lambda x, w: [v + 2 for v in x]",
    )
    assert len({digest(mean(20, compute=without_source(text))) for text in texts}) == len(texts)

    def shifted(n: int, x: Any, w: Any) -> Any:
        return x["close"] * n

    assert digest(mean(20, compute=partial(shifted, 1))) != digest(mean(20, compute=partial(shifted, 2)))
    expressions = [Declared("e", ("revenue",), 0, pl.col("revenue") * n, "") for n in (1, 2)]
    assert digest(expressions[0]) != digest(expressions[1])


def test_what_a_feature_reads_counts() -> None:
    reader = Feature("b", ("a",), 0, lambda x, w: x["a"], "of a")
    assert digest(reader, mean(20)) != digest(reader, mean(10))


def test_every_ready_made_feature_has_one() -> None:
    library, again = (
        FeatureLibrary({name: ready_made(name) for name in ("core", "cross_section", "alpha158")}) for _ in range(2)
    )
    assert [formula.partition(" ")[0] for formula in library.formulas] == list(library.names)
    assert library.formulas == again.formulas
    assert len({formula.partition(" ")[2] for formula in library.formulas}) == len(library.names), (
        "two features have the same formula"
    )

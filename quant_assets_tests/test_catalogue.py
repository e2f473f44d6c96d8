"""The catalogue against the README, and that it derives from the declarations."""

from quant_assets.catalogue import library, with_table
from quant_assets.settings import load_settings
from quant_assets_tests.graph import PROJECT, demo_datasets


def test_the_readme_shows_every_dataset_as_it_is() -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    shown = demo_datasets()
    assert with_table(text, shown) == text, "run make docs"
    assert all(f"| `{name}` |" in text for name in shown)


def test_features_are_the_declared_columns_in_order() -> None:
    features = library(load_settings("demo"))
    assert tuple(demo_datasets()["features"].columns) == ("ticker", "date", *features.names)
    assert [name.endswith("_to_peak") for name in features.names[:26]] == [True] * 25 + [False]
    assert not {"change", "log_return", "macd_line"} & set(features.names), "hidden intermediates are no columns"

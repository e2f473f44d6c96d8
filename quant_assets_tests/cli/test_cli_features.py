"""The table of `quant features`: every declared indicator and feature with what was declared of it."""

import pytest

from quant_assets.cli.features import Line, as_markdown, documented
from quant_assets.errors import SettingsError
from quant_assets.features import fundamental
from quant_assets.settings.loading import load_settings
from quant_assets_tests.graph import demo_datasets

SETTINGS = load_settings("demo")
LINES = {line.name: line for line in documented(SETTINGS) if line.set != "indicators"}


def test_every_declared_column_has_a_line() -> None:
    datasets = demo_datasets()
    columns = [name for each in ("features", "market_features", "market_breadth") for name in datasets[each].columns]
    assert list(LINES) == [name for name in columns if name not in ("sector", "ticker", "date", "members")]
    assert {LINES[name].set for name in datasets["market_breadth"].columns if name in LINES} == {"cross_section"}
    assert LINES["above_sma_50"].lookback == LINES["sma_distance_50"].lookback == 49
    shown = {line.name: line for line in documented(SETTINGS, "indicators")}
    assert set(shown) == set(datasets["indicators"].columns) - {
        "ticker",
        "date",
        "close",
        "garch_fitted_on",
        "garch_status",
    }
    assert (shown["garch_volatility"].lookback, shown["momentum"].lookback) == (751, 125)


def test_a_line_says_what_was_declared() -> None:
    line = LINES["rsi_14"]
    assert (line.inputs, line.unit, line.lag, line.meaning) == (
        "bar_change, close",
        "percent",
        0,
        "relative strength index over 14 sessions",
    )
    assert "Wilder (1978)" in line.source
    assert line.lookback > 300, "with what its inputs look back"
    assert LINES["book_to_market"].lookback == fundamental.price_sessions(SETTINGS.fundamentals)


def test_one_set_may_be_asked_for() -> None:
    assert {line.set for line in documented(SETTINGS, "core")} == {"core"}
    looks_back = {line.name: line.lookback for name in ("macro", "sentiment") for line in documented(SETTINGS, name)}
    assert (looks_back["macro_inflation_12m"], looks_back["news_sentiment_20"]) == (360, 19)
    none = SETTINGS.model_copy(update={"features": SETTINGS.features.model_copy(update={"sets": ("core",)})})
    with pytest.raises(SettingsError, match="set 'nosuch' does not exist; choose one of indicators, core"):
        documented(none, "nosuch")


def test_markdown_keeps_its_columns() -> None:
    text = as_markdown([Line("a", "core", "x, y", 3, "1", 0, "one | other", "")])
    assert text.splitlines()[2] == "| a | core | x, y | 3 | 1 | 0 | one \\| other |  |"

"""Alpha158 against what Qlib's own engine computed (reference/make_alpha158.py), and against the rules of this
project."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.features.alpha158 import FEATURES, PREFIX
from quant_assets.market.panel import Panel
from quant_assets.windows.declarations import FeatureSet
from quant_assets.windows.windows import Windows

EXPECTED = Path(__file__).parents[1] / "reference" / "alpha158.parquet"
SET = FeatureSet(FEATURES)
BARS = ("open", "high", "low", "close", "volume")


def evaluate(panel: Panel) -> dict[str, np.ndarray]:
    return SET.evaluate({name: panel[name] for name in SET.fields}, Windows(panel.sessions))


def window_of(name: str) -> int:
    """Sessions of a feature's window; 1 for those of a single bar."""
    result = re.fullmatch(r"[a-z]+?(5|10|20|30|60)", name.removeprefix(PREFIX))
    return int(result[1]) if result else 1


@pytest.fixture(scope="module")
def qlib() -> pl.DataFrame:
    return pl.read_parquet(EXPECTED).with_columns(pl.col("date").cast(pl.Date))


@pytest.fixture(scope="module")
def bars(qlib) -> Panel:
    return Panel.from_long(qlib, qlib["date"].unique().sort().to_numpy().astype("datetime64[D]"), BARS)


@pytest.fixture(scope="module")
def expected(qlib, bars) -> Panel:
    return Panel.from_long(qlib, bars.sessions, qlib.columns[2 + len(BARS) :])


@pytest.fixture(scope="module")
def computed(bars) -> dict[str, np.ndarray]:
    return evaluate(bars)


@pytest.fixture(scope="module")
def panel(market) -> Panel:
    return Panel.from_long(market.prices, market.days, BARS)


@pytest.fixture(scope="module")
def values(panel) -> dict[str, np.ndarray]:
    return evaluate(panel)


def test_the_158_have_qlibs_names_and_order(expected) -> None:
    assert SET.names == tuple(PREFIX + name.lower() for name in expected.fields)
    assert len(SET.names) == 158


@pytest.mark.parametrize("name", SET.names)
def test_equal_to_qlib(name: str, computed, expected, bars) -> None:
    ours, theirs = computed[name], expected[name.removeprefix(PREFIX).upper()]
    d = window_of(name)
    bar = ~np.isnan(bars["close"])
    observed = np.stack([bar[:, max(0, j - d + 1) : j + 1].sum(axis=1) for j in range(bar.shape[1])], axis=1)
    listed = np.maximum.accumulate(bar, axis=1)
    compared = np.isfinite(ours)
    if name.startswith((f"{PREFIX}im", f"{PREFIX}cnt")):  # the exceptions in the module's docstring
        listed_before = np.zeros_like(listed)
        listed_before[:, d - 1 :] = listed[:, : listed.shape[1] - d + 1]
        compared &= listed_before if name.startswith(f"{PREFIX}cnt") else observed == d
    assert compared.sum() > 600
    np.testing.assert_allclose(ours[compared], theirs[compared], rtol=1e-6, atol=1e-6)
    assert not (np.isfinite(ours) & np.isnan(theirs)).any()
    # Where a window (and the session before it) is complete and shares were traded, there is a value wherever Qlib has
    # one.
    traded = bars["volume"] > 0.0
    complete = np.zeros_like(bar)
    for j in range(d, bar.shape[1]):
        complete[:, j] = traded[:, j - d : j + 1].all(axis=1)
    assert np.array_equal(np.isfinite(ours)[complete], ~np.isnan(theirs)[complete])
    assert complete.sum() > 500


def test_a_price_that_does_not_move_has_no_correlation(computed, bars) -> None:
    flat = (bars.tickers.index("FLAT"), 199)
    for d in (5, 60):
        assert (
            computed[f"{PREFIX}std{d}"][flat]
            == computed[f"{PREFIX}beta{d}"][flat]
            == computed[f"{PREFIX}sump{d}"][flat]
            == 0.0
        )
        assert np.isnan(computed[f"{PREFIX}corr{d}"][flat])
        assert np.isnan(computed[f"{PREFIX}rsqr{d}"][flat])
        assert computed[f"{PREFIX}rank{d}"][flat] == (d + 1) / 2 / d


def test_sessions_without_volume_have_no_ratio_to_it(computed, bars) -> None:
    silent = (bars.tickers.index("HALT"), 42)
    assert bars["volume"][silent] == 0.0
    assert np.isnan([computed[f"{PREFIX}{name}5"][silent] for name in ("vma", "vstd", "cord")]).all()
    assert np.isfinite([computed[f"{PREFIX}{name}5"][silent] for name in ("ma", "vsump")]).all()


def test_within_the_declared_bounds_and_nothing_infinite(values) -> None:
    for feature in SET.features:
        known = values[feature.name][~np.isnan(values[feature.name])]
        assert np.isfinite(known).all()
        assert len(known) > 3000
        assert feature.ge is None or known.min() >= feature.ge, feature.name
        assert feature.gt is None or known.min() > feature.gt, feature.name
        assert feature.le is None or known.max() <= feature.le, feature.name


@pytest.mark.parametrize("lookback", sorted({SET.total_lookback(name) for name in SET.names}))
def test_a_month_alone_gives_the_bits_of_the_whole_history(lookback: int, panel, values) -> None:
    """From no more than the declared lookback, up to a session in the middle of the month, for some of the tickers."""
    names = [name for name in SET.names if SET.total_lookback(name) == lookback]
    starts = Windows(panel.sessions).starts
    rows = [panel.tickers.index(ticker) for ticker in ("HALT", "LIST", "T01")]
    for start, stop in ((start, start + 13) for start in np.unique(starts[(starts > 650) & (starts < 900)])):
        begin = start - lookback
        fields = {name: np.ascontiguousarray(array[rows, begin:stop]) for name, array in panel.fields.items()}
        part = evaluate(Panel(tuple(panel.tickers[row] for row in rows), panel.sessions[begin:stop], fields))
        for name in names:
            expected = np.ascontiguousarray(values[name][rows, start:stop])
            alone = np.ascontiguousarray(part[name][:, lookback:])
            assert np.array_equal(alone.view(np.int64), expected.view(np.int64)), name

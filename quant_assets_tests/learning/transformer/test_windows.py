"""Windows: the rows they are made of, coverage, positions, nothing from the future."""

from datetime import date

import numpy as np
import pytest

from quant_assets.errors import DatasetError, HistoryError
from quant_assets.learning.transformer.inputs import COLUMNS, columns, full_sample_maximum, running_maximum
from quant_assets.market.panel import Panel
from quant_assets_tests.learning.transformer.panels import changed, random_panel, until

torch = pytest.importorskip("torch", reason="the extra deep is not installed")

from quant_assets.learning.transformer.network import TransformerStockPrediction  # noqa: E402
from quant_assets.learning.transformer.training import Sessions, Windows  # noqa: E402
from quant_assets.learning.transformer.windows import WindowTensor  # noqa: E402


def asked(panel: Panel) -> tuple[np.ndarray, list[str]]:
    """Every session and ticker."""
    return np.tile(panel.sessions, len(panel.tickers)), [each for each in panel.tickers for _ in panel.sessions]


def test_a_window_is_the_last_32_days_over_the_maximum_known_at_its_end() -> None:
    panel = random_panel()
    tensor, (values, _), scale = WindowTensor.of(panel), columns(panel), running_maximum(panel)
    assert tuple(tensor.values.shape) == (120, 5, 25)
    assert tuple(tensor.mask.shape) == (120, 5)
    at = tensor.index(panel.sessions[[90, 61, 119]], ["T3", "T0", "T4"])
    found = tensor.gather(at).numpy()
    assert found.shape == (3, 32, 25)
    assert found.dtype == np.float32
    for window, session, ticker in zip(found, (90, 61, 119), (3, 0, 4), strict=True):
        expected = values[ticker, session - 31 : session + 1] / np.repeat(scale[ticker, session], 5)
        np.testing.assert_allclose(window, expected, rtol=1e-6)
        assert window[:, 19].max() <= 1.0 + 1e-6
    assert tensor.session_of(at).tolist() == [90, 61, 119]
    assert tensor.ticker_of(at).tolist() == [3, 0, 4]


def test_windows_are_copied_out_and_the_tensor_is_not_written() -> None:
    tensor = WindowTensor.of(random_panel())
    before, at = tensor.store.clone(), tensor.between(date(2019, 1, 1), date(2020, 1, 1))
    tensor.gather(at).fill_(0.0)
    assert torch.equal(tensor.store.nan_to_num(), before.nan_to_num())
    assert torch.equal(tensor.gather(at[:1]), WindowTensor.of(random_panel()).gather(at[:1]))


def test_there_is_no_window_before_the_first_has_all_its_columns() -> None:
    panel = random_panel()
    tensor = WindowTensor.of(panel)
    found = tensor.index(*asked(panel)).reshape(panel.shape)
    # The mean of 30 sessions asks for four fifths of them (`Windows.mean`).
    assert (found[:, : 23 + 31] == -1).all()
    assert (found[:, 23 + 31 :] >= 0).all()


@pytest.mark.parametrize(
    ("holes", "there"), [([90, 91, 92], True), ([80, 90, 100], True), ([75, 80, 90, 100], False), ([102], False)]
)
def test_coverage_of_nine_tenths_and_a_bar_at_the_end(holes: list[int], there: bool) -> None:
    panel = random_panel(1)
    close = panel["close"].copy()
    close[0, holes] = np.nan
    tensor = WindowTensor.of(changed(panel, close=close))
    at = tensor.index(panel.sessions[[102]], ["T0"])
    assert bool(at[0] >= 0) is there  # 29 of 32 sessions
    if there:
        window = tensor.gather(at)[0]
        assert (window > 0).all()
        stands = 80 - (102 - 31)
        if 80 in holes:
            assert window[stands, 19] == window[stands - 1, 19]  # the close


def test_what_is_gathered_is_never_missing() -> None:
    panel = random_panel(8, 200, holes=0.04)
    tensor = WindowTensor.of(panel)
    at = tensor.between(date(2019, 1, 1), date(2020, 1, 1))
    assert 0 < len(at) < 8 * (200 - 54)
    assert torch.isfinite(tensor.gather(at)).all()
    assert (tensor.gather(at) > 0).all()
    assert torch.equal(at, at[torch.argsort(tensor.session_of(at), stable=True)])
    named = tensor.index(panel.sessions[tensor.session_of(at)], [panel.tickers[i] for i in tensor.ticker_of(at)])
    assert torch.equal(named, at)


@pytest.mark.parametrize("maximum_sessions", [None, 60])
def test_what_comes_later_changes_nothing(maximum_sessions: int | None) -> None:
    panel = random_panel(6, 150, holes=0.02)
    higher = {name: values.copy() for name, values in panel.fields.items()}
    for values in higher.values():
        values[:, 101:] *= 10.0
    at = asked(until(panel, 101))
    now = WindowTensor.of(until(panel, 101), maximum_sessions=maximum_sessions)
    for each in (panel, changed(panel, **higher)):
        later = WindowTensor.of(each, maximum_sessions=maximum_sessions)
        positions = now.index(*at)
        assert torch.equal(positions < 0, later.index(*at) < 0)
        there = positions >= 0
        assert torch.equal(now.gather(positions[there]), later.gather(later.index(*at)[there]))


def test_the_full_sample_maximum_knows_what_comes_later_and_is_refused_in_training() -> None:
    panel = random_panel()
    tensor = WindowTensor.of(panel, normalisation="full_sample_maximum")
    at = panel.sessions[[70]], ["T0"]
    before = WindowTensor.of(until(panel, 71), normalisation="full_sample_maximum")
    panel.fields["close"][0, 119] = 1000.0
    after = WindowTensor.of(panel, normalisation="full_sample_maximum")
    assert not torch.equal(tensor.gather(tensor.index(*at)), after.gather(after.index(*at)))
    assert not torch.equal(before.gather(before.index(*at)), after.gather(after.index(*at)))
    np.testing.assert_array_equal(full_sample_maximum(panel)[0, :, 3], 1000.0)
    with pytest.raises(HistoryError, match="maxima of later sessions"):
        tensor.for_training()
    assert WindowTensor.of(panel).for_training().normalisation == "running_maximum"


def test_a_bounded_maximum_is_the_same_wherever_the_panel_starts() -> None:
    panel = random_panel(4, 200, holes=0.05)
    late = Panel(panel.tickers, panel.sessions[50:], {k: v[:, 50:].copy() for k, v in panel.fields.items()})
    np.testing.assert_array_equal(running_maximum(panel, 60)[:, 110:], running_maximum(late, 60)[:, 60:])
    expected = np.stack([np.nanmax(panel["high"][:, i - 59 : i + 1], axis=1) for i in range(60, 200)], axis=1)
    np.testing.assert_array_equal(running_maximum(panel, 60)[:, 60:, 1], expected)
    np.testing.assert_array_equal(running_maximum(panel, 200), running_maximum(panel))


@pytest.mark.parametrize("sessions", [None, 80])
def test_after_a_step_that_nothing_explains_windows_are_as_those_of_a_name_that_begins_there(
    sessions: int | None,
) -> None:
    panel = random_panel(3, 230)
    fields, marked = {name: values.copy() for name, values in panel.fields.items()}, np.zeros((3, 230), dtype=bool)
    for name in ("open", "high", "low", "close"):
        fields[name][0, 100] *= 75.0  # a bad print: a step there and one back
        fields[name][1, :100] *= 10.0  # a split that nobody told
    marked[0, [100, 101]] = marked[1, 100] = True
    faulty = changed(panel, **fields)
    tensor = WindowTensor.of(faulty, maximum_sessions=sessions, unexplained=marked)
    clean = WindowTensor.of(panel, maximum_sessions=sessions)
    usable = tensor.usable.reshape(3, 230)
    for ticker, last in ((0, 101), (1, 100)):
        gone = np.flatnonzero(~usable[ticker].numpy())
        assert gone[-1] == last + 32 + 34 - 1, "as many sessions as a window's values follow from"
        assert usable[ticker, :100].sum() == clean.usable.reshape(3, 230)[ticker, :100].sum() > 0
        begun = {name: np.where(np.arange(230) < last, np.nan, values) for name, values in panel.fields.items()}
        expected = running_maximum(changed(panel, **begun), sessions)[ticker, last:]
        np.testing.assert_array_equal(running_maximum(faulty, sessions, marked)[ticker, last:], expected)
    for ticker in ("T0", "T1"):
        at = tensor.index(panel.sessions[170:], [ticker] * 60)
        assert (tensor.gather(at)[:, :, 19].amax(dim=1) > 0.5).all(), "not a thousandth of a price that never was"
    assert torch.equal(tensor.scale[2], clean.scale[2])
    assert torch.equal(usable[2], clean.usable.reshape(3, 230)[2])


@pytest.mark.parametrize("factor", [0.125, 7.3, 2000.0])
def test_a_factor_on_the_prices_of_a_name_changes_no_rank(factor: float) -> None:
    panel = random_panel(30, 100)
    torch.manual_seed(2)
    network = TransformerStockPrediction(hidden_size=16).eval()
    scaled = {name: panel[name].copy() for name in ("open", "high", "low", "close")}
    for values in scaled.values():
        values[11] *= factor
    scores = []
    for each in (panel, changed(panel, **scaled)):
        tensor = WindowTensor.of(each)
        with torch.inference_mode():
            scores.append(network(tensor.gather(tensor.index(np.repeat(panel.sessions[-1:], 30), panel.tickers)))[:, 0])
    torch.testing.assert_close(scores[0], scores[1], atol=2e-6, rtol=0)
    assert torch.equal(scores[0].argsort(), scores[1].argsort())


def test_positions_that_there_are_not() -> None:
    panel = random_panel()
    tensor = WindowTensor.of(panel)
    saturday = np.array(["2019-06-15"], dtype="datetime64[D]")
    assert tensor.index(saturday, ["T0"]).tolist() == [-1]
    assert tensor.index(panel.sessions[[100]], ["XYZ"]).tolist() == [-1]
    assert tensor.index(np.array(["2031-01-02"], dtype="datetime64[D]"), ["T0"]).tolist() == [-1]
    with pytest.raises(DatasetError, match="position -1"):
        tensor.gather(torch.tensor([100, -1]))
    with pytest.raises(DatasetError, match=r"ticker T1 has too few bars in the 32 sessions up to 2019-01-17"):
        tensor.gather(torch.tensor([100, 120 + 11]))
    assert tuple(tensor.gather(torch.empty(0, dtype=torch.int64)).shape) == (0, 32, 25)
    # A training asks once, before its first batch.
    for units in (
        lambda at: Sessions(tensor, at, np.array(["2019-01-17"] * 2, dtype="datetime64[D]"), np.zeros((2, 1))),
        lambda at: Windows(tensor, at, np.zeros(20, dtype=np.int64), np.zeros(20, dtype=np.int64)),
    ):
        with pytest.raises(DatasetError, match="position -1"):
            units(torch.tensor([100, -1]))


def test_a_panel_shorter_than_a_window() -> None:
    panel = random_panel(3, 20)
    tensor = WindowTensor.of(panel)
    assert (tensor.index(*asked(panel)) == -1).all()
    assert len(tensor.between(date(2019, 1, 1), date(2020, 1, 1))) == 0
    assert tuple(tensor.gather(torch.empty(0, dtype=torch.int64)).shape) == (0, 32, len(COLUMNS))

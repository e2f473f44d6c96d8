"""The two trainings of the stock Transformer: in two processes as in one, and what a loss is the mean of."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quant_assets_tests.graph import PROJECT

torch = pytest.importorskip("torch", reason="the extra deep is not installed")

from torch.nn.functional import cross_entropy  # noqa: E402

from quant_assets.learning.transformer.network import TransformerStockPrediction  # noqa: E402
from quant_assets.learning.transformer.parameters import Pretraining  # noqa: E402
from quant_assets.learning.transformer.training import FineTuning, PreTraining, Sessions, Windows  # noqa: E402
from quant_assets_tests.learning.transformer import small  # noqa: E402


@pytest.mark.slow
def test_two_processes_give_the_losses_and_weights_of_one(tmp_path: Path) -> None:
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", small.__name__]
    paths = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *start, str(tmp_path / "two")],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    one = small.results(tmp_path / "one-states")
    with np.load(tmp_path / "two-0.npz") as two, np.load(tmp_path / "two-1.npz") as other:
        assert {*two} == {*one}
        for name, expected in one.items():
            assert two[name].tobytes() == other[name].tobytes(), "every process ends with the same model"
            # A bias of keys changes no attention: its gradient is rounding alone, which Adam makes as large as any.
            if not name.endswith("fc_k.bias"):
                np.testing.assert_allclose(two[name], expected, atol=1e-4, rtol=0, err_msg=name)


def network(outputs: int, **heads: int) -> TransformerStockPrediction:
    torch.manual_seed(3)
    told = TransformerStockPrediction(
        num_class=outputs, hidden_size=8, num_heads=2, days=small.DAYS, pretrain_classes=heads or None
    )
    return told.eval()


@torch.no_grad()
def test_what_a_window_costs_in_pretraining_follows_from_no_other_of_its_step() -> None:
    names = np.arange(small.NAMES)
    stocks, sectors = np.where(names < 2, names, -1), np.where(names != 5, names % 2, -1)
    windows = Windows(*small.parts((60, 80)), stocks, sectors)
    told = Pretraining.model_validate({"weights": {"stock": 1.0, "sector": 0.5}})
    module = PreTraining(network(1, stock=2, sector=2), told)
    count = len(windows)
    whole = module.losses(windows.batch(np.arange(count)))
    for parts in (2, 5):
        for rank in range(parts):
            own = np.arange(count)[rank::parts]
            torch.testing.assert_close(module.losses(windows.batch(own)), whole[own])
    # The mean over all windows is that over those whose class is known.
    inputs, codes, kinds, _ = windows.batch(np.arange(count))
    outputs = module.network.pretraining_outputs(inputs)
    expected = cross_entropy(outputs["stock"], codes, ignore_index=-1)
    expected = expected + 0.5 * cross_entropy(outputs["sector"], kinds, ignore_index=-1)
    torch.testing.assert_close(whole.mean(), expected)


@torch.no_grad()
def test_what_a_session_costs_follows_from_no_other_of_its_step() -> None:
    tensor, positions = small.parts((60, 80))
    # 7, 6, 5 … names, then always one.
    positions = positions[tensor.ticker_of(positions) <= (66 - tensor.session_of(positions)).clamp_min(0)]
    days = tensor.panel.sessions[tensor.session_of(positions).numpy()].astype("datetime64[D]")
    targets = np.random.default_rng(5).normal(size=(len(positions), 2))
    sessions, module = Sessions(tensor, positions, days, targets), FineTuning(network(2), 0.7)
    chosen = np.array([3, 0, 20, 6, 5])
    found = module.losses(sessions.batch(chosen))
    for loss, at in zip(found, chosen, strict=True):
        own = days == np.unique(days)[at]
        said, was = module.network(tensor.gather(positions[own])), torch.from_numpy(targets[own].astype(np.float32))
        pairs = (-(said[:, None] - said) * (was[:, None] - was)).clamp_min(0.0)
        torch.testing.assert_close(loss, ((said - was) ** 2).mean() + 0.7 * pairs.mean())

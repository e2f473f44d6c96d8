"""The two trainings of the stock Transformer: in two processes as in one, and what a loss is the mean of."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quant_assets_tests.graph import PROJECT

torch = pytest.importorskip("torch", reason="the extra deep is not installed")

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

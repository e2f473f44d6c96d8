"""A training by Lightning: repeatable, resumed after a kill, the same in two processes, and nothing left beside it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quant_assets.errors import CheckpointError, DatasetError
from quant_assets.learning.deep.fit import fit
from quant_assets.learning.deep.module import DeepModule
from quant_assets.learning.deep.settings import DeepParameters
from quant_assets.learning.deep.states import States
from quant_assets.learning.deep.training_context import remove_states, state_folder, training_at
from quant_assets.learning.deep.units import Indices, Shares
from quant_assets_tests.graph import PROJECT
from quant_assets_tests.learning.deep.small import SEED, MadeUp, Rising, train

SCRIPT = "quant_assets_tests.learning.deep.small"


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        np.asarray(one[name]).tobytes() == np.asarray(other[name]).tobytes() for name in one
    )


def weights(module: Rising) -> dict[str, np.ndarray]:
    return {name: each.numpy() for name, each in module.state_dict().items()}


def test_what_is_planted_is_learned_and_the_weights_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    found = train(tmp_path)
    losses = [each.validation for each in found.history]
    assert losses[found.best] == min(losses) < 0.2 * losses[0]
    assert not found.module.training
    held = MadeUp(60, 2)
    with torch.no_grad():
        told = float(found.module.losses((held.inputs, held.targets)).mean())
    assert told == pytest.approx(losses[found.best], rel=1e-6)


def test_it_repeats_to_the_bit_and_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    before = torch.random.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    founds = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        founds.append(train(tmp_path / name))
        torch.rand(3)  # what is drawn elsewhere is of no matter
        torch.random.set_rng_state(before[0])
    assert same(*(weights(each.module) for each in founds))
    assert founds[0].history == founds[1].history
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    left = {path.name for path in (tmp_path / "one").rglob("*")}
    assert "states.json" in left
    assert len(left) == 4, "three states and their list, nothing of Lightning's own"


def test_it_stops_when_nothing_improves_any_more(tmp_path: Path) -> None:
    found = train(tmp_path, max_epochs=60, patience=2, learning_rate=0.1)
    assert len(found.history) == found.best + 3 < 60


def test_interrupted_it_goes_on_from_the_last_state_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = train(whole)
    real, lines = States.save, list[str]()

    def interrupted(self: States, state: Any, epoch: int, score: float) -> None:
        if epoch >= 5:
            raise KeyboardInterrupt
        real(self, state, epoch, score)

    monkeypatch.setattr(States, "save", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(tmp_path)
    monkeypatch.setattr(States, "save", real)
    with training_at(None, lines.append):
        found = train(tmp_path)
    assert lines[0] == "small: resumes after epoch 4"
    assert (found.history, found.best) == (expected.history, expected.best)
    assert same(weights(found.module), weights(expected.module))


def test_what_cannot_be_trained_is_said(tmp_path: Path) -> None:
    held = MadeUp(10, 2)
    with pytest.raises(DatasetError, match="no training units"):
        fit(Rising, MadeUp(0, 1), held, DeepParameters(), SEED, tmp_path)
    training = MadeUp(20, 1)
    training.targets[3] = float("nan")
    with pytest.raises(DatasetError, match="the loss of epoch 1 is not finite"):
        fit(Rising, training, held, DeepParameters(), SEED, tmp_path)
    assert not list(tmp_path.glob("state-*")), "a state with such a loss is never kept"


def test_two_states_that_would_not_fit_are_refused_before_anything_is_computed(tmp_path: Path) -> None:
    lines: list[str] = []
    with training_at(None, lines.append), pytest.raises(CheckpointError, match="checkpoint_mib 1: set at least 14"):
        train(tmp_path, width=100_000, checkpoint_mib=1)  # 600,001 weights, each with two means
    assert not lines


def test_a_units_draws_are_the_same_in_any_number_of_processes() -> None:
    class Drawing(DeepModule):
        def losses(self, batch: torch.Tensor) -> torch.Tensor:
            return torch.cat([batch[:, None], self.drawn(2)], dim=1)

    class Numbers:
        def __len__(self) -> int:
            return 11

        def batch(self, indices: Indices) -> torch.Tensor:
            return torch.from_numpy(indices)

    def all_of(processes: int) -> torch.Tensor:
        told = []
        for rank in range(processes):
            module = Drawing()
            module.draws = torch.Generator().manual_seed(1)
            told += [module._of(share)[: share.mine] for share in Shares(Numbers(), 5, rank, processes)]
        found = torch.cat(told)
        return found[found[:, 0].argsort()]

    one = all_of(1)
    assert len(one.unique(dim=0)) == 11
    for processes in (2, 3):  # of the last step's one unit, too, which the others compute for the company
        assert torch.equal(all_of(processes), one)
    with pytest.raises(RuntimeError, match="draws by unit"):
        Drawing().losses(torch.zeros(3))


def test_gradients_are_clipped(tmp_path: Path) -> None:
    free, clipped = tmp_path / "free", tmp_path / "clipped"
    for each in (free, clipped):
        each.mkdir()
    one = train(free, clip=0.0, max_epochs=1)
    other = train(clipped, clip=1e-9, max_epochs=1)
    started = train_start()
    moved = [
        sum(
            float((each.detach() - start).abs().sum())
            for each, start in zip(of.module.parameters(), started, strict=True)
        )
        for of in (one, other)
    ]
    assert moved[0] > 5 * moved[1]


def train_start() -> list[torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return [each.detach() for each in Rising().parameters()]


def test_states_are_kept_where_it_is_said_and_nowhere_else(tmp_path: Path) -> None:
    with training_at(tmp_path / "kept"), state_folder("abc") as folder:
        assert folder == tmp_path / "kept" / "abc"
        (folder / "state").touch()
    assert (tmp_path / "kept" / "abc" / "state").exists(), "the next attempt resumes"
    remove_states(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    with state_folder("abc") as folder:
        assert folder.is_dir()
    assert not folder.exists()


def test_processes_without_a_folder_that_they_share_are_told_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(DatasetError, match=r"2 processes .*WORLD_SIZE.*training_at\(FOLDER\).*launch\.kind"),
        state_folder("a"),
    ):
        pass
    with training_at(tmp_path), state_folder("a") as folder:
        assert folder == tmp_path / "a"


# --- Processes --------------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "OMP_NUM_THREADS": "1",
    }


def command(folder: Path, result: Path, **given: Any) -> list[str]:
    return ["-m", SCRIPT, str(folder), str(result), *(f"{name}={json.dumps(value)}" for name, value in given.items())]


def result_of(result: Path, rank: int = 0) -> dict[str, Any]:
    with np.load(f"{result}-{rank}.npz") as kept:
        return dict(kept)


@pytest.mark.slow
@pytest.mark.nightly
def test_two_processes_give_the_losses_and_weights_of_one(tmp_path: Path) -> None:
    # 203 units in steps of 20: the last step has 3, of which the processes have 2 and 1; validation ends with one of 1.
    given = {"dropout": 0.0, "max_epochs": 6, "count": 201}
    for name, start in (("one", []), ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"])):
        (tmp_path / name).mkdir()
        arguments = [sys.executable, *start, *command(tmp_path / name, tmp_path / f"{name}-result", **given)]
        subprocess.run(arguments, env=environment(), check=True, capture_output=True, text=True, timeout=240)
    one, two, other = (
        result_of(tmp_path / "one-result"),
        result_of(tmp_path / "two-result"),
        result_of(tmp_path / "two-result", 1),
    )
    assert len(one["history"]) == 6
    np.testing.assert_allclose(two["history"], one["history"], atol=1e-4, rtol=0)
    assert same(two, other), "every process ends with the same model"
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=1e-4, err_msg=name)


def killed(kills: int, folder: Path) -> None:
    """Train as a whole, and killed so many times at moments drawn by chance; compare, and look at each state left.

    One process imports, and those that train are forked from it.
    """
    arguments = [sys.executable, "-m", f"{SCRIPT}_killed", str(folder), str(kills)]
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["improved"] > 20, "states are written most of the time"
    assert told["killed"] >= kills - kills // 3, "it was killed while it trained"
    assert same(result_of(folder / "found"), result_of(folder / "expected"))


@pytest.mark.slow
def test_killed_twice_it_ends_with_the_weights_of_a_whole_run(tmp_path: Path) -> None:
    killed(2, tmp_path)


@pytest.mark.nightly
def test_killed_ten_times_it_ends_with_the_weights_of_a_whole_run(tmp_path: Path) -> None:
    killed(10, tmp_path)

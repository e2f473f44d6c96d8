"""A small network on made-up units, and its training as a script: `python …/small.py FOLDER RESULT [name=value …]`."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quant_assets.learning.deep.fit import Fitted, fit
from quant_assets.learning.deep.module import DeepModule
from quant_assets.learning.deep.settings import DeepParameters
from quant_assets.learning.deep.training_context import training_at
from quant_assets.learning.deep.units import Indices

SEED = 11


class Rising(DeepModule):
    """Two layers, with dropout where asked for."""

    def __init__(self, width: int = 8, dropout: float = 0.2) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 1))

    def losses(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        return ((self.net(inputs).squeeze(1) - targets) ** 2).float()


class MadeUp:
    """Units with a planted relation; counts what is asked for."""

    def __init__(self, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.inputs = torch.from_numpy(rng.normal(size=(count, 4)).astype(np.float32))
        noise = torch.from_numpy(rng.normal(size=count).astype(np.float32))
        self.targets = self.inputs[:, 0] - 0.5 * self.inputs[:, 1].abs() + 0.1 * noise

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor]:
        at = torch.from_numpy(indices)
        return self.inputs[at], self.targets[at]


def train(folder: Path, width: int = 8, dropout: float = 0.2, count: int = 203, **given: Any) -> Fitted[Rising]:
    told: dict[str, Any] = {"max_epochs": 12, "patience": 4, "learning_rate": 0.02, "batch_units": 20} | given
    training, validation = MadeUp(count, 1), MadeUp(60, 2)
    return fit(lambda: Rising(width, dropout), training, validation, DeepParameters(**told), SEED, folder, "small")


def run(folder: Path, result: Path, **given: Any) -> None:
    """Train, and write losses and weights."""
    with training_at(None, lambda _: None):
        found = train(folder, **given)
    weights = {name: each.numpy() for name, each in found.module.state_dict().items()}
    history = np.array([[each.training, each.validation] for each in found.history])
    np.savez(f"{result}-{os.environ.get('RANK', '0')}.npz", history=history, best=found.best, **weights)


if __name__ == "__main__":
    options = dict(each.split("=") for each in sys.argv[3:])
    run(Path(sys.argv[1]), Path(sys.argv[2]), **{name: json.loads(value) for name, value in options.items()})

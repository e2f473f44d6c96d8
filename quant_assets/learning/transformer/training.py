"""The two trainings of the stock Transformer for `learning.deep`: units, losses and initial weights.

The choice of rows is made elsewhere.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quant_assets.errors import SettingsError
from quant_assets.learning.deep.fit import Fitted, fit
from quant_assets.learning.deep.module import DeepModule
from quant_assets.learning.deep.settings import WITHOUT_EFFECT, DeepParameters
from quant_assets.learning.deep.training_context import state_folder
from quant_assets.learning.deep.units import Indices
from quant_assets.learning.transformer.losses import (
    UNKNOWN,
    average_price,
    fine_tuning_losses,
    masked,
    pretraining_loss,
)
from quant_assets.learning.transformer.network import TransformerStockPrediction
from quant_assets.learning.transformer.parameters import Encoder, Parameters, Pretraining
from quant_assets.learning.transformer.published import Architecture, load
from quant_assets.learning.transformer.windows import WindowTensor
from quant_assets.market.panel import FloatArray

#: Parts of a state dict that fine-tuning does not reuse: the heads.
_HEADS = ("fc.", "pretrain_outlayers.")


class Sessions:
    """Units of fine-tuning: a session with all its names, for the ranking loss.

    Args:
        tensor: tensor of the windows.
        positions: positions of the rows in it, shape (n_rows,).
        dates: session of each row, datetime64[D].
        targets: float64 of shape (n_rows, n_horizons).

    """

    def __init__(
        self, tensor: WindowTensor, positions: Tensor, dates: NDArray[np.datetime64], targets: FloatArray
    ) -> None:
        order = np.argsort(dates, kind="stable")
        tensor.check(positions)
        self._tensor = tensor.to(_device())
        self._positions = positions[torch.from_numpy(order)].to(_device())
        self._targets = torch.from_numpy(np.ascontiguousarray(targets[order], dtype=np.float32)).to(_device())
        _, self._starts, self._counts = np.unique(dates[order], return_index=True, return_counts=True)

    def __len__(self) -> int:
        return len(self._starts)

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Windows and targets of all names of the sessions, and their layout as a padded matrix.

        Returns:
            Windows and targets of n names, their flat indices in the matrix (n_sessions, most names), and the mask of
            the used cells of the matrix.

        """
        counts = self._counts[indices]
        there = np.arange(counts.max()) < counts[:, None]
        # The names of a session are consecutive, so they fill the start of its row.
        rows = (self._starts[indices][:, None] + np.arange(counts.max()))[there]
        device = self._positions.device
        at = torch.from_numpy(rows).to(device)
        return (
            self._tensor.taken(self._positions[at]),
            self._targets[at],
            torch.from_numpy(np.flatnonzero(there)).to(device),
            torch.from_numpy(there).to(device),
        )

    def digest(self) -> bytes:
        """Digest of all data of the batches."""
        tensors = self._tensor.store, self._tensor.scale, self._positions, self._targets
        return _digest(tensor.cpu().numpy() for tensor in tensors) + _digest([self._starts])


class Windows:
    """Units of pre-training: a window with the classes of its name and sector.

    Args:
        tensor: tensor of the windows.
        positions: positions of the windows, shape (n_windows,).
        stocks: class of each name of the tensor's panel, int64.
        sectors: class of the sector of each name, int64.

    """

    def __init__(self, tensor: WindowTensor, positions: Tensor, stocks: Indices, sectors: Indices) -> None:
        tensor.check(positions)
        self._tensor, self._positions = tensor.to(_device()), positions.to(_device())
        names = tensor.ticker_of(positions)
        self._stocks = torch.from_numpy(stocks)[names].to(_device())
        self._sectors = torch.from_numpy(sectors)[names].to(_device())
        # Over all windows, not those of a batch: a step must not depend on the number of processes.
        self._scale = [
            len(names) / max(1, int((classes != UNKNOWN).sum())) for classes in (self._stocks, self._sectors)
        ]

    def __len__(self) -> int:
        return len(self._positions)

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Windows, the classes of their names and sectors, and the weights of their losses, shape (n, 2).

        A weight is the number of all windows over that of windows with a known class, so that a mean over all windows
        is the mean over the known ones.
        """
        at = torch.from_numpy(indices).to(self._positions.device)
        weights = torch.tensor(self._scale, dtype=torch.float32).expand(len(indices), 2)
        return self._tensor.taken(self._positions[at]), self._stocks[at], self._sectors[at], weights

    def digest(self) -> bytes:
        """Digest of all data of the batches."""
        tensors = self._tensor.store, self._tensor.scale, self._positions, self._stocks, self._sectors
        return _digest(tensor.cpu().numpy() for tensor in tensors)


class FineTuning(DeepModule):
    """Squared error and ranking loss of the returns of a session."""

    def __init__(self, network: TransformerStockPrediction, alpha: float) -> None:
        super().__init__()
        self.network, self._alpha = network, alpha

    def losses(self, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Losses of the sessions."""
        windows, targets, places, there = batch

        def side_by_side(values: Tensor) -> Tensor:
            spread = values.new_zeros((there.numel(), values.shape[1])).index_copy(0, places, values)
            return spread.view(*there.shape, -1)

        return fine_tuning_losses(side_by_side(self.network(windows)), side_by_side(targets), there, self._alpha)


class PreTraining(DeepModule):
    """The weighted tasks of the pre-training."""

    def __init__(self, network: TransformerStockPrediction, settings: Pretraining) -> None:
        super().__init__()
        self.network, self._settings = network, settings

    def losses(self, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Losses of the windows."""
        windows, stocks, sectors, counted = batch
        labels = {"stock": stocks, "sector": sectors, "mask_avg_price": average_price(windows)}
        heads, hidden = {*self.network.pretrain_outlayers}, None
        if "mask_avg_price" in heads:
            hidden = masked(windows, self.drawn(*windows.shape[1:]), self._settings.mask_rate)
        outputs = self.network.pretraining_outputs(windows, hidden)
        scale: dict[str, float | Tensor] = {"stock": counted[:, 0], "sector": counted[:, 1], "mask_avg_price": 1.0}
        weights: dict[str, float | Tensor] = {
            name: weight * scale[name] for name, weight in self._settings.weights.items()
        }
        return pretraining_loss(outputs, {name: labels[name] for name in outputs}, weights)


def fine_tune(
    training: Sessions,
    validation: Sessions,
    parameters: DeepParameters,
    architecture: Architecture,
    alpha: float,
    encoder: Encoder | None,
    seed: int,
    said: str,
) -> Fitted[FineTuning]:
    """Fit a network to returns, from an encoder or from scratch.

    Raises:
        SettingsError: the encoder's architecture differs from the parameters.
        ModelFileError: the encoder's file does not match its manifest.

    """
    initial = None if encoder is None else _encoder(encoder, architecture)

    def build() -> FineTuning:
        network = TransformerStockPrediction(**architecture.model_dump())
        if initial is not None:
            weights = network.state_dict()
            reused = {name: value for name, value in initial.items() if not name.startswith(_HEADS)}
            network.load_state_dict(weights | reused, strict=True)
        return FineTuning(network, alpha)

    data = [training.digest(), validation.digest(), encoder.manifest.sha256.encode() if encoder else b""]
    with state_folder(_of(parameters, architecture, seed, alpha, data)) as folder:
        return fit(build, training, validation, parameters, seed, folder, said)


def pre_train(
    training: Windows,
    validation: Windows,
    parameters: Parameters,
    architecture: Architecture,
    seed: int,
    said: str,
) -> Fitted[PreTraining]:
    """Fit a network to the tasks with heads in its architecture."""
    settings = parameters.pretraining
    own = parameters.model_copy(update={"max_epochs": settings.max_epochs, "batch_units": settings.batch_units})

    def build() -> PreTraining:
        network = TransformerStockPrediction(**architecture.model_dump())
        network.fc.requires_grad_(False)  # no task uses it, which is an error with several processes
        return PreTraining(network, settings)

    with state_folder(_of(own, architecture, seed, 0.0, [training.digest(), validation.digest()])) as folder:
        return fit(build, training, validation, own, seed, folder, said)


def _encoder(encoder: Encoder, architecture: Architecture) -> dict[str, Tensor]:
    """The weights of an encoder with the architecture of the network."""
    ignored = {"num_class", "dropout", "pretrain_classes"}
    own, its = (shape.model_dump(exclude=ignored) for shape in (architecture, encoder.manifest.architecture))
    if other := [name for name in own if own[name] != its[name]]:
        raise SettingsError(
            f"encoder {encoder.manifest.version} has {', '.join(f'{name} {its[name]}' for name in other)}, the model's "
            f"parameters say {', '.join(str(own[name]) for name in other)}: set the encoder's values"
        )
    return load(Path(encoder.path).expanduser(), encoder.manifest).state_dict()


def _of(parameters: DeepParameters, architecture: Architecture, seed: int, alpha: float, data: list[bytes]) -> str:
    """Digest of all inputs of a training: the name of the folder of its states."""
    plain: dict[str, Any] = parameters.model_dump(mode="json", exclude={*WITHOUT_EFFECT, "encoder"})
    plain |= {"architecture": architecture.model_dump(mode="json"), "seed": seed, "alpha": alpha}
    plain |= {"torch": torch.__version__, "processes": os.environ.get("WORLD_SIZE", "1")}
    whole = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for part in data:
        whole.update(part)
    return whole.hexdigest()[:24]


def _digest(arrays: Any) -> bytes:
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(np.ascontiguousarray(array).view(np.uint8).data)
    return whole.digest()


def _device() -> torch.device:
    """Device of the windows: that of this process, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")

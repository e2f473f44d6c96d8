"""The two trainings of the stock Transformer for `learning.deep`: their units, losses, and what they begin from.

Which rows there are, and when, is not decided here.
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
from quant_assets.learning.deep.place import states_of
from quant_assets.learning.deep.settings import WITHOUT_EFFECT, DeepParameters
from quant_assets.learning.deep.units import Indices
from quant_assets.learning.models.transformer import Encoder, Parameters, Pretraining
from quant_assets.learning.transformer.losses import (
    UNKNOWN,
    average_price,
    fine_tuning_losses,
    masked,
    pretraining_loss,
)
from quant_assets.learning.transformer.network import TransformerStockPrediction
from quant_assets.learning.transformer.published import Architecture, load
from quant_assets.learning.transformer.windows import WindowTensor
from quant_assets.market.panel import FloatArray

#: Parts of a state dict that a fine-tuning does not take over: the heads.
_HEADS = ("fc.", "pretrain_outlayers.")


class Sessions:
    """Units of a fine-tuning: a session with all its names, so that they are ranked against each other.

    Args:
        tensor: of the windows.
        positions: of the rows in it, shape (n_rows,).
        dates: of each row, datetime64[D].
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
        """Windows and targets of the sessions' names, one after another, and how they stand side by side.

        Returns:
            Windows and targets of n names, the place of each in (n_sessions, most names), row by row, and which of
            these places are taken.

        """
        counts = self._counts[indices]
        there = np.arange(counts.max()) < counts[:, None]
        # The names of a session follow each other, so its first ones fill its row of places.
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
        """Of all that a batch follows from."""
        kept = self._tensor.store, self._tensor.scale, self._positions, self._targets
        return _digest(each.cpu().numpy() for each in kept) + _digest([self._starts])


class Windows:
    """Units of a pre-training: a window with the classes of its name and sector.

    Args:
        tensor: of the windows.
        positions: shape (n_windows,).
        stocks: class of each name of the tensor's panel, int64.
        sectors: likewise.

    """

    def __init__(self, tensor: WindowTensor, positions: Tensor, stocks: Indices, sectors: Indices) -> None:
        tensor.check(positions)
        self._tensor, self._positions = tensor.to(_device()), positions.to(_device())
        names = tensor.ticker_of(positions)
        self._stocks = torch.from_numpy(stocks)[names].to(_device())
        self._sectors = torch.from_numpy(sectors)[names].to(_device())
        # Of all windows and not of a batch's: a step is the same however many processes have a share of it.
        self._scale = [len(names) / max(1, int((each != UNKNOWN).sum())) for each in (self._stocks, self._sectors)]

    def __len__(self) -> int:
        return len(self._positions)

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Windows, the classes of their names and sectors, and what a loss of these counts, shape (n, 2).

        That is all windows / those whose class is known, so that a mean over windows is one over the known ones.
        """
        at = torch.from_numpy(indices).to(self._positions.device)
        counted = torch.tensor(self._scale, dtype=torch.float32).expand(len(indices), 2)
        return self._tensor.taken(self._positions[at]), self._stocks[at], self._sectors[at], counted

    def digest(self) -> bytes:
        """Of all that a batch follows from."""
        kept = self._tensor.store, self._tensor.scale, self._positions, self._stocks, self._sectors
        return _digest(each.cpu().numpy() for each in kept)


class FineTuning(DeepModule):
    """Squared error and ranking loss of a session's returns."""

    def __init__(self, network: TransformerStockPrediction, alpha: float) -> None:
        super().__init__()
        self.network, self._alpha = network, alpha

    def losses(self, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """One for each session."""
        windows, targets, places, there = batch

        def side_by_side(values: Tensor) -> Tensor:
            spread = values.new_zeros((there.numel(), values.shape[1])).index_copy(0, places, values)
            return spread.view(*there.shape, -1)

        return fine_tuning_losses(side_by_side(self.network(windows)), side_by_side(targets), there, self._alpha)


class PreTraining(DeepModule):
    """The tasks of the pre-training, each with its weight."""

    def __init__(self, network: TransformerStockPrediction, told: Pretraining) -> None:
        super().__init__()
        self.network, self._told = network, told

    def losses(self, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """One for each window."""
        windows, stocks, sectors, counted = batch
        labels = {"stock": stocks, "sector": sectors, "mask_avg_price": average_price(windows)}
        heads, hidden = {*self.network.pretrain_outlayers}, None
        if "mask_avg_price" in heads:
            hidden = masked(windows, self.drawn(*windows.shape[1:]), self._told.mask_rate)
        outputs = self.network.pretraining_outputs(windows, hidden)
        scale: dict[str, float | Tensor] = {"stock": counted[:, 0], "sector": counted[:, 1], "mask_avg_price": 1.0}
        weights: dict[str, float | Tensor] = {name: weight * scale[name] for name, weight in self._told.weights.items()}
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
        SettingsError: the encoder has another shape than the parameters say.
        ModelFileError: its file is not the one of its manifest.

    """
    begun = None if encoder is None else _encoder(encoder, architecture)

    def build() -> FineTuning:
        network = TransformerStockPrediction(**architecture.model_dump())
        if begun is not None:
            own = network.state_dict()
            taken = {name: each for name, each in begun.items() if not name.startswith(_HEADS)}
            network.load_state_dict(own | taken, strict=True)
        return FineTuning(network, alpha)

    told = [training.digest(), validation.digest(), encoder.manifest.sha256.encode() if encoder else b""]
    with states_of(_of(parameters, architecture, seed, alpha, told)) as folder:
        return fit(build, training, validation, parameters, seed, folder, said)


def pre_train(
    training: Windows,
    validation: Windows,
    parameters: Parameters,
    architecture: Architecture,
    seed: int,
    said: str,
) -> Fitted[PreTraining]:
    """Fit a network to the tasks whose heads its architecture names."""
    told = parameters.pretraining
    own = parameters.model_copy(update={"max_epochs": told.max_epochs, "batch_units": told.batch_units})

    def build() -> PreTraining:
        network = TransformerStockPrediction(**architecture.model_dump())
        network.fc.requires_grad_(False)  # no task has a part in it, which several processes do not put up with
        return PreTraining(network, told)

    with states_of(_of(own, architecture, seed, 0.0, [training.digest(), validation.digest()])) as folder:
        return fit(build, training, validation, own, seed, folder, said)


def _encoder(encoder: Encoder, architecture: Architecture) -> dict[str, Tensor]:
    """The weights of an encoder, if it has the shape of the network."""
    apart = {"num_class", "dropout", "pretrain_classes"}
    own, its = (each.model_dump(exclude=apart) for each in (architecture, encoder.manifest.architecture))
    if other := [name for name in own if own[name] != its[name]]:
        raise SettingsError(
            f"encoder {encoder.manifest.version} has {', '.join(f'{name} {its[name]}' for name in other)}, the model's "
            f"parameters say {', '.join(str(own[name]) for name in other)}: set them as the encoder has them"
        )
    return load(Path(encoder.path).expanduser(), encoder.manifest).state_dict()


def _of(parameters: DeepParameters, architecture: Architecture, seed: int, alpha: float, told: list[bytes]) -> str:
    """Digest of all that a training follows from: the name of the folder of its states."""
    plain: dict[str, Any] = parameters.model_dump(mode="json", exclude={*WITHOUT_EFFECT, "encoder"})
    plain |= {"architecture": architecture.model_dump(mode="json"), "seed": seed, "alpha": alpha}
    plain |= {"torch": torch.__version__, "processes": os.environ.get("WORLD_SIZE", "1")}
    whole = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for each in told:
        whole.update(each)
    return whole.hexdigest()[:24]


def _digest(arrays: Any) -> bytes:
    whole = hashlib.sha256()
    for each in arrays:
        whole.update(np.ascontiguousarray(each).view(np.uint8).data)
    return whole.digest()


def _device() -> torch.device:
    """Where windows are gathered: the device of this process, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")

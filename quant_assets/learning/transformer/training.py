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
from quant_assets.learning.transformer.losses import average_price, fine_tuning_loss, masked, pretraining_loss
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
        self._tensor = tensor.to(_device())
        self._positions = positions[torch.from_numpy(order)].to(_device())
        self._targets = torch.from_numpy(np.ascontiguousarray(targets[order], dtype=np.float32)).to(_device())
        _, self._starts, self._counts = np.unique(dates[order], return_index=True, return_counts=True)

    def __len__(self) -> int:
        return len(self._starts)

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor, Tensor]:
        """Windows and targets of the sessions' names, and how many names each session has."""
        rows = np.concatenate([np.arange(self._starts[at], self._starts[at] + self._counts[at]) for at in indices])
        at = torch.from_numpy(rows).to(self._positions.device)
        return (
            self._tensor.gather(self._positions[at]),
            self._targets[at],
            torch.from_numpy(self._counts[indices].astype(np.int64)),
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
        self._tensor, self._positions = tensor.to(_device()), positions.to(_device())
        names = tensor.ticker_of(positions)
        self._stocks = torch.from_numpy(stocks)[names].to(_device())
        self._sectors = torch.from_numpy(sectors)[names].to(_device())

    def __len__(self) -> int:
        return len(self._positions)

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor, Tensor]:
        """Windows, and the classes of their names and sectors."""
        at = torch.from_numpy(indices).to(self._positions.device)
        return self._tensor.gather(self._positions[at]), self._stocks[at], self._sectors[at]

    def digest(self) -> bytes:
        """Of all that a batch follows from."""
        kept = self._tensor.store, self._tensor.scale, self._positions, self._stocks, self._sectors
        return _digest(each.cpu().numpy() for each in kept)


class FineTuning(DeepModule):
    """Squared error and ranking loss of a session's returns."""

    def __init__(self, network: TransformerStockPrediction, alpha: float) -> None:
        super().__init__()
        self.network, self._alpha = network, alpha

    def losses(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """One for each session."""
        windows, targets, counts = batch
        sizes = counts.tolist()
        forecasts, wanted = torch.split(self.network(windows), sizes), torch.split(targets, sizes)
        return torch.stack(
            [
                fine_tuning_loss(said, was, torch.zeros(len(was), dtype=torch.int64, device=was.device), self._alpha)
                for said, was in zip(forecasts, wanted, strict=True)
            ]
        )


class PreTraining(DeepModule):
    """The tasks of the pre-training, each with its weight."""

    def __init__(self, network: TransformerStockPrediction, told: Pretraining) -> None:
        super().__init__()
        self.network, self._told = network, told

    def losses(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The mean over the batch, for each window."""
        windows, stocks, sectors = batch
        labels = {"stock": stocks, "sector": sectors, "mask_avg_price": average_price(windows)}
        heads = {*self.network.pretrain_outlayers}
        hidden = (
            masked(windows, _generator(windows.device), self._told.mask_rate) if "mask_avg_price" in heads else None
        )
        outputs = self.network.pretraining_outputs(windows, hidden)
        of_tasks = {name: label for name, label in labels.items() if name in heads}
        return pretraining_loss(outputs, of_tasks, self._told.weights).expand(len(windows))


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


def _generator(device: torch.device) -> torch.Generator:
    """Torch's default generator of a device, which every epoch is seeded for."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator

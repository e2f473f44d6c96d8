"""The stock Transformer: reads windows of bars, pre-trained on the whole market or a published encoder, all horizons.

Torch and Lightning take seconds to import, so only the functions that run them do. The network is in
`learning.transformer`, how it is trained in `learning.deep`.

References:
    Wang et al. (2025), Pre-training Time Series Models with Stock Data Customization, KDD.

"""

from __future__ import annotations

import json
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quant_assets.errors import DatasetError, HistoryError, SettingsError
from quant_assets.learning.deep.settings import WITHOUT_EFFECT
from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.learning.transformer.inputs import COLUMNS, Normalisation
from quant_assets.learning.transformer.parameters import Encoder, Parameters
from quant_assets.learning.transformer.published import Architecture
from quant_assets.schemas import TRANSFORMER_CHECKPOINTS
from quant_assets.settings.group import SettingsGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from torch import Tensor

    from quant_assets.learning.bars import Bars
    from quant_assets.learning.splits import BoolArray
    from quant_assets.learning.transformer.network import TransformerStockPrediction
    from quant_assets.learning.transformer.windows import WindowTensor
    from quant_assets.market.panel import FloatArray, Panel

_WEIGHTS, _ABOUT = "weights.safetensors", "transformer.json"

#: Windows of one step of a forecast; constant, so that a row's forecast does not depend on the number of rows.
_AT_ONCE = 32

#: Windows of one step of `compared`.
_COMPARED_AT_ONCE = 4096


class About(SettingsGroup):
    """Description of a fine-tuned network, stored with its weights.

    Attributes:
        horizons: horizons of its outputs in sessions, in order.
        architecture: architecture of the network.
        maximum_sessions: length of a window's running maximum in sessions.
        normalisation: normalisation of its windows.
        centre: mean of each horizon's training targets.
        scale: their standard deviation.
        trained_from: first session of a training row.
        trained_through: last session that it knows; it forecasts only later sessions.
        encoder: version of its encoder and the last session that the encoder knows; None from scratch.
        epochs: number of epochs.
        best_epoch: the epoch of these weights, from 1.
        validation_loss: validation loss of that epoch.

    """

    stage: str = "fine_tuned"
    horizons: tuple[int, ...]
    architecture: Architecture
    maximum_sessions: int
    normalisation: Normalisation = "running_maximum"
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    trained_from: date
    trained_through: date
    encoder: tuple[str, date] | None = None
    epochs: int
    best_epoch: int
    validation_loss: float


def refuse_without_torch(said: str) -> None:
    """Check for the packages of the extra `deep` before they are imported.

    Args:
        said: the model or kind that needs them, for the message.

    Raises:
        SettingsError: a package is not installed; names it.

    """
    missing = [name for name in ("torch", "lightning", "safetensors") if find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"{said} needs {', '.join(missing)}, which is not installed: pip install 'quant-assets[deep]', or take the "
            "model out of models"
        )


class FineTuned(FittedModel):
    """A network fitted to returns, and its description."""

    features = ()

    def __init__(self, network: TransformerStockPrediction, about: About) -> None:
        self.network, self.about = network.eval(), about
        self.horizons = about.horizons
        self.bar_sessions = Parameters(
            days=about.architecture.days, maximum_sessions=about.maximum_sessions
        ).bar_sessions

    def usable(self, rows: Rows) -> BoolArray:
        """Rows with a full window (`windows.WindowTensor`) without an unexplained price step."""
        return np.asarray((_positions(rows, self._tensor(rows)) >= 0).numpy())

    def _predict(self, rows: Rows) -> Distribution:
        import torch

        first = rows.dates.min().item()
        if first <= self.about.trained_through:
            raise HistoryError(
                f"{self.origin}: a forecast of {first} is not allowed, because the network knows sessions through "
                f"{self.about.trained_through}; forecast a later session"
            )
        tensor, threads = self._tensor(rows), torch.get_num_threads()
        positions = _positions(rows, tensor)
        if bool((positions < 0).any()):
            at = int((positions < 0).nonzero()[0])
            raise DatasetError(
                f"{self.origin}: {rows.tickers[at]} has no window of {tensor.days} sessions up to {rows.dates[at]}; "
                "leave out the rows that are not usable"
            )
        outputs = np.empty((len(rows), len(self.horizons)))
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                for at in range(0, len(positions), _AT_ONCE):
                    batch = positions[at : at + _AT_ONCE]
                    padded = torch.cat([batch, batch[-1:].expand(_AT_ONCE - len(batch))])
                    outputs[at : at + len(batch)] = self.network(tensor.taken(padded))[: len(batch)].double().numpy()
        finally:
            torch.set_num_threads(threads)
        return Distribution(np.array(self.about.centre) + outputs * np.array(self.about.scale))

    def _tensor(self, rows: Rows) -> WindowTensor:
        return _tensor(rows, self.about.architecture.days, self.about.maximum_sessions)

    def save(self, folder: Path) -> None:
        """The weights as safetensors, and their description as JSON."""
        from safetensors.torch import save_file

        # Sorted, so that the same weights are the same bytes.
        weights = {name: tensor.contiguous() for name, tensor in sorted(self.network.state_dict().items())}
        save_file(weights, folder / _WEIGHTS)
        (folder / _ABOUT).write_text(self.about.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def description(self) -> dict[str, Any]:
        """Stage, span, normalisation, target and details of the fit."""
        description: dict[str, Any] = self.about.model_dump(mode="json")
        return description | {"target": [f"forward_return_{horizon}" for horizon in self.horizons]}


class Transformer(Learner[Parameters]):
    """The network with squared and ranking loss over all horizons at once, with early stopping."""

    kind = "transformer"
    file_format = "safetensors and JSON"
    missing = "filled"
    exact = False
    all_horizons = True
    distributed = True
    on_device = True
    libraries = ("torch", "lightning", "safetensors")
    without_effect = WITHOUT_EFFECT
    checkpoints = TRANSFORMER_CHECKPOINTS.name
    parameters_type = Parameters

    @property
    def bar_sessions(self) -> int:
        """The sessions of its windows and of their running maxima."""
        return self.parameters.bar_sessions

    @property
    def pretraining_cadence(self) -> int:
        """The setting; 0 if it has its own encoder."""
        return 0 if self.parameters.encoder else self.parameters.pretraining.cadence_months

    def inputs(self, features: Sequence[str]) -> tuple[str, ...]:
        """Empty: it reads bars."""
        return ()

    def usable(self, rows: Rows) -> BoolArray:
        """Rows with a full window without an unexplained price step."""
        return np.asarray((_positions(rows, self._tensor(rows)) >= 0).numpy())

    def compared_names(self, features: Sequence[str]) -> tuple[str, ...]:
        """The columns of a window's last day."""
        return COLUMNS

    def compared(self, frame: pl.DataFrame, names: Sequence[str], bars: Bars | None) -> FloatArray:
        """The last day of each row's window, as the network gets it; NaN without a window."""
        rows = Rows.of(frame, (), bars=bars)
        tensor = self._tensor(rows)
        positions = _positions(rows, tensor)
        usable = positions >= 0
        last_days = np.full((len(rows), len(COLUMNS)), np.nan)
        for part in np.array_split(np.flatnonzero(usable.numpy()), len(rows) // _COMPARED_AT_ONCE + 1):
            last_days[part] = tensor.taken(positions[part])[:, -1].double().numpy()
        return last_days[:, [COLUMNS.index(name) for name in names]]

    def unknowing(self, since: date) -> Transformer:
        """Itself, without an encoder that knows that session or later ones."""
        encoder = self.parameters.encoder
        return self if encoder is None or encoder.manifest.trained_through < since else self.beginning_from(None)

    def beginning_from(self, encoder: Encoder | None) -> Transformer:
        """A copy with another encoder, or from scratch."""
        parameters = self.parameters.model_dump() | {"encoder": None if encoder is None else encoder.model_dump()}
        return Transformer(self.name, parameters, self.task)

    def recorded(self) -> dict[str, Any]:
        """Its parameters, without the path of the encoder."""
        parameters = super().recorded()
        if parameters["encoder"]:
            del parameters["encoder"]["path"]
        return parameters

    def _fit(self, rows: Rows, validation: Rows, seed: int) -> FineTuned:
        refuse_without_torch("kind transformer")
        from quant_assets.learning.transformer import training

        settings, known = self.parameters, _last_known(rows, validation)
        architecture = settings.architecture(len(rows.horizons))
        tensor = self._tensor(rows).for_training()
        centre, scale = rows.targets.mean(axis=0), rows.targets.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        trained, validated = (
            training.Sessions(own, _positions(part, own), part.dates, (part.targets - centre) / scale)
            for part, own in ((rows, tensor), (validation, self._tensor(validation).for_training()))
        )
        fitted = training.fine_tune(
            trained, validated, settings, architecture, settings.alpha, settings.encoder, seed, self.name
        )
        encoder = settings.encoder.manifest if settings.encoder else None
        about = About(
            horizons=rows.horizons,
            architecture=architecture,
            maximum_sessions=settings.maximum_sessions,
            normalisation=tensor.normalisation,
            centre=tuple(centre.tolist()),
            scale=tuple(scale.tolist()),
            trained_from=rows.dates.min().item(),
            trained_through=max(known, encoder.trained_through) if encoder else known,
            encoder=(encoder.version, encoder.trained_through) if encoder else None,
            epochs=len(fitted.history),
            best_epoch=fitted.best + 1,
            validation_loss=fitted.history[fitted.best].validation,
        )
        return FineTuned(fitted.module.network, about)

    def load(self, folder: Path, horizons: tuple[int, ...]) -> FineTuned:
        """The network of the files; every tensor must match."""
        refuse_without_torch(self.said)
        from safetensors.torch import load_file

        from quant_assets.learning.transformer.network import TransformerStockPrediction

        about = About.model_validate(json.loads((folder / _ABOUT).read_text(encoding="utf-8")))
        if about.stage != "fine_tuned" or about.horizons != horizons:
            raise DatasetError(
                f"{self.said}: {_ABOUT} is of stage {about.stage} for horizons {about.horizons}, not of stage "
                f"fine_tuned for {horizons}: train it again"
            )
        network = TransformerStockPrediction(**about.architecture.model_dump())
        network.load_state_dict(load_file(folder / _WEIGHTS), strict=True)
        return FineTuned(network, about)

    def _tensor(self, rows: Rows) -> WindowTensor:
        return _tensor(rows, self.parameters.days, self.parameters.maximum_sessions)


def _tensor(rows: Rows, days: int, maximum_sessions: int) -> WindowTensor:
    """The windows of the rows' bars, cached with the bars."""
    refuse_without_torch("kind transformer")
    if rows.bars is None:
        raise DatasetError("the stock Transformer reads windows of bars, but the rows have no bars; pass Rows.bars")

    def make(panel: Panel) -> WindowTensor:
        from quant_assets.learning.transformer.windows import WindowTensor

        return WindowTensor.of(
            panel, maximum_sessions=maximum_sessions, days=days, unexplained=panel["unexplained"] == 1.0
        )

    return rows.bars.once(("transformer", days, maximum_sessions), make)


def _last_known(*parts: Rows) -> date:
    """The last session at which a target became known; for a delisted name it may be later than the horizon."""
    if any(rows.known_at is None for rows in parts):
        raise DatasetError(
            "the stock Transformer needs the sessions at which the targets of its training rows became known; pass "
            "Rows.known_at"
        )
    latest: date = max(rows.known_at.max() for rows in parts if rows.known_at is not None).item()
    return latest


def _positions(rows: Rows, tensor: WindowTensor) -> Tensor:
    return tensor.index(rows.dates, rows.tickers)


LEARNER = Transformer

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
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, NonNegativeFloat, model_validator

from quant_assets.errors import DatasetError, HistoryError, SettingsError
from quant_assets.learning.deep.settings import WITHOUT_EFFECT, DeepParameters
from quant_assets.learning.models.base import FittedModel, Learner
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.learning.transformer.inputs import COLUMNS, LOOKBACK, Normalisation
from quant_assets.learning.transformer.published import SSPT_NASDAQ, Architecture, Manifest
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

#: Windows of one step of a forecast. Always as many: what a row gives must not depend on how many are asked about.
_AT_ONCE = 32

#: Windows that are gathered at a time to compare their last days.
_COMPARED_AT_ONCE = 4096


class Encoder(SettingsGroup):
    """A pre-trained encoder to begin from.

    Attributes:
        path: of its file, a state dict.
        manifest: what it is; where null, that of the published encoder of 1,026 NASDAQ stocks.

    """

    path: str
    manifest: Manifest = SSPT_NASDAQ


class Pretraining(SettingsGroup):
    """The pre-training over the whole market, asset `transformer_pretrained`.

    Attributes:
        cadence_months: an encoder is trained each so many months, counted as `training.cadence_months` is; 0 none.
        window_months: months whose windows it is trained on.
        sample_every_sessions: sessions at which windows end, by their number in the calendar.
        max_epochs: at most so many passes.
        batch_units: windows of one step.
        mask_rate: share of the days of a window that are hidden for `mask_avg_price`.
        weights: of the tasks; one that is not named, or has 0, is left out.

    """

    cadence_months: int = Field(default=12, ge=0, le=12)
    window_months: int = Field(default=36, ge=6)
    sample_every_sessions: int = Field(default=5, ge=1)
    max_epochs: int = Field(default=20, ge=1)
    batch_units: int = Field(default=256, ge=2)
    mask_rate: float = Field(default=0.3, gt=0, lt=1)
    weights: dict[Literal["stock", "sector", "mask_avg_price"], NonNegativeFloat] = Field(
        default={"stock": 1.0, "sector": 1.0, "mask_avg_price": 1.0}
    )

    @model_validator(mode="after")
    def _has_a_task(self) -> Self:
        if not sum(self.weights.values()) > 0:
            raise ValueError("weights: no task has one above 0; give one, or set cadence_months 0 to pre-train nothing")
        return self


class Parameters(DeepParameters):
    """Shape of the network, its windows and losses, and how it is pre-trained.

    Attributes:
        hidden_size: width of the network.
        num_feat_att_layers: attention layers of the feature extractor.
        num_pre_att_layers: attention layers of the prediction block.
        num_heads: attention heads.
        days: sessions of a window.
        dropout: share of the residual branches that is dropped in training.
        maximum_sessions: sessions over which a window's running maximum looks back.
        alpha: weight of the pairwise ranking loss beside the squared error, both of returns in training deviations.
        encoder: to begin from instead of the market's own.
        pretraining: of the market's own.

    """

    hidden_size: int = Field(default=128, ge=1)
    num_feat_att_layers: int = Field(default=1, ge=0)
    num_pre_att_layers: int = Field(default=1, ge=0)
    num_heads: int = Field(default=4, ge=1)
    days: int = Field(default=32, ge=2)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    maximum_sessions: int = Field(default=252, ge=32)
    alpha: float = Field(default=1.0, ge=0)
    encoder: Encoder | None = None
    pretraining: Pretraining = Pretraining()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of num_heads {self.num_heads}")
        if self.maximum_sessions < self.days:
            raise ValueError(f"maximum_sessions {self.maximum_sessions} is shorter than a window, days {self.days}")
        return self

    @property
    def bar_sessions(self) -> int:
        """Sessions up to a window's last one that its values follow from."""
        return max(self.days - 1 + LOOKBACK, self.maximum_sessions - 1) + 1

    def architecture(self, outputs: int) -> Architecture:
        """The network, with so many values for each window."""
        names = "hidden_size", "num_feat_att_layers", "num_pre_att_layers", "num_heads", "days", "dropout"
        return Architecture(num_class=outputs, **{name: getattr(self, name) for name in names})


class About(SettingsGroup):
    """What a fine-tuned network is, beside its weights.

    Attributes:
        horizons: sessions ahead of its outputs, in order.
        architecture: of the network.
        maximum_sessions: over which a window's running maximum looks back.
        normalisation: of its windows.
        centre: mean of each horizon's training targets.
        scale: their standard deviation.
        trained_from: first session of a training row.
        trained_through: last session that it knows anything of; nothing up to it is forecast.
        encoder: version of what it began from, and the last session that knows; None from scratch.
        epochs: passes that were made.
        best_epoch: the one whose weights these are, from 1.
        validation_loss: of that one.

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
    """Say which group is missing, before an import does so in other words.

    Args:
        said: what needs it.

    Raises:
        SettingsError: something of the group `deep` is not installed; names it.

    """
    lacking = [name for name in ("torch", "lightning", "safetensors") if find_spec(name) is None]
    if lacking:
        raise SettingsError(
            f"{said} needs {', '.join(lacking)}, which is not installed: pip install 'quant-assets[deep]', or take the "
            "model out of models"
        )


class FineTuned(FittedModel):
    """A network that was fitted to returns, and what it is."""

    features = ()

    def __init__(self, network: TransformerStockPrediction, about: About) -> None:
        self.network, self.about = network.eval(), about
        self.horizons = about.horizons
        self.bar_sessions = Parameters(
            days=about.architecture.days, maximum_sessions=about.maximum_sessions
        ).bar_sessions

    def usable(self, rows: Rows) -> BoolArray:
        """Rows whose windows are there, see `windows.WindowTensor`, and hold no step that nothing explains."""
        return np.asarray((_positions(rows, self._tensor(rows)) >= 0).numpy())

    def _predict(self, rows: Rows) -> Distribution:
        import torch

        first = rows.dates.min().item()
        if first <= self.about.trained_through:
            raise HistoryError(
                f"{self.origin}: a forecast of {first} by a network that knows sessions through "
                f"{self.about.trained_through} would know its answer; forecast a later session"
            )
        tensor, threads = self._tensor(rows), torch.get_num_threads()
        positions = _positions(rows, tensor)
        if bool((positions < 0).any()):
            at = int((positions < 0).nonzero()[0])
            raise DatasetError(
                f"{self.origin}: {rows.tickers[at]} has no window of {tensor.days} sessions up to {rows.dates[at]}; "
                "ask only about rows that are usable"
            )
        found = np.empty((len(rows), len(self.horizons)))
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                for at in range(0, len(positions), _AT_ONCE):
                    some = positions[at : at + _AT_ONCE]
                    filled = torch.cat([some, some[-1:].expand(_AT_ONCE - len(some))])
                    found[at : at + len(some)] = self.network(tensor.taken(filled))[: len(some)].double().numpy()
        finally:
            torch.set_num_threads(threads)
        return Distribution(np.array(self.about.centre) + found * np.array(self.about.scale))

    def _tensor(self, rows: Rows) -> WindowTensor:
        return _tensor(rows, self.about.architecture.days, self.about.maximum_sessions)

    def save(self, folder: Path) -> None:
        """The weights as safetensors, and what they are as JSON."""
        from safetensors.torch import save_file

        # Sorted, so that the same weights are the same bytes.
        weights = {name: each.contiguous() for name, each in sorted(self.network.state_dict().items())}
        save_file(weights, folder / _WEIGHTS)
        (folder / _ABOUT).write_text(self.about.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def description(self) -> dict[str, Any]:
        """Stage, span, normalisation, target and how the fit went."""
        told: dict[str, Any] = self.about.model_dump(mode="json")
        return told | {"target": [f"forward_return_{horizon}" for horizon in self.horizons]}


class Transformer(Learner[Parameters]):
    """The network with squared and ranking loss over all horizons at once, stopped by the validation rows."""

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
        """Those of its windows and of the maxima that they are divided by."""
        return self.parameters.bar_sessions

    @property
    def pretraining_cadence(self) -> int:
        """That of the setting, unless it begins from an encoder of its own."""
        return 0 if self.parameters.encoder else self.parameters.pretraining.cadence_months

    def inputs(self, features: Sequence[str]) -> tuple[str, ...]:
        """None: it reads bars."""
        return ()

    def usable(self, rows: Rows) -> BoolArray:
        """Rows whose windows are there, and hold no step that nothing explains."""
        return np.asarray((_positions(rows, self._tensor(rows)) >= 0).numpy())

    def compared_names(self, features: Sequence[str]) -> tuple[str, ...]:
        """The columns of a window's last day."""
        return COLUMNS

    def compared(self, frame: pl.DataFrame, names: Sequence[str], bars: Bars | None) -> FloatArray:
        """The last day of each row's window, as the network gets it; NaN where there is no such window."""
        rows = Rows.of(frame, (), bars=bars)
        tensor = self._tensor(rows)
        positions = _positions(rows, tensor)
        there = positions >= 0
        found = np.full((len(rows), len(COLUMNS)), np.nan)
        for some in np.array_split(np.flatnonzero(there.numpy()), len(rows) // _COMPARED_AT_ONCE + 1):
            found[some] = tensor.taken(positions[some])[:, -1].double().numpy()
        return found[:, [COLUMNS.index(name) for name in names]]

    def unknowing(self, since: date) -> Transformer:
        """Without an encoder that knows a session from that one on."""
        encoder = self.parameters.encoder
        return self if encoder is None or encoder.manifest.trained_through < since else self.beginning_from(None)

    def beginning_from(self, encoder: Encoder | None) -> Transformer:
        """The same with another encoder, or from scratch."""
        told = self.parameters.model_dump() | {"encoder": None if encoder is None else encoder.model_dump()}
        return Transformer(self.name, told, self.task)

    def recorded(self) -> dict[str, Any]:
        """Its parameters, with what the encoder is and not where it lies."""
        found = super().recorded()
        if found["encoder"]:
            del found["encoder"]["path"]
        return found

    def _fit(self, rows: Rows, validation: Rows, seed: int) -> FineTuned:
        refuse_without_torch("kind transformer")
        from quant_assets.learning.transformer import training

        told, known = self.parameters, _last_known(rows, validation)
        tensor = self._tensor(rows).for_training()
        centre, scale = rows.targets.mean(axis=0), rows.targets.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        fed, held = (
            training.Sessions(own, _positions(each, own), each.dates, (each.targets - centre) / scale)
            for each, own in ((rows, tensor), (validation, self._tensor(validation).for_training()))
        )
        fitted = training.fine_tune(
            fed, held, told, told.architecture(len(rows.horizons)), told.alpha, told.encoder, seed, self.name
        )
        begun = told.encoder.manifest if told.encoder else None
        about = About(
            horizons=rows.horizons,
            architecture=told.architecture(len(rows.horizons)),
            maximum_sessions=told.maximum_sessions,
            normalisation=tensor.normalisation,
            centre=tuple(centre.tolist()),
            scale=tuple(scale.tolist()),
            trained_from=rows.dates.min().item(),
            trained_through=max(known, begun.trained_through) if begun else known,
            encoder=(begun.version, begun.trained_through) if begun else None,
            epochs=len(fitted.history),
            best_epoch=fitted.best + 1,
            validation_loss=fitted.history[fitted.best].validation,
        )
        return FineTuned(fitted.module.network, about)

    def load(self, folder: Path, horizons: tuple[int, ...]) -> FineTuned:
        """The network of the file, every tensor in its place."""
        refuse_without_torch(self.said)
        from safetensors.torch import load_file

        from quant_assets.learning.transformer.network import TransformerStockPrediction

        about = About.model_validate(json.loads((folder / _ABOUT).read_text(encoding="utf-8")))
        if about.stage != "fine_tuned" or about.horizons != horizons:
            raise DatasetError(
                f"{self.said}: {_ABOUT} is of stage {about.stage} for horizons {about.horizons}, {horizons} are asked "
                "for; only what was fine-tuned forecasts: train it again"
            )
        network = TransformerStockPrediction(**about.architecture.model_dump())
        network.load_state_dict(load_file(folder / _WEIGHTS), strict=True)
        return FineTuned(network, about)

    def _tensor(self, rows: Rows) -> WindowTensor:
        return _tensor(rows, self.parameters.days, self.parameters.maximum_sessions)


def _tensor(rows: Rows, days: int, maximum_sessions: int) -> WindowTensor:
    """The windows of the bars that rows lie in, made once for all of them."""
    refuse_without_torch("kind transformer")
    if rows.bars is None:
        raise DatasetError("the stock Transformer reads windows of bars, and these rows have none; pass Rows.bars")

    def make(panel: Panel) -> WindowTensor:
        from quant_assets.learning.transformer.windows import WindowTensor

        return WindowTensor.of(
            panel, maximum_sessions=maximum_sessions, days=days, unexplained=panel["unexplained"] == 1.0
        )

    return rows.bars.once(("transformer", days, maximum_sessions), make)


def _last_known(*parts: Rows) -> date:
    """The last session at which a target became known: a delisted name's may come later than its horizon."""
    if any(each.known_at is None for each in parts):
        raise DatasetError(
            "the stock Transformer forecasts nothing that it was trained on, and these rows do not tell when their "
            "targets became known; pass Rows.known_at"
        )
    found: date = max(each.known_at.max() for each in parts if each.known_at is not None).item()
    return found


def _positions(rows: Rows, tensor: WindowTensor) -> Tensor:
    return tensor.index(rows.dates, rows.tickers)


LEARNER = Transformer

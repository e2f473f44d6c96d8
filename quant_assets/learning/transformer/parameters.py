"""Settings of the stock Transformer: its network, windows and losses, its encoder and its pre-training."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, model_validator

from quant_assets.learning.deep.settings import DeepParameters
from quant_assets.learning.transformer.inputs import LOOKBACK
from quant_assets.learning.transformer.published import SSPT_NASDAQ, Architecture, Manifest
from quant_assets.settings.group import SettingsGroup


class Encoder(SettingsGroup):
    """A pre-trained encoder to start from.

    Attributes:
        path: path of its file, a state dict.
        manifest: its description; by default that of the published encoder of 1,026 NASDAQ stocks.

    """

    path: str
    manifest: Manifest = SSPT_NASDAQ


class Pretraining(SettingsGroup):
    """The pre-training over the whole market, asset `transformer_pretrained`.

    Attributes:
        cadence_months: months between pre-trainings, counted like `training.cadence_months`; 0 for none.
        window_months: months of its training windows.
        sample_every_sessions: interval between the last sessions of windows, by their number in the calendar.
        max_epochs: greatest number of epochs.
        batch_units: windows of one step.
        mask_rate: share of the days of a window that are hidden for `mask_avg_price`.
        weights: weights of the tasks; a task without one, or with 0, is left out.

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
            raise ValueError(
                "weights: no task has a weight above 0; set one, or set cadence_months 0 for no pre-training"
            )
        return self


class Parameters(DeepParameters):
    """Network, windows, losses and pre-training.

    Attributes:
        hidden_size: width of the network.
        num_feat_att_layers: attention layers of the feature extractor.
        num_pre_att_layers: attention layers of the prediction block.
        num_heads: attention heads.
        days: sessions of a window.
        dropout: dropout rate of the residual branches.
        maximum_sessions: length of a window's running maximum in sessions.
        alpha: weight of the pairwise ranking loss against the squared error, of returns in training deviations.
        encoder: encoder to start from instead of the pre-trained one of the market.
        pretraining: pre-training of the market's encoder.

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
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}")
        if self.maximum_sessions < self.days:
            raise ValueError(f"maximum_sessions {self.maximum_sessions} is shorter than a window, days {self.days}")
        return self

    @property
    def bar_sessions(self) -> int:
        """Length of the bars behind a window in sessions, its last one included."""
        return max(self.days - 1 + LOOKBACK, self.maximum_sessions - 1) + 1

    def architecture(self, outputs: int) -> Architecture:
        """The architecture with `outputs` values for each window."""
        names = "hidden_size", "num_feat_att_layers", "num_pre_att_layers", "num_heads", "days", "dropout"
        return Architecture(num_class=outputs, **{name: getattr(self, name) for name in names})

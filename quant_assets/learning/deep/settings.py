"""Training parameters shared by all deep kinds of model. No torch here."""

from typing import Literal

from pydantic import Field

from quant_assets.settings.group import SettingsGroup

#: Parameters that do not affect the fit. Threads and precision change its last bits, so they are not among them.
WITHOUT_EFFECT = frozenset({"checkpoint_mib"})


class DeepParameters(SettingsGroup):
    """Parameters of a training.

    Attributes:
        max_epochs: greatest number of epochs.
        patience: epochs without improvement of the validation loss before early stopping.
        min_improvement: least decrease of the validation loss that counts as an improvement.
        batch_units: units (windows, or sessions with all their names) of one step, over all processes together.
        learning_rate: peak rate, after the warm-up; it falls to 0 along a cosine over `max_epochs`.
        warm_up: share of all steps in which the rate rises from 0.
        weight_decay: weight decay of AdamW.
        clip: greatest norm of the gradient; 0 for no clipping.
        precision: `auto` is bf16 on devices that support it, else float32; on the CPU always float32.
        num_threads: threads of torch on the CPU, in each process.
        checkpoint_mib: greatest disk space of the states of one training in MiB.

    """

    max_epochs: int = Field(default=30, ge=1)
    patience: int = Field(default=10, ge=1)
    min_improvement: float = Field(default=0.0, ge=0)
    batch_units: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    weight_decay: float = Field(default=1e-2, ge=0)
    clip: float = Field(default=1.0, ge=0)
    precision: Literal["auto", "float32", "bf16"] = "auto"
    num_threads: int = Field(default=1, ge=1)
    checkpoint_mib: int = Field(default=2_048, ge=1)

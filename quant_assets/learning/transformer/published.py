"""Checkpoints of the stock Transformer: manifests, loading, and limits of their use.

A checkpoint is a plain torch state dict. Its SHA-256 is compared with the manifest before it is read, and only tensors
are unpickled.
"""

import io
import pickle
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from quant_assets.errors import HistoryError, ModelFileError
from quant_assets.learning.model_files import VERSION_LENGTH, sha256
from quant_assets.learning.transformer.inputs import COLUMNS, LOOK_AHEAD, Normalisation
from quant_assets.settings.group import SettingsGroup

if TYPE_CHECKING:
    from quant_assets.learning.transformer.network import TransformerStockPrediction

#: `encoder`: pre-trained, its head `fc` is an untrained initialisation; `fine_tuned`: its head was fitted to a target.
Stage = Literal["encoder", "fine_tuned"]


class Architecture(SettingsGroup):
    """Arguments of `TransformerStockPrediction`; a state dict does not show `num_heads`."""

    input_size: int = Field(len(COLUMNS), ge=1)
    num_class: int = Field(1, ge=1)
    hidden_size: int = Field(128, ge=1)
    num_feat_att_layers: int = Field(1, ge=0)
    num_pre_att_layers: int = Field(1, ge=0)
    num_heads: int = Field(4, ge=1)
    days: int = Field(32, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    pretrain_classes: dict[str, int] = Field(default_factory=dict)


class Manifest(SettingsGroup):
    """Description of a checkpoint.

    Attributes:
        stage: stage of its training.
        trained_from: first session of its training data.
        trained_through: last session of its training data: inputs, outcomes, or maxima of the normalisation.
        normalisation: normalisation of its windows.
        target: target of its head, such as `forward_return_1`; None for an encoder.
        architecture: architecture of the network.
        sha256: SHA-256 of the file.

    """

    stage: Stage
    trained_from: date
    trained_through: date
    normalisation: Normalisation = "running_maximum"
    target: str | None = None
    architecture: Architecture = Architecture()
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.trained_from > self.trained_through:
            raise ValueError(f"trained_from {self.trained_from} is after trained_through {self.trained_through}")
        if (self.stage == "fine_tuned") != (self.target is not None):
            raise ValueError("a target is required for stage fine_tuned and not allowed for an encoder")
        if self.stage == "fine_tuned" and self.normalisation in LOOK_AHEAD:
            raise ValueError(f"normalisation {self.normalisation} knows the future; only an encoder may have it")
        return self

    @property
    def version(self) -> str:
        """First characters of the SHA-256."""
        return self.sha256[:VERSION_LENGTH]


#: The published checkpoint `sspt_nasdaq_stock_tv_100.ckpt`: 100 epochs of stock codes over train and validation (2013
#: to 2016) of 1,026 NASDAQ stocks. Its inputs were divided by maxima of the whole sample, which it therefore knows.
SSPT_NASDAQ = Manifest(
    stage="encoder",
    trained_from=date(2012, 11, 19),
    trained_through=date(2017, 12, 11),
    normalisation="full_sample_maximum",
    architecture=Architecture(pretrain_classes={"stock": 1026, "sector": 112, "mask_avg_price": 1}),
    sha256="b86b6b4a8cb62081a71f87da161cddf505c758c1cd0a314a87795dcffdfaab83",
)


def load(path: Path, manifest: Manifest) -> "TransformerStockPrediction":
    """The network of a checkpoint, on the CPU, in evaluation mode; the tensors must match the network exactly.

    Args:
        path: path of a state dict that `torch.save` wrote.
        manifest: its manifest.

    Raises:
        ModelFileError: the file is missing, has another SHA-256, holds more than tensors, or has other names or shapes
            than the manifest's architecture.

    """
    if not path.is_file():
        raise ModelFileError(f"there is no checkpoint {path}; give the file that the manifest describes")
    content = path.read_bytes()
    if (digest := sha256(content)) != manifest.sha256:
        raise ModelFileError(
            f"checkpoint {path} has SHA-256 {digest[:VERSION_LENGTH]}…, its manifest says {manifest.version}…; "
            "nothing was read: get the file again, or correct the manifest"
        )
    import torch

    from quant_assets.learning.transformer.network import TransformerStockPrediction

    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ModelFileError(
            f"checkpoint {path} is not a plain state dict of tensors ({str(error).splitlines()[0][:120]}); save "
            "network.state_dict() with torch.save"
        ) from None
    network = TransformerStockPrediction(**manifest.architecture.model_dump())
    try:
        network.load_state_dict(state, strict=True)
    except (RuntimeError, TypeError) as error:
        details = " ".join(line.strip() for line in str(error).splitlines()[1:3]) or str(error)
        raise ModelFileError(
            f"checkpoint {path} does not fit the architecture of its manifest: {details[:300]}; correct the manifest"
        ) from None
    return network.eval()


def refuse_prediction(manifest: Manifest, as_of: date) -> None:
    """Refuse a forecast with an untrained head, or of a session in the training data.

    Args:
        manifest: manifest of the checkpoint.
        as_of: session of the forecast.

    Raises:
        ModelFileError: the checkpoint is an encoder.
        HistoryError: the session is in the training span or before it.

    """
    if manifest.stage == "encoder":
        raise ModelFileError(
            f"checkpoint {manifest.version} is a pre-trained encoder: its head is an untrained initialisation, so "
            "its forecasts would be noise; fine-tune it first"
        )
    if as_of <= manifest.trained_through:
        raise HistoryError(
            f"a forecast of {as_of} with checkpoint {manifest.version}, which was trained from {manifest.trained_from} "
            f"through {manifest.trained_through}, is not out of sample; forecast a later session, or use an older "
            "checkpoint"
        )

"""The network: a feature extractor and a prediction block of attention, with the names of the published state dict.

Only layers and their forward pass; inputs are in `inputs` and `windows`, losses in `losses`.

References:
    Wang et al. (2025), Pre-training Time Series Models with Stock Data Customization, KDD, section 4.
    Vaswani et al. (2017), Attention Is All You Need, NeurIPS, section 3.2.

"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention

from quant_assets.errors import DatasetError

#: The pre-training tasks; names of their heads in `pretrain_outlayers`.
TASKS = ("stock", "sector", "mask_avg_price")

#: Width of the hidden feed-forward layer relative to the network.
EXPANSION = 4


class SelfAttention(nn.Module):
    """Multi-head self-attention without a mask, with torch's fused kernel.

    Args:
        hidden_size: width, a multiple of `num_heads`.
        num_heads: heads of width `hidden_size / num_heads`.

    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise DatasetError(
                f"hidden_size {hidden_size} is not a multiple of num_heads {num_heads}; change one of them"
            )
        self.num_heads = num_heads
        self.fc_q = nn.Linear(hidden_size, hidden_size)
        self.fc_k = nn.Linear(hidden_size, hidden_size)
        self.fc_v = nn.Linear(hidden_size, hidden_size)
        self.fc_o = nn.Linear(hidden_size, hidden_size)

    def forward(self, values: Tensor) -> Tensor:
        """Shape (n, days, hidden_size) to the same."""
        query, key, value = (self._split(layer(values)) for layer in (self.fc_q, self.fc_k, self.fc_v))
        attended = scaled_dot_product_attention(query, key, value)
        joined: Tensor = self.fc_o(attended.transpose(1, 2).flatten(2))
        return joined

    def _split(self, values: Tensor) -> Tensor:
        """Shape (n, days, hidden_size) to (n, heads, days, hidden_size / heads)."""
        return values.view(len(values), values.shape[1], self.num_heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them, applied to each day separately."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, EXPANSION * hidden_size)
        self.fc2 = nn.Linear(EXPANSION * hidden_size, hidden_size)

    def forward(self, values: Tensor) -> Tensor:
        """Shape (n, days, hidden_size) to the same."""
        output: Tensor = self.fc2(relu(self.fc1(values)))
        return output


class AttentionBlock(nn.Module):
    """Residual layers of attention and feed-forward, with dropout and without normalisation."""

    def __init__(self, hidden_size: int, num_layers: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_layers = nn.ModuleList(SelfAttention(hidden_size, num_heads) for _ in range(num_layers))
        self.feedforward_layers = nn.ModuleList(FeedForward(hidden_size) for _ in range(num_layers))
        self.dropout = nn.Dropout(dropout)

    def layers(self, values: Tensor) -> Tensor:
        """Shape (n, days, hidden_size) to the same."""
        for attention, feed_forward in zip(self.attention_layers, self.feedforward_layers, strict=True):
            values = values + self.dropout(attention(values))
            values = values + self.dropout(feed_forward(values))
        return values


class FeatureExtractor(AttentionBlock):
    """Embedding of each day plus a learned position, then attention."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int, num_heads: int, days: int, dropout: float
    ) -> None:
        super().__init__(hidden_size, num_layers, num_heads, dropout)
        self.embedding = nn.Linear(input_size, hidden_size)
        self.positional_encoding = nn.Parameter(torch.randn(1, days, hidden_size))

    def forward(self, windows: Tensor) -> Tensor:
        """Shape (n, days, input_size) to (n, days, hidden_size)."""
        return self.layers(self.embedding(windows) + self.positional_encoding)


class TransformerStockPrediction(AttentionBlock):
    """One value for each stock from its window of days.

    Args:
        input_size: columns of a day, in the order of `inputs.COLUMNS`.
        num_class: values for each window: 1, or one for each horizon.
        hidden_size: width, a multiple of `num_heads`.
        num_feat_att_layers: attention layers of the feature extractor.
        num_pre_att_layers: attention layers of the prediction block.
        num_heads: attention heads; a state dict does not show them.
        days: sessions of a window.
        dropout: dropout rate of the residual branches.
        pretrain_classes: number of classes of the pre-training heads, by the names of `TASKS` (`mask_avg_price` has
            1); tasks that are not named have no head.

    Attributes:
        fc: the head of the forecasts.
        pretrain_outlayers: heads of the pre-training tasks.

    """

    def __init__(
        self,
        input_size: int = 25,
        num_class: int = 1,
        hidden_size: int = 128,
        num_feat_att_layers: int = 1,
        num_pre_att_layers: int = 1,
        num_heads: int = 4,
        days: int = 32,
        dropout: float = 0.1,
        pretrain_classes: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(hidden_size, num_pre_att_layers, num_heads, dropout)
        if unknown := sorted({*(pretrain_classes or {})} - {*TASKS}):
            raise DatasetError(f"there is no pre-training task '{unknown[0]}'; choose among {', '.join(TASKS)}")
        self.shape = (days, input_size)
        self.feature_extractor = FeatureExtractor(
            input_size, hidden_size, num_feat_att_layers, num_heads, days, dropout
        )
        self.fc = nn.Linear(hidden_size, num_class)
        self.pretrain_outlayers = nn.ModuleDict(
            {name: nn.Linear(hidden_size, count) for name, count in (pretrain_classes or {}).items()}
        )

    def encode(self, windows: Tensor) -> Tensor:
        """Input of the heads: shape (n, days, input_size) to (n, hidden_size), the mean over the days.

        Raises:
            DatasetError: the windows have another shape.

        """
        if windows.ndim != 3 or tuple(windows.shape[1:]) != self.shape:
            raise DatasetError(
                f"windows of shape {tuple(windows.shape)} for a network of (n, {self.shape[0]}, {self.shape[1]}): "
                "(windows, days, columns); set days and input_size to those of the data"
            )
        return self.layers(self.feature_extractor(windows)).mean(dim=1)

    def forward(self, windows: Tensor) -> Tensor:
        """Forecasts: shape (n, days, input_size) to (n, num_class)."""
        forecasts: Tensor = self.fc(self.encode(windows))
        return forecasts

    def pretraining_outputs(self, windows: Tensor, masked: Tensor | None = None) -> dict[str, Tensor]:
        """Outputs of all pre-training heads for the same windows.

        Args:
            windows: shape (n, days, input_size), for the classifications.
            masked: the same windows with values hidden (`losses.masked`), for `mask_avg_price`; needed with that head.

        Returns:
            By head: logits of shape (n, classes), for `mask_avg_price` values of shape (n,).

        Raises:
            DatasetError: no `masked` for `mask_avg_price`.

        """
        heads, outputs = self.pretrain_outlayers, {}
        classified = [name for name in heads if name != "mask_avg_price"]
        if classified:
            encoded = self.encode(windows)
            outputs = {name: heads[name](encoded) for name in classified}
        if "mask_avg_price" in heads:
            if masked is None:
                raise DatasetError("task mask_avg_price needs the windows with hidden values; pass masked")
            outputs["mask_avg_price"] = heads["mask_avg_price"](self.encode(masked)).squeeze(-1)
        return outputs

"""The stock Transformer's forward pass in plain NumPy, straight from the formulas."""

from collections.abc import Mapping

import numpy as np


def linear(x: np.ndarray, w: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def attention(x: np.ndarray, w: Mapping[str, np.ndarray], name: str, heads: int) -> np.ndarray:
    n, days, width = x.shape
    q, k, v = (
        linear(x, w, f"{name}.fc_{each}").reshape(n, days, heads, width // heads).transpose(0, 2, 1, 3)
        for each in "qkv"
    )
    energy = q @ k.transpose(0, 1, 3, 2) / np.sqrt(width // heads)
    share = np.exp(energy - energy.max(axis=-1, keepdims=True))
    share /= share.sum(axis=-1, keepdims=True)
    return linear((share @ v).transpose(0, 2, 1, 3).reshape(n, days, width), w, f"{name}.fc_o")


def block(x: np.ndarray, w: Mapping[str, np.ndarray], prefix: str, heads: int) -> np.ndarray:
    layer = 0
    while f"{prefix}attention_layers.{layer}.fc_q.weight" in w:
        x = x + attention(x, w, f"{prefix}attention_layers.{layer}", heads)
        feed = f"{prefix}feedforward_layers.{layer}"
        x = x + linear(np.maximum(linear(x, w, f"{feed}.fc1"), 0.0), w, f"{feed}.fc2")
        layer += 1
    return x


def encode(x: np.ndarray, weights: Mapping[str, np.ndarray], heads: int) -> np.ndarray:
    w = {name: np.asarray(each, dtype=np.float64) for name, each in weights.items()}
    at = "feature_extractor."
    embedded = linear(x.astype(np.float64), w, f"{at}embedding") + w[f"{at}positional_encoding"]
    return block(block(embedded, w, at, heads), w, "", heads).mean(axis=1)

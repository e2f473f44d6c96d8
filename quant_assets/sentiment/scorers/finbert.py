"""A BERT that classifies texts, from a local folder like FinBERT's: config.json, model.safetensors, tokenizer.json.

Nothing is downloaded and nothing is unpickled: a folder with only pytorch_model.bin is refused. The encoder is that of
Devlin et al. (2019, NAACL), as in `BertForSequenceClassification` of transformers in evaluation mode, in single
precision, one text at a time; labels and their order come from config.json.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

import numpy as np

from quant_assets.sentiment.scorers import library
from quant_assets.sentiment.scorers.base import FloatArray, Origin, Scorer, in_our_order, sha256_of_files, softmax
from quant_assets.sentiment.scorers.tokens import Tokens, config, label_names

FILES = ("config.json", "model.safetensors", "tokenizer.json")
LIBRARIES = ("torch", "tokenizers", "safetensors")
_ARCHITECTURE = "BertForSequenceClassification"


class Bert:
    """The network.

    Args:
        tensors: tensors by their names in transformers.
        settings: config.json.
        torch: the library.

    """

    def __init__(self, tensors: Mapping[str, Any], settings: Mapping[str, Any], torch: Any) -> None:
        self._torch, self._of = torch, torch.nn.functional
        self._tensors = {name: tensor.float() for name, tensor in tensors.items()}
        self._heads, self._layers = int(settings["num_attention_heads"]), int(settings["num_hidden_layers"])
        self._epsilon = float(settings.get("layer_norm_eps", 1e-12))

    def logits(self, ids: Any, types: Any) -> FloatArray:
        """Logits of shape (1, n_labels) of token ids and types of shape (1, n_tokens)."""
        with self._on_one_thread(), self._torch.inference_mode():
            words, at = self._tensors, "bert.embeddings."
            hidden = words[f"{at}word_embeddings.weight"][self._torch.from_numpy(ids)]
            hidden = hidden + words[f"{at}token_type_embeddings.weight"][self._torch.from_numpy(types)]
            hidden = hidden + words[f"{at}position_embeddings.weight"][: ids.shape[1]]
            hidden = self._normed(hidden, f"{at}LayerNorm")
            for number in range(self._layers):
                hidden = self._layer(hidden, f"bert.encoder.layer.{number}.")
            pooled = self._torch.tanh(self._linear(hidden[:, 0], "bert.pooler.dense"))
            return np.asarray(self._linear(pooled, "classifier").double().numpy())

    @contextmanager
    def _on_one_thread(self) -> Iterator[None]:
        """Use one thread, since the number of threads changes the rounding of sums; restored afterwards."""
        before = self._torch.get_num_threads()
        self._torch.set_num_threads(1)
        try:
            yield
        finally:
            self._torch.set_num_threads(before)

    def _layer(self, hidden: Any, at: str) -> Any:
        count, width = hidden.shape[1], hidden.shape[2]

        def heads(name: str) -> Any:
            projected = self._linear(hidden, f"{at}attention.self.{name}")
            return projected.view(1, count, self._heads, width // self._heads).transpose(1, 2)

        attended = self._of.scaled_dot_product_attention(heads("query"), heads("key"), heads("value"))
        attended = attended.transpose(1, 2).reshape(1, count, width)
        attended = self._linear(attended, f"{at}attention.output.dense")
        hidden = self._normed(attended + hidden, f"{at}attention.output.LayerNorm")
        between = self._of.gelu(self._linear(hidden, f"{at}intermediate.dense"))
        return self._normed(self._linear(between, f"{at}output.dense") + hidden, f"{at}output.LayerNorm")

    def _linear(self, values: Any, name: str) -> Any:
        return self._of.linear(values, self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"])

    def _normed(self, values: Any, name: str) -> Any:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        return self._of.layer_norm(values, weight.shape, weight, bias, self._epsilon)


class FinBert:
    """The scorer."""

    name = "finbert"

    def __init__(self, network: Bert, tokens: Tokens, order: list[int], trained_through: date, sha256: str) -> None:
        self._network, self._tokens, self._order = network, tokens, order
        self.trained_through, self.sha256 = trained_through, sha256

    def scores(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities, one text at a time."""
        return np.concatenate([np.empty((0, 3)), *(self._score(text) for text in texts)])

    def _score(self, text: str) -> FloatArray:
        read = self._tokens(text)
        return softmax(self._network.logits(read["input_ids"], read["token_type_ids"])[:, self._order])


def open_scorer(origin: Origin) -> Scorer:
    """The scorer of a folder."""
    trained_through = origin.told_date()
    names = {file.name for file in origin.path.iterdir()} if origin.path is not None and origin.path.is_dir() else set()
    if "pytorch_model.bin" in names and "model.safetensors" not in names:
        raise origin.refuse("it has only pytorch_model.bin, a pickle; save the model as model.safetensors")
    files = origin.files(*FILES)
    settings = config(files["config.json"], origin)
    if settings.get("architectures") != [_ARCHITECTURE] or settings.get("hidden_act", "gelu") != "gelu":
        raise origin.refuse(
            f"config.json says {settings.get('architectures')} with {settings.get('hidden_act')}; only {_ARCHITECTURE} "
            "with gelu is computed here: export it to ONNX and use scorer external"
        )
    order = in_our_order(label_names(settings, origin), origin)
    torch: Any = library("torch", "deep")
    read: Any = library("safetensors.torch")
    try:
        tensors = read.load(files["model.safetensors"])
    except Exception as error:  # noqa: BLE001  (its errors have no class of their own in common)
        raise origin.refuse(f"its tensors cannot be read ({str(error)[:120]})") from None
    try:
        network = Bert(tensors, settings, torch)
        tokens = Tokens(files["tokenizer.json"], origin)
        first = tokens("a")
        shape = network.logits(first["input_ids"], first["token_type_ids"]).shape
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise origin.refuse(f"its tensors do not fit config.json ({str(error)[:120]})") from None
    if shape != (1, len(order)):
        raise origin.refuse(f"it gives {shape[1]} values, config.json has {len(order)} labels")
    return FinBert(network, tokens, order, trained_through, sha256_of_files(files))

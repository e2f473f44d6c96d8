"""The network: shapes, published names, and the plain formula."""

import numpy as np
import pytest

from quant_assets.errors import DatasetError
from quant_assets_tests.learning.transformer.plain import encode, linear

torch = pytest.importorskip("torch", reason="the extra deep is not installed")

from quant_assets.learning.transformer.network import SelfAttention, TransformerStockPrediction  # noqa: E402

CLASSES = {"stock": 7, "sector": 3, "mask_avg_price": 1}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(3)


def weights(network: TransformerStockPrediction) -> dict[str, np.ndarray]:
    return {name: each.numpy() for name, each in network.state_dict().items()}


def test_names_and_number_of_the_published_tensors() -> None:
    network = TransformerStockPrediction(pretrain_classes={"stock": 1026, "sector": 112, "mask_avg_price": 1})
    shapes = {name: tuple(each.shape) for name, each in network.state_dict().items()}
    layers = {
        f"{at}{name}.{kind}"
        for at in ("feature_extractor.", "")
        for name in (
            *(f"attention_layers.0.fc_{each}" for each in "qkvo"),
            *(f"feedforward_layers.0.fc{each}" for each in (1, 2)),
        )
        for kind in ("weight", "bias")
    }
    heads = {
        f"{at}.{kind}"
        for at in ("fc", *(f"pretrain_outlayers.{each}" for each in CLASSES))
        for kind in ("weight", "bias")
    }
    first = {f"feature_extractor.{each}" for each in ("positional_encoding", "embedding.weight", "embedding.bias")}
    assert shapes.keys() == layers | heads | first
    assert shapes["feature_extractor.positional_encoding"] == (1, 32, 128)
    assert sum(each.numel() for each in network.parameters()) == 550_004
    assert sum(each.numel() for each in TransformerStockPrediction().parameters()) == 403_073


@pytest.mark.parametrize(("layers", "heads", "classes"), [(1, 4, 1), (2, 8, 4)])
def test_the_plain_formula(layers: int, heads: int, classes: int) -> None:
    network = TransformerStockPrediction(
        input_size=6,
        num_class=classes,
        hidden_size=32,
        num_feat_att_layers=layers,
        num_pre_att_layers=layers,
        num_heads=heads,
        days=9,
    ).eval()
    windows = torch.randn(11, 9, 6)
    with torch.inference_mode():
        found, encoded = network(windows).numpy(), network.encode(windows).numpy()
    expected = encode(windows.numpy(), weights(network), heads)
    np.testing.assert_allclose(encoded, expected, atol=1e-5)
    assert found.shape == (11, classes)
    np.testing.assert_allclose(found, linear(expected, weights(network), "fc"), atol=1e-5)


def test_fused_attention_is_the_plain_one() -> None:
    layer, values = SelfAttention(16, 4), torch.randn(5, 12, 16)
    q, k, v = (layer._split(each(values)) for each in (layer.fc_q, layer.fc_k, layer.fc_v))
    plain = torch.softmax(q @ k.transpose(2, 3) / 4**0.5, dim=-1) @ v
    expected = layer.fc_o(plain.transpose(1, 2).reshape(5, 12, 16))
    torch.testing.assert_close(layer(values), expected, atol=1e-5, rtol=0)


def test_dropout_is_of_training_alone() -> None:
    network, windows = TransformerStockPrediction(hidden_size=8, num_heads=2), torch.rand(3, 32, 25)
    assert not torch.equal(network.train()(windows), network(windows))
    assert torch.equal(network.eval()(windows), network(windows))


def test_a_window_does_not_depend_on_the_others() -> None:
    network, windows = TransformerStockPrediction(hidden_size=16).eval(), torch.rand(9, 32, 25)
    torch.testing.assert_close(network(windows)[2:3], network(windows[2:3]), atol=1e-6, rtol=0)


def test_pretraining_heads() -> None:
    network = TransformerStockPrediction(hidden_size=8, num_heads=2, pretrain_classes=CLASSES).eval()
    windows, hidden = torch.rand(4, 32, 25), torch.rand(4, 32, 25)
    found = network.pretraining_outputs(windows, hidden)
    assert {name: tuple(each.shape) for name, each in found.items()} == {
        "stock": (4, 7),
        "sector": (4, 3),
        "mask_avg_price": (4,),
    }
    torch.testing.assert_close(found["sector"], network.pretrain_outlayers["sector"](network.encode(windows)))
    head = network.pretrain_outlayers["mask_avg_price"]
    torch.testing.assert_close(found["mask_avg_price"], head(network.encode(hidden))[:, 0])
    with pytest.raises(DatasetError, match="pass masked"):
        network.pretraining_outputs(windows)


@pytest.mark.parametrize("shape", [(4, 31, 25), (4, 32, 24), (32, 25)])
def test_windows_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(DatasetError, match=r"\(n, 32, 25\)"):
        TransformerStockPrediction(hidden_size=8)(torch.zeros(shape))


def test_arguments_that_make_no_network() -> None:
    with pytest.raises(DatasetError, match="hidden_size 10 is not a multiple of num_heads 4"):
        TransformerStockPrediction(hidden_size=10)
    with pytest.raises(DatasetError, match="no pre-training task 'colour'"):
        TransformerStockPrediction(pretrain_classes={"colour": 2})

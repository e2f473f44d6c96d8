"""Checkpoints: what their manifest allows, and the published one."""

import hashlib
import pickle
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from quant_assets.errors import HistoryError, ModelFileError
from quant_assets.learning.transformer.inputs import FIELDS
from quant_assets.learning.transformer.published import SSPT_NASDAQ, Architecture, Manifest, load, refuse_prediction
from quant_assets.market.panel import Panel
from quant_assets_tests.learning.transformer.plain import encode

torch = pytest.importorskip("torch", reason="the extra deep is not installed")

from quant_assets.learning.transformer.network import TransformerStockPrediction  # noqa: E402
from quant_assets.learning.transformer.windows import WindowTensor  # noqa: E402

SMALL = Architecture(hidden_size=8, num_heads=2)


def manifest(path: Path, **changes: Any) -> Manifest:
    given = {
        "stage": "fine_tuned",
        "trained_from": date(2018, 1, 2),
        "trained_through": date(2020, 6, 30),
        "target": "forward_return_1",
        "architecture": SMALL,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    return Manifest(**given | changes)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "model.ckpt"
    torch.save(TransformerStockPrediction(hidden_size=8, num_heads=2).state_dict(), path)
    return path


def test_a_checkpoint_comes_back(saved: Path) -> None:
    network = load(saved, manifest(saved))
    assert not network.training
    state = torch.load(saved, weights_only=True)
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(each, state[name]) for name, each in network.state_dict().items())


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("known", [True, False])
def test_a_payload_never_runs(tmp_path: Path, saved: Path, known: bool) -> None:
    mark, path = tmp_path / "mark", tmp_path / "evil.ckpt"
    torch.save({"fc.weight": Payload(mark)}, path)
    with pytest.raises(ModelFileError, match="not a plain state dict" if known else "nothing was read"):
        load(path, manifest(path if known else saved))
    assert not mark.exists()
    pickle.loads(pickle.dumps(Payload(mark)))  # noqa: S301 - it would have left a mark
    assert mark.exists()


def test_files_that_are_not_what_the_manifest_says(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no checkpoint"):
        load(tmp_path / "absent.ckpt", manifest(saved))
    with pytest.raises(ModelFileError, match=r"does not fit .* fc_q|does not fit .* size mismatch"):
        load(saved, manifest(saved, architecture=Architecture(hidden_size=16, num_heads=2)))
    with pytest.raises(ModelFileError, match=r"does not fit .*pretrain_outlayers.stock"):
        load(saved, manifest(saved, architecture=SMALL.model_copy(update={"pretrain_classes": {"stock": 3}})))
    truncated = tmp_path / "short.ckpt"
    truncated.write_bytes(saved.read_bytes()[:1000])
    with pytest.raises(ModelFileError, match="not a plain state dict"):
        load(truncated, manifest(truncated))
    with pytest.raises(ModelFileError, match="nothing was read"):
        load(truncated, manifest(saved))
    other = tmp_path / "list.ckpt"
    torch.save([1, 2], other)
    with pytest.raises(ModelFileError, match="does not fit"):
        load(other, manifest(other))


def test_what_may_predict(saved: Path) -> None:
    fine = manifest(saved)
    refuse_prediction(fine, date(2020, 7, 1))
    for inside in (date(2020, 6, 30), date(2019, 3, 1), date(2017, 1, 3)):
        with pytest.raises(HistoryError, match=rf"{inside} .* is not out of sample"):
            refuse_prediction(fine, inside)
    with pytest.raises(ModelFileError, match="untrained initialisation"):
        refuse_prediction(manifest(saved, stage="encoder", target=None), date(2024, 1, 2))


@pytest.mark.parametrize(
    "changes",
    [
        {"target": None},
        {"stage": "encoder"},
        {"normalisation": "full_sample_maximum"},
        {"trained_from": date(2021, 1, 4)},
        {"sha256": "abc"},
        {"colour": "red"},
    ],
)
def test_manifests_that_contradict_themselves(saved: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        manifest(saved, **changes)


def test_a_manifest_survives_json(saved: Path) -> None:
    assert Manifest.model_validate_json(SSPT_NASDAQ.model_dump_json()) == SSPT_NASDAQ


def test_our_inputs_are_those_that_the_published_encoder_learned(shared_data: Path) -> None:
    bars = pl.read_parquet(shared_data / "reference" / "nasdaq_1026.parquet")
    every = bars["ticker"].unique().sort().to_list()
    some = every[::64]
    days = bars["date"].unique().sort().to_numpy().astype("datetime64[D]")
    panel = Panel.from_long(bars.filter(pl.col("ticker").is_in(some)), days, FIELDS)
    tensor = WindowTensor.of(panel, normalisation=SSPT_NASDAQ.normalisation)
    at = tensor.between(date(2013, 3, 1), date(2016, 12, 30))[::20]
    network = load(shared_data / "reference" / "sspt_nasdaq_stock_tv_100.ckpt", SSPT_NASDAQ)
    with torch.inference_mode():
        told = network.pretrain_outlayers["stock"](network.encode(tensor.gather(at))).argmax(dim=1)
    code = torch.tensor([every.index(each) for each in some])[tensor.ticker_of(at)]
    assert float((told == code).float().mean()) > 0.5  # of 1,026 codes


def test_the_published_checkpoint(shared_data: Path) -> None:
    network = load(shared_data / "reference" / "sspt_nasdaq_stock_tv_100.ckpt", SSPT_NASDAQ)
    assert sum(each.numel() for each in network.parameters()) == 550_004
    windows = np.random.default_rng(8).uniform(0.2, 1.0, (64, 32, 25)).astype(np.float32)
    with torch.inference_mode():
        found = network.encode(torch.from_numpy(windows)).numpy()
        exact = network.double().encode(torch.from_numpy(windows).double()).numpy()
    expected = encode(windows, {name: each.numpy() for name, each in network.state_dict().items()}, heads=4)
    # Outputs reach 90: in single precision 1e-5 is of their size, in double precision of 1.
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)
    np.testing.assert_allclose(exact, expected, atol=1e-9, rtol=0)
    with pytest.raises(ModelFileError, match="pre-trained encoder"):
        refuse_prediction(SSPT_NASDAQ, date(2026, 1, 5))

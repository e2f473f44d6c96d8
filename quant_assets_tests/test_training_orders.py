"""Orders of trainings in the store, and in the tags of a run."""

from pathlib import Path

import pytest

from quant_assets.errors import DatasetError, SettingsError
from quant_assets.io.store import DatasetStore
from quant_assets.training_orders import ORDER, REASONS, TrainingOrders, ordered


def test_the_first_order_of_a_month_stands(tmp_path: Path) -> None:
    orders = TrainingOrders(DatasetStore(str(tmp_path)))
    assert (orders.months("it"), orders.digests("it")) == ({}, {})
    orders.note("it", "2024-02", "drift")
    digest = orders.digests("it")["2024-02"]
    orders.note("it", "2024-02", "another")
    orders.note("it", "2024-05", "rank_ic")
    orders.note("energy", "2024-03", "drift")
    assert orders.months("it") == {"2024-02": "drift", "2024-05": "rank_ic"}
    assert orders.digests("it")["2024-02"] == digest
    orders.note("it", "2024-03", "drift", "transformer_checkpoint")
    assert orders.months("it") == {"2024-02": "drift", "2024-05": "rank_ic"}, "it is for one dataset"
    assert set(orders.digests("it", "transformer_checkpoint")) == {"2024-03"}
    assert orders.months("it", "transformer_checkpoint") == {"2024-03": "drift"}
    with pytest.raises(SettingsError, match="month '2024-2' is not a month"):
        orders.note("it", "2024-2", "drift")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"month": "2024-02"}', b"\xff"])
def test_a_file_that_is_no_order_is_named(tmp_path: Path, content: bytes) -> None:
    store = DatasetStore(str(tmp_path))
    store.write_artifact("orders/it/2024-02.json", content)
    with pytest.raises(DatasetError, match=r"orders/it/2024-02.json is not an order of a training; delete it"):
        TrainingOrders(store).months("it")


def test_a_run_carries_an_order_in_its_tags() -> None:
    months = ("2024-01", "2024-02")
    assert ordered({REASONS: "age"}, months) is None
    assert ordered({ORDER: "2024-02", REASONS: "drift: x"}, months) == ("2024-02", "drift: x")
    assert ordered({ORDER: "2024-02"}, months) == ("2024-02", "no reason was given")
    with pytest.raises(
        SettingsError, match="tag quant/order names '2024-03', which is not one of the run's months 2024-01"
    ):
        ordered({ORDER: "2024-03"}, months)

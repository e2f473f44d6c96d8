"""Every generated check passes on good rows and fails, alone, on rows that break what it guards."""

from datetime import date

import polars as pl
import pytest

from quant_assets.checks import CONTRACT, breaches
from quant_assets_tests.graph import demo_datasets

DATASETS = demo_datasets()
LAST = date(2024, 6, 28)


def labels(**changes: object) -> pl.DataFrame:
    row = {
        "sector": "it",
        "month": "2024-05",
        "ticker": "AAA",
        "date": date(2024, 5, 1),
        "horizon": 5,
        "forward_return": 0.01,
        "entry_date": date(2024, 5, 2),
        "exit_date": date(2024, 5, 9),
        "known_at": date(2024, 5, 9),
        "delisted": False,
    } | changes
    return pl.DataFrame([row], schema=DATASETS["labels"].loaded_schema)


def failing(frame: pl.DataFrame, dataset: str = "labels") -> set[str]:
    return {name for name, found in breaches(DATASETS[dataset], frame, LAST).items() if found}


def test_good_rows_pass_every_check() -> None:
    assert failing(labels()) == set()
    for dataset in DATASETS.values():
        frame = pl.DataFrame(schema=dataset.loaded_schema)
        assert breaches(dataset, frame, LAST) == {name: [] for name in CONTRACT}


def test_each_breach_is_caught_by_the_check_that_names_it() -> None:
    assert failing(pl.concat([labels(), labels()])) == {"keys"}
    assert failing(pl.concat([labels(), labels(sector="re")])) == set(), "the same ticker may be in two sectors' panels"
    assert failing(labels(forward_return=None)) == {"nulls"}
    assert failing(labels(forward_return=-1.5)) == {"ranges"}
    assert failing(labels(forward_return=float("nan"))) == {"ranges"}
    assert failing(labels(forward_return=float("inf"))) == {"ranges"}
    assert failing(labels(horizon=0)) == {"ranges"}
    assert failing(labels(known_at=date(2024, 7, 1))) == {"known"}
    assert failing(labels(known_at=date(2024, 4, 30))) == {"known"}
    assert failing(labels().cast({"horizon": pl.Int64})) == {"dtypes"}
    assert failing(labels().drop("delisted")) == {"dtypes"}


def test_bounds_and_legal_values() -> None:
    row = {
        "sector": "it",
        "month": "2024-06",
        "as_of": LAST,
        "regime": "risk_on",
        "volatility": 0.2,
        "drawdown": 0.1,
        "reason": "calm",
    }

    def regime(**changes: object) -> pl.DataFrame:
        return pl.DataFrame([row | changes], schema=DATASETS["regime_state"].loaded_schema)

    assert failing(regime(), "regime_state") == set()
    assert failing(regime(regime="panic"), "regime_state") == {"ranges"}
    assert failing(regime(drawdown=1.01), "regime_state") == {"ranges"}
    assert failing(regime(volatility=None), "regime_state") == set(), "nullable"


def test_a_breach_names_column_count_and_first_row() -> None:
    (message,) = breaches(DATASETS["labels"], labels(forward_return=-1.5), LAST)["ranges"]
    assert message.startswith("forward_return below -1: 1 rows, first")
    assert "AAA" in message
    assert "2024" in message


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_the_registry_is_consistent(dataset: object) -> None:
    from quant_assets.schemas import Dataset

    assert isinstance(dataset, Dataset)
    assert set(dataset.key) <= set(dataset.columns)
    assert dataset.columns[dataset.dated_by].dtype == pl.Date
    assert dataset.columns[dataset.known_at].dtype == pl.Date
    assert not dataset.columns[dataset.dated_by].nullable
    assert all(column.meaning for column in dataset.columns.values())
    assert not any(dataset.columns[name].nullable for name in dataset.key)

"""The export of candidates as other tools read it."""

import json
from datetime import date
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest

from quant_assets.exports import candidates_document, export_candidates, export_predictions
from quant_assets.io.store import DatasetStore
from quant_assets.schemas import DATASETS

MAY, JUNE = date(2024, 5, 31), date(2024, 6, 28)


def candidates() -> pl.DataFrame:
    rows = [
        {
            "sector": sector,
            "ticker": ticker,
            "as_of": day,
            "candidate_type": kind,
            "selection_rank": rank,
            "composite_score": score,
        }
        for sector, day in (("it", MAY), ("it", JUNE), ("energy", JUNE))
        for ticker, kind, rank, score in (
            ("AA", "short", 2, -1.0),
            ("BRK.B", "long", 2, 0.5),
            ("CC", "long", 1, 1.5),
            ("DD", "short", 1, -2.0),
        )
    ]
    return pl.DataFrame(rows, schema=DATASETS["candidates"].empty().schema)


def test_the_dictionary_of_a_month() -> None:
    document = candidates_document(candidates(), "it", JUNE)
    assert document == {
        "tickers": ["CC", "BRK.B", "DD", "AA"],
        "selection_date": "2024-06-28",
        "sector": "it",
        "composite_scores": {"CC": 1.5, "BRK.B": 0.5, "DD": -2.0, "AA": -1.0},
        "candidate_types": {"CC": "long", "BRK.B": "long", "DD": "short", "AA": "short"},
    }
    assert candidates_document(candidates(), "re", JUNE)["tickers"] == []


def test_files_of_several_sectors_and_months_in_folders_that_others_read(tmp_path: Path) -> None:
    written = export_candidates(candidates(), str(tmp_path), {"it": [MAY, JUNE], "energy": [MAY, JUNE]})
    assert sorted(written) == sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert "year=2024/month=6/candidates_energy.parquet" in written
    assert json.loads((tmp_path / "year=2024/month=6/_candidates_it.json").read_text()) == candidates_document(
        candidates(), "it", JUNE
    )
    rows = pl.read_parquet(tmp_path / "**/*.parquet", hive_partitioning=True)
    assert rows.columns == [*DATASETS["candidates"].empty().columns, "year", "month"]
    assert (
        rows.drop("year", "month")
        .sort("sector", "as_of", "ticker")
        .equals(candidates().sort("sector", "as_of", "ticker"))
    )
    assert len(pd.read_parquet(tmp_path)) == 12, "the dictionaries are not in the way"
    query = f"SELECT year, month, sector, count(*) FROM '{tmp_path}/**/*.parquet' GROUP BY ALL ORDER BY ALL"
    assert duckdb.sql(query).fetchall() == [(2024, 5, "it", 4), (2024, 6, "energy", 4), (2024, 6, "it", 4)]
    empty = json.loads((tmp_path / "year=2024/month=5/_candidates_energy.json").read_text())
    assert (empty["tickers"], empty["selection_date"]) == ([], "2024-05-31"), (
        "nobody was chosen, which is not the same as not exported"
    )


def test_an_export_replaces_its_own_files_only_and_leaves_no_others(tmp_path: Path) -> None:
    export_candidates(candidates(), str(tmp_path), {"it": [JUNE], "energy": [JUNE]})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(before) == 4, "no temporary file stays"
    export_candidates(candidates().filter(pl.col("ticker") == "AA"), str(tmp_path), {"it": [JUNE]})
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed == {"candidates_it.parquet", "_candidates_it.json"}
    export_candidates(candidates(), str(tmp_path), {"it": [JUNE]})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before, "the same bytes"


def test_the_export_goes_to_any_fsspec_url() -> None:
    import fsspec

    export_candidates(candidates(), "memory://exported", {"it": [JUNE]})
    found = fsspec.filesystem("memory").cat("/exported/year=2024/month=6/_candidates_it.json")
    assert json.loads(found)["tickers"] == ["CC", "BRK.B", "DD", "AA"]


def predictions(*days: date) -> pl.DataFrame:
    rows = [
        {
            "sector": "it",
            "ticker": ticker,
            "date": day,
            "horizon": 20,
            "prediction": 0.01,
            "prediction_std": 0.1,
            "prob_up": 0.54,
            "confidence": 0.08,
            "model": model,
            "model_version": "0123456789ab",
        }
        for day in days
        for ticker in ("AA", "BB")
        for model in ("lightgbm", "ensemble")
    ]
    return pl.DataFrame(rows, schema=DATASETS["predictions"].empty().schema)


def test_predictions_of_each_decision_and_the_newest_under_a_name_of_its_own(tmp_path: Path) -> None:
    store, folder = DatasetStore(str(tmp_path)), tmp_path / "exports/predictions/it"
    rows = predictions(MAY, date(2024, 6, 27), JUNE)
    written = export_predictions(store, "it", rows, [MAY, JUNE])
    assert sorted(written) == sorted(str(path.relative_to(tmp_path)) for path in folder.iterdir())
    assert [path.name for path in sorted(folder.iterdir())] == [
        "predictions.parquet",
        "predictions_2024-05-31.parquet",
        "predictions_2024-06-28.parquet",
    ]
    found = pl.read_parquet(folder / "predictions.parquet")
    assert found.columns == ["ticker", "date", "horizon", "prediction", "confidence", "model"]
    assert found.equals(rows.filter(pl.col("date") == JUNE).select(found.columns).sort("model", "horizon", "ticker"))
    export_predictions(store, "it", rows, [MAY])
    assert pl.read_parquet(folder / "predictions.parquet").equals(found), "an older month does not replace a newer one"
    export_predictions(store, "it", predictions(MAY), [JUNE])
    assert pl.read_parquet(folder / "predictions.parquet").is_empty(), "what was said and is not said any more"


def test_overlapping_runs_leave_the_newest_whoever_writes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the run of May has looked and not yet written, that of June begins and ends."""
    store, write, begun = DatasetStore(str(tmp_path)), DatasetStore.write_file, list[str]()

    def slow(self: DatasetStore, name: str, content: bytes) -> None:
        if name.endswith("/predictions.parquet") and not begun:
            begun.append(name)
            export_predictions(store, "it", predictions(MAY, JUNE), [JUNE])
        write(self, name, content)

    monkeypatch.setattr(DatasetStore, "write_file", slow)
    export_predictions(store, "it", predictions(MAY, JUNE), [MAY])
    assert begun
    assert pl.read_parquet(tmp_path / "exports/predictions/it/predictions.parquet")["date"].unique().to_list() == [JUNE]

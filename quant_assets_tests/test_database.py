"""Table `preds`: the same rows twice change nothing, new figures replace, in DuckDB and in a real PostgreSQL."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import psutil
import pytest

from quant_assets.database import DatabaseError, predictions_view, shown_url, upsert_predictions
from quant_assets.errors import SettingsError
from quant_assets_tests.graph import PROJECT

Query = Callable[[str], list[tuple[Any, ...]]]

HOSTILE = "x'); DROP TABLE preds; --"


def rows(model: str = "trees", shift: float = 0.0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ticker": ["BRK.B", HOSTILE, "ÄÖ", "BRK.B"],
            "date": pl.Series([date(2024, 6, 28)] * 4),
            "horizon": pl.Series([20, 20, 20, 5], dtype=pl.Int32),
            "prediction": [0.01 + shift, -0.02, 0.03, 1e-17],
            "prediction_std": [0.1, None, 0.2, 0.3],
            "prob_up": [0.6, 0.4, 0.55, 0.5],
            "model": model,
        }
    )


SERVER = """
import sys
from pathlib import Path
from quant_assets.running.postgres import serve
print(serve(Path(sys.argv[1])), flush=True)
input()
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """URL of the embedded server, which ends with the process that asked for it."""
    home = Path(tempfile.mkdtemp(prefix="quant-"))
    home.chmod(0o711)
    asked = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(home)],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert asked.stdout is not None
    try:
        yield asked.stdout.readline().strip()
    finally:
        asked.communicate("\n", timeout=60)
        limit = time.monotonic() + 60
        while any((each.info["cwd"] or "").startswith(str(home)) for each in psutil.process_iter(["cwd"])):
            assert time.monotonic() < limit
            time.sleep(0.1)
        shutil.rmtree(home)


@pytest.fixture(params=["duckdb", "file", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Query]:
    if request.param != "postgresql":
        path = tmp_path / "below" / "preds.duckdb"
        url = f"duckdb:///{path}" if request.param == "duckdb" else str(path)

        def query(sql: str) -> list[tuple[Any, ...]]:
            with duckdb.connect(str(path)) as connection:
                return connection.execute(sql).fetchall()

        return url, query

    import psycopg2

    url = request.getfixturevalue("postgres")
    plain = url.replace("postgresql+psycopg2://", "postgresql://")

    def asked(sql: str) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(plain)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    asked("DROP TABLE IF EXISTS preds")
    return url, asked


def test_rows_are_written_once_and_replaced(database: tuple[str, Query]) -> None:
    url, query = database
    every = "SELECT ticker, dt, horizon, model, yhat, yhat_std, prob_up FROM preds ORDER BY model, ticker, horizon"
    assert upsert_predictions(url, rows()) == 4
    first = query(every)
    order = ["model", "ticker", "horizon"]
    given = rows().select("ticker", "date", "horizon", "model", "prediction", "prediction_std", "prob_up")
    assert sorted(first) == sorted(given.sort(order).rows(), key=lambda row: (row[0], row[1], row[2]))
    upsert_predictions(url, rows())
    assert query(every) == first
    upsert_predictions(url, rows(shift=1.0).head(1))
    upsert_predictions(url, rows("linear").head(1))
    found = {(row[0], row[2], row[3]): row[4] for row in query(every)}
    assert found["BRK.B", 20, "trees"] == 1.01
    assert found["BRK.B", 20, "linear"] == 0.01
    assert found[HOSTILE, 20, "trees"] == -0.02, "a value is never part of the statement"
    assert len(found) == 5


def test_all_rows_or_none(database: tuple[str, Query]) -> None:
    url, query = database
    upsert_predictions(url, rows().head(1))
    bad = pl.concat(
        [rows("later"), rows("later").head(1).with_columns(prediction=pl.lit(None, pl.Float64), ticker=pl.lit("Z"))]
    )
    with pytest.raises(DatabaseError, match="predictions are not written"):
        upsert_predictions(url, bad)
    assert query("SELECT count(*) FROM preds") == [(1,)]


def test_the_view_follows_the_files_of_the_dataset(tmp_path: Path) -> None:
    folder, path = tmp_path / "it's here" / "predictions", str(tmp_path / "preds.duckdb")
    for month in ("2024-05", "2024-06"):
        part = folder / f"sector=it/month={month}"
        part.mkdir(parents=True)
        rows(month).write_parquet(part / "part-0.parquet")
        upsert_predictions(path, rows())
        predictions_view(path, str(folder))
    with duckdb.connect(path) as connection:
        found = connection.execute("SELECT sector, month, model, count(*) FROM predictions GROUP BY ALL ORDER BY ALL")
        assert found.fetchall() == [("it", "2024-05", "2024-05", 4), ("it", "2024-06", "2024-06", 4)]
        assert connection.execute("SELECT count(*) FROM preds").fetchone() == (4,)


def test_no_login_is_shown_and_other_databases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^database mysql://host/db is neither") as refused:
        upsert_predictions("mysql://me:secret@host/db", rows())
    assert "secret" not in str(refused.value)
    for url in (
        "postgresql://me:secret@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=me&password=secret",
        "postgresql://me:secret/word@127.0.0.1:1/db",
        "postgresql://me:secret?word@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=me&password=pass@secret",
        "postgresql://127.0.0.1:secret/db",
        "postgresql://127.0.0.1:1/db?secret",
    ):
        with pytest.raises(DatabaseError, match="predictions are not written to postgresql://") as failed:
            upsert_predictions(url, rows())
        assert "secret" not in str(failed.value)
        assert "word@" not in str(failed.value)
    with pytest.raises(DatabaseError, match=r"to postgresql://127\.0\.0\.1:1/db: connection refused"):
        upsert_predictions("postgresql://me:secret@127.0.0.1:1/db?sslmode=disable", rows())
    (tmp_path / "no.duckdb").write_text("no database")
    with pytest.raises(DatabaseError, match=r"no\.duckdb"):
        upsert_predictions(str(tmp_path / "no.duckdb"), rows())


@pytest.mark.parametrize("url", ["postgres:/me:secret@host/db", "duckdb:///", "", ":memory:", "duckdb:preds.duckdb"])
def test_what_only_looks_like_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="is neither duckdb:///FILE, the name of a file") as refused:
        upsert_predictions(url, rows())
    assert "secret" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://host/db?user=u&password=s3cret", "postgresql://host/db"),
        ("postgresql+psycopg2://me:s3cret@db.example.org:5432/q", "postgresql+psycopg2://db.example.org:5432/q"),
        ("postgresql://me@db.example.org:6432/q", "postgresql://db.example.org:6432/q"),
        ("postgresql://db.example.org:5432/q", "postgresql://db.example.org:5432/q"),
        ("postgresql://me:31415/q", "postgresql://me/q"),
        ("postgresql://me:s3cret@[::1]:5432/q", "postgresql://[::1]:5432/q"),
        ("postgresql://me:s3/cret@host/q", "postgresql://host/q"),
        ("postgresql://me:s3?cret@host/q", "postgresql://…"),
        ("postgresql://me:s3cret", "postgresql://…"),
        ("duckdb:///a/b.duckdb", "duckdb:///a/b.duckdb"),
        ("b.duckdb", "b.duckdb"),
    ],
)
def test_a_database_is_shown_by_scheme_host_port_and_name(url: str, shown: str) -> None:
    assert shown_url(url) == shown

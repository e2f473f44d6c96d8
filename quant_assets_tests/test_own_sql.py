"""SQL models of a user's own beside the profiles: the dataset that each gives, its rows in the graph, and refusals."""

import re
import shutil
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets import catalogue
from quant_assets.assets.sql import execute, load_models
from quant_assets.errors import SettingsError
from quant_assets.graph import build_defs
from quant_assets.schemas import Dataset
from quant_assets.settings.loading import load_settings
from quant_assets.settings.origin import ROOT

SQL = """-- dataset: Members above their moving average
-- warn: not_null(distance)
SELECT sector, ticker, date AS as_of, close / moving_average - 1 AS distance, count(*) OVER () AS names,
    CAST(1.5 AS DECIMAL(4, 1)) AS fixed
FROM indicators
WHERE list_contains($decision_sessions, date) AND close > moving_average * (1 + $candidates__long_fraction)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The `sql` folder of settings of one's own."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.setenv("QUANT_CONF_DIR", str(tmp_path / "conf"))
    monkeypatch.setenv("QUANT__STORAGE", str(tmp_path / "storage"))
    made = tmp_path / "conf" / "sql"
    made.mkdir()
    return made


def datasets() -> dict[str, Dataset]:
    settings = load_settings("demo")
    return catalogue.datasets(settings, catalogue.library(settings))


def test_a_model_beside_the_profiles_is_a_dataset_and_an_asset_with_checks(folder: Path) -> None:
    (folder / "above.sql").write_text(SQL)
    found = datasets()
    own = found["above"]
    assert (own.meaning, own.key, own.dated_by, own.known_at) == (
        "Members above their moving average",
        ("ticker", "as_of"),
        "as_of",
        "as_of",
    )
    assert own.schema == pl.Schema(
        {"ticker": pl.String, "as_of": pl.Date, "distance": pl.Float64, "names": pl.Int64, "fixed": pl.Float64}
    )
    assert [name for name, column in own.columns.items() if column.nullable] == ["distance", "names", "fixed"]
    (model,) = [each for each in load_models(found) if each.name == "above"]
    day = date(2024, 6, 28)
    rows = pl.DataFrame(
        {"sector": "it", "ticker": ["A", "B"], "date": day, "close": [13.0, 11.0], "moving_average": [10.0, 10.0]}
    )
    given = {"decision_sessions": [day], "candidates__long_fraction": 0.2}
    assert execute(model, given, indicators=rows).select("ticker", "distance").rows() == [("A", pytest.approx(0.3))]
    graph = build_defs(load_settings("demo")).resolve_asset_graph()
    (key,) = [each for each in graph.get_all_asset_keys() if each.path == ["above"]]
    assert {each.path[-1] for each in graph.get(key).parent_keys} == {"indicators"}
    checks = {each.name for each in graph.asset_check_keys if each.asset_key == key}
    assert checks == {"dtypes", "keys", "nulls", "ranges", "known", "not_null_distance"}


def test_the_header_names_what_the_columns_do_not(folder: Path) -> None:
    (folder / "own.sql").write_text(
        "-- key: name\n-- dated_by: day\n-- known_at: told\nSELECT sector, ticker AS name, date AS day, "
        "date AS told FROM universe\n"
    )
    own = datasets()["own"]
    assert (own.key, own.dated_by, own.known_at) == (("name", "day"), "day", "told")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("prices", SQL, "there is a dataset 'prices' already; rename the file"),
        ("Mine", SQL, "'Mine' cannot be a dataset's name"),
        ("own", "SELECT ticker, date FROM universe", "gives no column sector"),
        ("own", "SELECT sector, ticker FROM universe", "gives no column as_of or date"),
        ("own", "-- key: isin\nSELECT sector, date FROM universe", "gives no column isin"),
        ("own", "SELECT sector, ticker AS date FROM universe", "date is String, and must be a date"),
        ("own", "SELECT sector, date, [1, 2] AS pair FROM universe", "column pair is List(Int32)"),
        ("own", "SELECT sector, date FROM macro", "Table with name macro does not exist"),
        ("own", "SELECT sector, date FROM read_csv('/etc/passwd')", "own.sql: "),
        ("own", "SELECT sector, date FROM universe WHERE $nosuch__thing", "parameter $nosuch__thing is neither"),
        ("own", "-- key: a\n-- key: b\nSELECT sector, date FROM universe", "two lines say `-- key:`"),
        ("decisions", SQL, "there is a dataset 'decisions' already; rename the file"),
        ("own", "SELECT p.*, u.* FROM prices p JOIN universe u USING (ticker)", "gives two columns sector"),
        ("own", "SELECT sector, date, close, open AS Close FROM prices", "gives two columns close"),
        ("own", "SELECT sector, date, month FROM prices", "month is the name of the partition's own column"),
        ("own", "-- key: date, date\nSELECT sector, date FROM prices", "`-- key:` names date twice"),
        ("own", "", "must hold exactly one SELECT statement, and has 0"),
    ],
)
def test_what_cannot_be_a_model_is_one_line_that_names_the_file(
    folder: Path, name: str, text: str, message: str
) -> None:
    path = folder / f"{name}.sql"
    path.write_text(text)
    with pytest.raises(SettingsError, match=f"^{re.escape(str(path))}") as caught:
        datasets()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)

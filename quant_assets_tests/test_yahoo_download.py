"""Frames of yfinance.download: read whatever their columns, checked by a Dagster type, written as a price file."""

from datetime import date
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import polars as pl
import pytest
from typer.testing import CliRunner

from quant_assets.cli.commands import app
from quant_assets.errors import SourceError
from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.files import FilesSource
from quant_assets.yahoo_download import YAHOO_BARS, bars_of, read, written

DAYS = pd.DatetimeIndex(pd.bdate_range("2024-01-02", periods=4), name="Date")


def download(*tickers: str, adjusted: bool = False, by_ticker: bool = False) -> pd.DataFrame:
    """As `download(tickers, auto_adjust=…, group_by=…)` gives it: a level of names and one of tickers, days in order.

    The last ticker begins a day later.
    """
    fields = (
        ["Close", "High", "Low", "Open", "Volume"]
        if adjusted
        else ["Adj Close", "Close", "High", "Low", "Open", "Volume"]
    )
    columns = pd.MultiIndex.from_product([fields, tickers], names=["Price", "Ticker"])
    frame = pd.DataFrame(index=DAYS, columns=columns, dtype="float64")
    for place, ticker in enumerate(tickers):
        close = 100.0 * (place + 1) + np.arange(len(DAYS))
        values = {"Adj Close": close * 0.9, "Close": close, "High": close + 1, "Low": close - 1, "Open": close}
        for name in fields:
            frame[(name, ticker)] = values.get(name, np.full(len(DAYS), 1e6))
    if len(tickers) > 1:
        frame.loc[DAYS[0], pd.IndexSlice[:, tickers[-1]]] = np.nan
    return frame.swaplevel(axis=1).sort_index(axis=1) if by_ticker else frame


@pytest.mark.parametrize("by_ticker", [False, True])
def test_a_row_for_each_ticker_and_day_whichever_level_has_the_tickers(by_ticker: bool) -> None:
    bars = bars_of(download("AAPL", "MSFT", by_ticker=by_ticker))
    assert bars.groupby("ticker").size().to_dict() == {"AAPL": 4, "MSFT": 3}
    assert list(bars.iloc[0][["ticker", "close", "adjusted_close"]]) == ["AAPL", 100.0, 90.0]
    checked = YAHOO_BARS.type_check(None, bars)  # type: ignore[arg-type]
    assert checked.success
    told = {name: value.value for name, value in checked.metadata.items()}
    assert told == {"rows": 7, "tickers": 2, "first": "2024-01-02", "last": "2024-01-05", "rows_without_a_close": 0}


def test_a_frame_of_one_ticker_without_its_name_needs_one() -> None:
    flat = download("AAPL").droplevel("Ticker", axis=1)
    assert set(bars_of(flat, "AAPL")["ticker"]) == {"AAPL"}
    with pytest.raises(SourceError, match="has no ticker"):
        bars_of(flat)
    with pytest.raises(SourceError, match="AAPL: the frame has no column Volume"):
        bars_of(flat.drop(columns="Volume"), "AAPL")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda bars: bars.iloc[:0], "it has no row"),
        (lambda bars: pd.concat([bars, bars.iloc[:1]]), "the bar of AAPL on 2024-01-02 is repeated"),
        (lambda bars: bars.assign(high=bars["low"] - 1), "has a high below its low"),
        (lambda bars: bars.assign(close=-1.0), "close"),
        (lambda bars: bars.assign(volume="many"), "volume"),
        (lambda bars: bars.drop(columns="open"), "open"),
        (lambda bars: bars.assign(ticker=None), "ticker"),
    ],
    ids=["empty", "twice", "crossed", "negative", "text", "no open", "no ticker"],
)
def test_what_no_download_has_is_refused_by_the_type(spoil, said: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    spoiled = spoil(bars_of(download("AAPL")))
    checked = YAHOO_BARS.type_check(None, spoiled)  # type: ignore[arg-type]
    assert not checked.success
    assert said in str(checked.description)
    with pytest.raises(SourceError, match="download them again"):
        written(spoiled, tmp_path / "bars.parquet")
    assert not (tmp_path / "bars.parquet").exists()


def test_an_asset_of_the_users_own_is_checked_by_it() -> None:
    given = {"bars": bars_of(download("AAPL"))}

    @dg.op(out=dg.Out(YAHOO_BARS))
    def downloaded() -> pd.DataFrame:
        return given["bars"]

    @dg.job
    def job() -> None:
        downloaded()

    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance)
        (output,) = (each for each in result.all_node_events if each.is_successful_output)
        metadata = output.step_output_data.type_check_data.metadata
        assert metadata["rows"].value == 4
        given["bars"] = given["bars"].assign(high=0.5)
        assert not job.execute_in_process(instance=instance, raise_on_error=False).success


@pytest.mark.parametrize("adjusted", [False, True])
def test_a_file_of_a_frame_becomes_a_price_file(tmp_path: Path, adjusted: bool) -> None:
    frame = download("AAPL", "MSFT", adjusted=adjusted)
    frame.to_csv(tmp_path / "download.csv")
    out = tmp_path / "bars.parquet"
    result = CliRunner().invoke(app, ["files", "import-yf", str(tmp_path / "download.csv"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "7 bars of 2 tickers, 2024-01-02 to 2024-01-05" in " ".join(result.output.split())
    assert ("total_return" if adjusted else "split_adjusted") in result.output
    frame.to_parquet(tmp_path / "download.parquet")
    pd.testing.assert_frame_equal(read(tmp_path / "download.parquet"), read(tmp_path / "download.csv"))
    entry = written(read(tmp_path / "download.csv"), out)
    source = FilesSource(FilesSettings.model_validate({"prices": [entry], "sector": "it"}), tmp_path, date(2024, 1, 1))
    bars = source.bars(["AAPL", "MSFT"], date(2024, 1, 2), date(2024, 1, 5))
    assert bars.filter(pl.col("ticker") == "MSFT")["close"].to_list() == [201.0, 202.0, 203.0]
    again = CliRunner().invoke(app, ["files", "import-yf", str(tmp_path / "download.csv"), "--out", str(out)])
    assert again.exit_code != 0


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.csv").write_text("<html>Will be right back</html>\n")
    with pytest.raises(SourceError, match=r"page\.csv|has no ticker"):
        read(tmp_path / "page.csv")

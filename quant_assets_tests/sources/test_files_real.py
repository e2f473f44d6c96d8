"""The real files by the mapping of conf/profiles/files.yaml."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.market.calendar import session_number
from quant_assets.settings.loading import load_settings
from quant_assets.settings.sectors import SECTORS
from quant_assets.sources.files import FilesSource


@pytest.fixture(scope="module")
def real(shared_data: Path) -> FilesSource:
    settings = load_settings("files", data_dir=shared_data)
    return FilesSource(settings.files, shared_data, date(2000, 1, 1))


def test_the_profile(shared_data: Path) -> None:
    settings = load_settings("files", data_dir=shared_data)
    assert (settings.partitions.start, settings.partitions.end, settings.as_of) == (
        "2000-01",
        "2025-10",
        date(2025, 10, 7),
    )
    assert settings.files.securities is not None
    assert set(settings.files.securities.sectors.values()) == set(SECTORS)


def test_real_delistings(real: FilesSource) -> None:
    through = date(2025, 10, 7)
    # VAR ends three sessions before its file does, WFM with its file, TWTR with the raw file (while it traded on); DTV
    # came back in 2016 as another company's, SANM and DYN are listed in the settings, and so is LVLT, which ends eight
    # sessions before its file.
    asked = ["EMC", "LVLT", "LLTC", "VAR", "WFM", "TWTR", "DTV", "AAPL", "SANM", "DYN"]
    assert real.delistings(asked, through).rows() == [
        ("DTV", date(2015, 7, 24), date(2015, 8, 14), None, None),
        ("DYN", date(2012, 7, 5), date(2012, 7, 12), None, None),
        ("EMC", date(2016, 9, 6), date(2016, 9, 27), None, None),
        ("LLTC", date(2017, 3, 10), date(2017, 3, 31), None, None),
        ("LVLT", date(2017, 10, 31), date(2017, 11, 7), None, None),
        ("SANM", date(2009, 8, 14), date(2009, 8, 21), None, None),
    ]
    assert real.delistings(asked[:8], date(2016, 9, 26))["ticker"].to_list() == ["DTV"]
    assert real.delistings(asked[:8], date(2016, 9, 27))["ticker"].to_list() == ["DTV", "EMC"]


def test_every_real_end_is_told_and_nothing_else(real: FilesSource, shared_data: Path) -> None:
    """Of 788 tickers: the 33 that left the market while their file went on, those listed, and a symbol of two owners.

    Without the list, the two that trade again after 19 and 62 sessions are taken back on the day on which they do.
    """
    tickers = sorted({ticker for place in range(4) for ticker in real._spans(place)["ticker"]})
    found = real.delistings(tickers, date(2025, 10, 7)).filter(pl.col("successor").is_null())
    assert len(tickers) == 788
    listed = {each.ticker for each in load_settings("files", data_dir=shared_data).files.delisted}
    assert found.height == 37
    assert found["reason"].null_count() == 37
    ends = found.filter(~pl.col("ticker").is_in(["DD", "DTV", *listed]))
    waited = session_number(ends["known_at"].to_numpy().astype("datetime64[D]")) - session_number(
        ends["last_session"].to_numpy().astype("datetime64[D]")
    )
    assert set(waited.tolist()) == {15}
    unlisted = load_settings("files", data_dir=shared_data, files={"delisted": []})
    alone = FilesSource(unlisted.files, shared_data, date(2000, 1, 1)).delistings(["DYN", "SANM"], date(2025, 10, 7))
    assert alone.rows() == [
        ("DYN", date(2012, 7, 5), date(2012, 7, 26), None, None),
        ("DYN", date(2012, 7, 5), date(2012, 10, 3), "trades_again", None),
        ("SANM", date(2009, 8, 14), date(2009, 9, 4), None, None),
        ("SANM", date(2009, 8, 14), date(2009, 9, 14), "trades_again", None),
    ]


def test_real_renames_agree_with_the_bars_and_the_membership(real: FilesSource, shared_data: Path) -> None:
    renames = load_settings("files", data_dir=shared_data).files.renames
    assert len(renames) == 28
    membership = pl.read_parquet(shared_data / "sp500_membership.parquet")
    columns = {"prices_sp500_raw": "adj_close", "prices_sp500_adjusted": "close", "prices_former_members": "close"}
    returns = pl.concat(
        pl.scan_parquet(shared_data / f"{name}.parquet")
        .filter(pl.col("ticker").is_in([symbol for each in renames for symbol in (each.old, each.new)]))
        .sort("ticker", "date")
        .select(
            "ticker", "date", file=pl.lit(name), change=(pl.col(close) / pl.col(close).shift() - 1.0).over("ticker")
        )
        for name, close in columns.items()
    ).collect()
    assert [each.old for each in renames[25:]] == ["VIAC", "PARA", "CDAY"]
    for each in renames[:25]:
        assert each.since in membership.filter(pl.col("ticker") == each.old)["end_date"]
        assert each.since in membership.filter(pl.col("ticker") == each.new)["start_date"]
        old, new = (
            returns.filter(pl.col("ticker") == symbol, pl.col("date") < each.since) for symbol in (each.old, each.new)
        )
        both = old.join(new, on="date").filter(pl.col("file") != pl.col("file_right"))
        agree = ((both["change"] - both["change_right"]).abs() < 0.002).mean()
        assert len(both) >= 150, each
        assert agree >= 0.98, each  # type: ignore[operator]


def test_real_renames_without_bars_of_both_symbols(real: FilesSource, shared_data: Path) -> None:
    """What stands for them in the settings' comment, and that members get their bars by them."""
    names = ["prices_sp500_raw", "prices_sp500_adjusted"]
    bars = [
        pl.read_parquet(shared_data / f"{name}.parquet").filter(pl.col("ticker").is_in(["VIAC", "PSKY", "DAY"]))
        for name in names
    ]
    change = [
        each.sort("date").select("date", change=pl.col(close) / pl.col(close).shift() - 1.0).drop_nulls()
        for each, close in (
            (bars[0].filter(pl.col("ticker") == "VIAC"), "adj_close"),
            (bars[1].filter(pl.col("ticker") == "PSKY"), "close"),
        )
    ]
    both = change[0].join(change[1], on="date")
    assert len(both) == 3845
    assert ((both["change"] - both["change_right"]).abs() < 0.002).mean() > 0.99  # type: ignore[operator]
    assert bars[1].filter(pl.col("ticker") == "DAY")["date"].min() == date(2018, 4, 26)
    members = pl.read_parquet(shared_data / "sp500_membership.parquet")
    spans = members.filter(pl.col("ticker").is_in(["VIAC", "PARA", "CDAY", "DAY"])).select(
        "ticker", "start_date", "end_date"
    )
    assert sorted(spans.rows()) == [
        ("CDAY", date(2021, 9, 20), date(2024, 2, 1)),
        ("DAY", date(2024, 2, 1), None),
        ("PARA", date(2022, 2, 17), None),
        ("VIAC", date(2019, 12, 5), date(2022, 2, 17)),
    ]
    added = (
        pl.read_parquet(shared_data / "securities.parquet")
        .filter(pl.col("ticker") == "DAY")["date_added"]
        .cast(pl.String)
    )
    assert added.item().startswith("2021-09-20")
    given = real.bars(["VIAC", "PARA", "CDAY"], date(2021, 9, 20), date(2025, 10, 7))
    spans = given.group_by("ticker").agg(first=pl.col("date").min(), last=pl.col("date").max())
    assert sorted(spans.rows()) == [
        ("CDAY", date(2021, 9, 20), date(2024, 1, 31)),
        ("PARA", date(2021, 9, 20), date(2025, 8, 6)),
        ("VIAC", date(2021, 9, 20), date(2022, 2, 16)),
    ]


def test_real_statements(real: FilesSource, shared_data: Path) -> None:
    simfin = [shared_data / f"fundamentals_simfin_{name}.parquet" for name in ("annual", "quarterly")]
    everyone = pl.concat(pl.read_parquet(file, columns=["ticker"]) for file in simfin)["ticker"].unique().to_list()
    found = real.statements(everyone, date(2026, 12, 31))
    key = ["ticker", "period_end", "frequency", "provider"]
    assert not found.select(*key, "version").is_duplicated().any()
    assert (found["published"] > found["period_end"]).drop_nulls().all()
    first, second = (found.filter(pl.col("version") == version) for version in (0, 1))
    # Known by the later download, not by another statement of the same one.
    both = first.join(
        second.filter(pl.col("published").is_in([date(2021, 4, 3), date(2026, 4, 10)])), on=key, suffix="_later"
    )
    # The README counts 28 and 56, 34 and 9, 20 and 27 by fiscal year; two labels of one period make the small
    # differences.
    for frequency, counts in (("quarterly", (28, 34, 20)), ("annual", (57, 9, 27))):
        changed = both.filter((pl.col("frequency") == frequency) & (pl.col("provider") == "simfin"))
        for figure, count in zip(("revenue", "net_income", "total_equity"), counts, strict=True):
            assert changed.filter(pl.col(figure).ne_missing(pl.col(f"{figure}_later"))).height == count
    # Share counts as reported at the time, from files that had applied every split up to 2020, 2025 and 2026.
    reported = {
        ("AAPL", date(2012, 9, 30)): 945.355e6,
        ("AAPL", date(2015, 9, 30)): 5793.069e6,
        ("NVDA", date(2020, 1, 31)): 618e6,
        ("TSLA", date(2015, 12, 31)): 128.202e6,
        ("BAX", date(2012, 12, 31)): 556e6,  # the adjusted prices give the spin-off of 2015 as a split of 1.841
    }
    annual = first.filter((pl.col("frequency") == "annual") & (pl.col("provider") == "simfin"))
    for (ticker, end), shares in reported.items():
        given = annual.filter((pl.col("ticker") == ticker) & (pl.col("period_end") == end))["shares"].item()
        assert given == pytest.approx(shares, rel=1e-3)
    # Around spin-offs that the adjusted prices give as splits: SimFin multiplied the counts of GE by both ratios, of
    # EXC (1.402) but for the last period, of K (1.065) some, of MMM (1.196) and DHR (1.128) none.
    quarterly = first.filter((pl.col("frequency") == "quarterly") & (pl.col("provider") == "simfin"))
    for ticker, begin, end, low, high in (
        ("EXC", date(2019, 9, 30), date(2022, 12, 31), 970e6, 981e6),
        ("MMM", date(2019, 9, 30), date(2024, 9, 30), 547e6, 587e6),
        ("DHR", date(2019, 9, 30), date(2024, 9, 30), 698e6, 750e6),
        ("GE", date(2021, 9, 30), date(2022, 9, 30), 1098e6, 1102e6),
        ("GE", date(2023, 3, 31), date(2023, 9, 30), 1096e6, 1100e6),
        ("K", date(2019, 9, 30), date(2024, 6, 30), 341e6, 346e6),
    ):
        counts = quarterly.filter((pl.col("ticker") == ticker) & pl.col("period_end").is_between(begin, end))["shares"]
        assert len(counts) >= 3
        assert counts.is_between(low, high).all(), ticker
    netflix = first.filter((pl.col("ticker") == "NFLX") & (pl.col("period_end") == date(2025, 3, 31)))["shares"].item()
    assert netflix == pytest.approx(
        436.962e6, rel=1e-3
    )  # ten times that in the snapshot of 2026, after the split of November 2025


def test_real_filings(real: FilesSource) -> None:
    given = real.statements(["OI", "NRG", "ALXN"], date(2018, 1, 1)).filter(pl.col("provider") == "sec")
    oi = given.filter((pl.col("ticker") == "OI") & (pl.col("period_end") == date(2015, 12, 31)))
    assert oi.select("published", "version", "net_income").rows() == [
        (date(2016, 2, 16), 0, -7.4e7),
        (date(2016, 5, 12), 1, 1.35e8),
    ]
    nrg = given.filter((pl.col("ticker") == "NRG") & (pl.col("period_end") == date(2016, 12, 31)))
    assert nrg.select("published", "version", "total_assets").rows() == [
        (date(2017, 2, 28), 0, 3.0355e10)
    ]  # not NRG Yield's
    alxn = given.filter((pl.col("ticker") == "ALXN") & (pl.col("period_end") == date(2015, 12, 31)))
    assert alxn["version"].to_list() == [0]  # the amendment of January 2017 repeats the figures

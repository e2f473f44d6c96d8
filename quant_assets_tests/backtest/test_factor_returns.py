"""Files as French's data library has them: text before and after, percent, what is missing, momentum apart."""

from datetime import date

import pytest

from quant_assets.backtest.factor_returns import joined, parse
from quant_assets.errors import SourceError

MONTHLY = """This file was created by CMPT_ME_BEME_RETS using the 202409 CRSP database.
The 1-month TBill rate data until 202405 are from Ibbotson Associates.

,Mkt-RF,SMB,HML,RF
192607,    2.96,   -2.56,   -2.43,    0.22
192608,    2.64,   -1.17,    3.82,    0.25
192609,    0.36,   -1.40, -99.99,    0.23

 Annual Factors: January-December
,Mkt-RF,SMB,HML,RF
  1927,   29.47,   -2.04,   -4.54,    3.12
  1928,   35.39,    4.51,   -6.17,    3.56

Copyright 2024 Kenneth R. French
"""
DAILY = """This file was created by CMPT_ME_BEME_OP_INV_RETS_DAILY using the 202409 CRSP database.

,Mkt-RF,SMB,HML,RMW,CMA,RF
19630701,   -0.67,    0.02,   -0.35,    0.03,    0.13,    0.012
19630702,    0.79,   -0.28,    0.28,   -0.08,   -0.21,    0.012
19630703,    0.63,   -0.18,   -0.10,    0.13,   -0.25,    0.012

Copyright 2024 Kenneth R. French
"""
MOMENTUM = """This file was created by CMPT_ME_PRIOR_RETS_DAILY using the 202409 CRSP database.
It contains a momentum factor. Missing data are indicated by -99.99 or -999.

,Mom
19630702,   -0.01
19630703,    -999
19630705,    0.25
"""


def test_a_monthly_file_without_its_annual_figures() -> None:
    found = parse(MONTHLY, "monthly.csv")
    assert found.frequency == "monthly"
    assert found.rows.columns == ["period", "mkt_rf", "smb", "hml", "rf"]
    assert found.rows["period"].to_list() == [date(1926, 7, 1), date(1926, 8, 1), date(1926, 9, 1)]
    assert found.rows["mkt_rf"].to_list() == pytest.approx([0.0296, 0.0264, 0.0036])
    assert found.rows["hml"].to_list() == [pytest.approx(-0.0243), pytest.approx(0.0382), None]


def test_daily_factors_with_momentum_of_another_file() -> None:
    found = joined([parse(DAILY.replace("\n", "\r\n"), "five.csv"), parse(MOMENTUM, "mom.csv")])
    assert (found.frequency, found.origin) == ("daily", "five.csv, mom.csv")
    assert found.rows.columns == ["period", "mkt_rf", "smb", "hml", "rmw", "cma", "rf", "mom"]
    assert found.rows["mom"].to_list() == [None, pytest.approx(-0.0001), None, pytest.approx(0.0025)]
    assert found.rows["rf"].to_list() == [*[pytest.approx(0.00012)] * 3, None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("date,close\n2020-01-02,1.0\n", "x.csv: it has no header line such as"),
        (",Mkt-RF,SMB\n\nnothing\n", "x.csv: no row of a day"),
        (",Mkt-RF,SMB\n19630701,1.0\n", "x.csv, line 2: 1 figures for 2 names"),
        (",Mkt-RF\n19630701,one\n", "x.csv, line 2: 'one' is not a number"),
        (",Mkt-RF\n19630701,1.0\n19630701,1.0\n", "x.csv: 1963-07-01 is listed twice"),
        (",Mkt-RF\n19631401,1.0\n", "x.csv: a period is not a day or month"),
        (",Mkt-RF\n19630705,1.0\n19630712,1.0\n19630719,1.0\n", "its rows are 7 days apart"),
    ],
)
def test_other_files_are_refused(text: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        parse(text, "x.csv")


def test_files_of_two_frequencies_are_refused() -> None:
    with pytest.raises(SourceError, match=r"monthly.csv is monthly and mom.csv daily"):
        joined([parse(MONTHLY, "monthly.csv"), parse(MOMENTUM, "mom.csv")])

"""What came of what was said, against figures reckoned by hand."""

from datetime import date

import polars as pl
import pytest

from quant_assets.backtest.live_record import JUDGED, REALISED, judged, realised

MONDAY, TUESDAY = date(2024, 6, 24), date(2024, 6, 25)


def weights(day: date, **held: float) -> pl.DataFrame:
    rows = [
        {"ticker": name, "date": day, "item": "weight", "model": "m", "horizon": 5, "value": weight}
        for name, weight in held.items()
    ]
    return pl.DataFrame(rows, schema_overrides={"horizon": pl.Int32})


def forecasts(day: date, **said: float) -> pl.DataFrame:
    return weights(day, **said).with_columns(item=pl.lit("forecast"))


def labels(day: date, known_at: date, **returns: float) -> pl.DataFrame:
    rows = [
        {
            "ticker": name,
            "date": day,
            "horizon": 5,
            "forward_return": value,
            "known_at": known_at,
            "unexplained": False,
        }
        for name, value in returns.items()
    ]
    return pl.DataFrame(rows, schema_overrides={"horizon": pl.Int32})


def test_a_session_earns_its_weights_times_the_labels() -> None:
    said = pl.concat([weights(MONDAY, A=0.5, B=0.3), weights(TUESDAY, A=1.0, C=0.0)])
    known = pl.concat(
        [labels(MONDAY, date(2024, 7, 2), A=0.10, B=-0.20, C=9.0), labels(TUESDAY, date(2024, 7, 3), A=0.10)]
    )
    found = realised(said, known)
    assert dict(found.schema) == dict(REALISED)
    assert found.drop("return").rows() == [(MONDAY, 5, 2, 0.8, date(2024, 7, 2))], "C of Tuesday is not known yet"
    assert found["return"].to_list() == [pytest.approx(0.5 * 0.10 - 0.3 * 0.20)]


def test_forecasts_are_judged_once_they_matured() -> None:
    said = pl.concat([forecasts(MONDAY, A=0.1, B=0.2, C=0.3, D=0.4), forecasts(TUESDAY, A=0.1, B=0.2, C=0.3)])
    known = labels(MONDAY, date(2024, 7, 2), A=1.0, B=2.0, C=3.0, D=-9.0)
    strange = known.with_columns(unexplained=pl.col("ticker") == "D")
    found = judged(said, strange)
    assert dict(found.schema) == dict(JUDGED)
    assert found.select("model", "horizon", "date", "names").rows() == [("m", 5, MONDAY, 3)]
    assert found["rank_ic"].to_list() == [pytest.approx(1.0)]
    assert judged(said, known)["rank_ic"].to_list() == [pytest.approx(-0.2)]


def test_nothing_said_earns_nothing() -> None:
    known = labels(MONDAY, date(2024, 7, 2), A=1.0)
    nothing = weights(MONDAY, A=1.0).clear()
    assert realised(nothing, known).is_empty()
    assert judged(nothing, known).is_empty()

"""Cadence and the choice of a checkpoint by age."""

from datetime import date
from itertools import pairwise

import polars as pl
import pytest

from quant_assets.errors import HistoryError
from quant_assets.learning.checkpoints import is_training_month, newest_checkpoint
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.domain import TrainingSettings

SETTINGS = TrainingSettings(cadence_months=3, max_checkpoint_age_months=6)
FIRST = date(2018, 1, 1)


def rows(*trained: tuple[date, int, str]) -> pl.DataFrame:
    schema = CHECKPOINTS.schema
    given = [{"as_of": day, "horizon": horizon, "status": status, "rows": 0} for day, horizon, status in trained]
    return pl.DataFrame(given, schema=schema, orient="row")


@pytest.mark.parametrize(
    ("cadence", "months"), [(1, list(range(1, 13))), (3, [3, 6, 9, 12]), (4, [4, 8, 12]), (6, [6, 12]), (12, [12])]
)
def test_cadence_is_by_calendar_month(cadence: int, months: list[int]) -> None:
    for year in (2019, 2024):
        assert [month for month in range(1, 13) if is_training_month(date(year, month, 17), cadence)] == months


def test_a_cadence_that_does_not_divide_the_year_stays_even() -> None:
    months = [
        year * 12 + month
        for year in range(2018, 2028)
        for month in range(1, 13)
        if is_training_month(date(year, month, 1), 5)
    ]
    assert {later - earlier for earlier, later in pairwise(months)} == {5}


def test_the_newest_of_an_earlier_month_is_chosen() -> None:
    frame = rows(
        (date(2020, 3, 31), 5, "trained"),
        (date(2020, 6, 30), 20, "trained"),
        (date(2020, 6, 30), 5, "trained"),
        (date(2020, 9, 30), 5, "trained"),
    )
    chosen = {
        month: newest_checkpoint(frame, date(2020, month, 1), SETTINGS, FIRST, "it")["as_of"].unique().to_list()
        for month in (6, 7, 9, 10)
    }
    assert chosen == {6: [date(2020, 3, 31)], 7: [date(2020, 6, 30)], 9: [date(2020, 6, 30)], 10: [date(2020, 9, 30)]}
    assert newest_checkpoint(frame, date(2020, 7, 31), SETTINGS, FIRST, "it")["horizon"].to_list() == [5, 20]


def test_too_little_history_is_no_model_yet() -> None:
    young = rows((date(2018, 3, 29), 5, "too_little_history"), (date(2018, 3, 29), 20, "too_little_history"))
    assert newest_checkpoint(young, date(2018, 5, 1), SETTINGS, FIRST, "it") is None
    older = rows((date(2018, 3, 29), 20, "trained"), (date(2018, 6, 29), 20, "too_little_history"))
    assert newest_checkpoint(older, date(2018, 7, 1), SETTINGS, FIRST, "it")["as_of"].to_list() == [date(2018, 3, 29)]
    mixed = rows((date(2018, 3, 29), 5, "trained"), (date(2018, 3, 29), 60, "too_little_history"))
    assert newest_checkpoint(mixed, date(2018, 5, 1), SETTINGS, FIRST, "it")["horizon"].to_list() == [5]


def test_before_the_first_training_month_there_is_no_model() -> None:
    for month in (1, 2, 3):
        assert newest_checkpoint(rows(), date(2018, month, 1), SETTINGS, FIRST, "it") is None


def test_a_missing_checkpoint_names_the_months() -> None:
    with pytest.raises(
        HistoryError, match=r"sector it: predictions of 2018-04 .* materialise lightgbm_checkpoint for 2018-03$"
    ):
        newest_checkpoint(rows(), date(2018, 4, 1), SETTINGS, FIRST, "it")
    with pytest.raises(HistoryError, match=r"for 2019-12, 2020-03$"):
        newest_checkpoint(rows(), date(2020, 5, 1), SETTINGS, FIRST, "it")


def test_age_is_counted_in_months_and_a_later_checkpoint_does_not_serve() -> None:
    frame = rows((date(2020, 3, 31), 5, "trained"), (date(2020, 10, 30), 5, "trained"))
    assert newest_checkpoint(frame, date(2020, 9, 1), SETTINGS, FIRST, "it") is not None
    with pytest.raises(HistoryError, match=r"2020-10 .*at most 6 months ago; .* 2020-06, 2020-09$"):
        newest_checkpoint(frame, date(2020, 10, 1), SETTINGS, FIRST, "it")


def test_a_cadence_longer_than_the_age_names_the_setting() -> None:
    settings = TrainingSettings(cadence_months=12, max_checkpoint_age_months=6)
    with pytest.raises(HistoryError, match=r"2019-12, older than 6 months; set training\.max_checkpoint_age_months"):
        newest_checkpoint(rows((date(2019, 12, 31), 5, "trained")), date(2020, 9, 1), settings, FIRST, "it")

"""Splitters of panels: published layouts, and what holds for every panel, horizon and order of rows."""

from datetime import date
from itertools import combinations
from math import comb

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.errors import DatasetError, HistoryError, QuantError, SettingsError
from quant_assets.learning.splits import CombinatorialPurged, PanelSplitter, WalkForward, create_walk_forward_splits
from quant_assets.market.calendar import session_number, sessions

DAYS = sessions(date(2015, 1, 2), date(2022, 12, 30))
TWELVE = np.zeros((12, 2)), None, DAYS[:12]


def trained(splitter: PanelSplitter) -> list[list[int]]:
    return [train.tolist() for train, _ in splitter.split(*TWELVE)]


def test_the_layout_that_skfolio_documents() -> None:
    tested = [test.tolist() for _, test in CombinatorialPurged(3, 2, 0, 0).split(*TWELVE)]
    blocks = [list(range(start, start + 4)) for start in (0, 4, 8)]
    assert tested == [one + other for one, other in combinations(blocks, 2)]
    assert trained(CombinatorialPurged(3, 2, 0, 0)) == [[8, 9, 10, 11], [4, 5, 6, 7], [0, 1, 2, 3]]
    assert trained(CombinatorialPurged(3, 2, purge_sessions=1, embargo_sessions=0)) == [[9, 10, 11], [5, 6], [0, 1, 2]]
    assert trained(CombinatorialPurged(3, 2, purge_sessions=0, embargo_sessions=1)) == [
        [9, 10, 11],
        [5, 6, 7],
        [0, 1, 2, 3],
    ]


def test_expanding_and_rolling_windows() -> None:
    expanding = create_walk_forward_splits(windows=3, embargo_days=0, purge_days=0)
    assert [(train.tolist(), test.tolist()) for train, test in expanding.split(*TWELVE)] == [
        ([0, 1, 2], [3, 4, 5]),
        ([0, 1, 2, 3, 4, 5], [6, 7, 8]),
        (list(range(9)), [9, 10, 11]),
    ]
    rolling = create_walk_forward_splits(windows=3, embargo_days=0, purge_days=0, kind="rolling")
    assert trained(rolling) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    five = create_walk_forward_splits(windows=3, embargo_days=1, purge_days=1, kind="rolling", train_days=5)
    assert trained(five) == [[0], [1, 2, 3], [4, 5, 6]]
    assert expanding.get_n_splits() == 3


def panel(seed: int, tickers: int, count: int, horizon: int, halted: bool) -> pl.DataFrame:
    """Ragged tickers of random sessions, in any order; the labels of one may be known a quarter later."""
    rng = np.random.default_rng(seed)
    parts = []
    for ticker in range(tickers):
        at = np.sort(rng.choice(count, size=rng.integers(max(1, count // 2), count + 1), replace=False))
        late = 63 if halted and ticker == 0 else 0
        parts.append(
            pl.DataFrame({"date": DAYS[at], "known_at": DAYS[at + horizon + late]}).with_columns(ticker=ticker)
        )
    return pl.concat(parts).sample(fraction=1, shuffle=True, seed=seed)


PANELS = st.builds(
    panel,
    seed=st.integers(0, 10_000),
    tickers=st.integers(1, 4),
    count=st.integers(30, 900),
    horizon=st.sampled_from([1, 5, 20, 60]),
    halted=st.booleans(),
)
ROOM = {"purge_sessions": st.integers(0, 10), "embargo_sessions": st.integers(0, 80)}
SPLITTERS = st.one_of(
    st.builds(WalkForward, windows=st.integers(1, 8), kind=st.sampled_from(["expanding", "rolling"]), **ROOM),
    st.integers(2, 7).flatmap(
        lambda folds: st.builds(CombinatorialPurged, st.just(folds), st.integers(1, folds - 1), **ROOM)
    ),
)


@settings(max_examples=150, deadline=None)
@given(rows=PANELS, splitter=SPLITTERS)
def test_no_label_touches_a_test_block_and_every_date_is_tested(rows: pl.DataFrame, splitter: PanelSplitter) -> None:
    number, known = session_number(rows["date"].to_numpy()), session_number(rows["known_at"].to_numpy())
    times = dict.fromkeys(np.unique(number).tolist(), 0)
    splits = 0
    try:
        for train, test in splitter.split(rows):
            splits += 1
            assert len(train)
            tested = np.unique(number[test])
            for day in tested.tolist():
                times[day] += 1
                # Across tickers: every row of a tested date is tested.
            assert set(np.flatnonzero(np.isin(number, tested))) == set(test)
            # One interval against the other, row by row, each training row with its room on either side.
            room, after = splitter.purge_sessions, splitter.embargo_sessions
            before = after if isinstance(splitter, WalkForward) else 0
            for row in np.random.default_rng(0).choice(test, min(len(test), 20), replace=False):
                apart = (known[train] < number[row] - room - before) | (number[train] > known[row] + room + after)
                assert apart.all()
            if isinstance(splitter, WalkForward):
                assert number[train].max() < number[test].min()
    except HistoryError:  # small data and large embargoes; the messages are tested below
        return
    assert splits == splitter.get_n_splits()
    counts = list(times.values())
    if isinstance(splitter, CombinatorialPurged):
        assert set(counts) == {comb(splitter.folds - 1, splitter.test_folds - 1)}
    else:
        assert isinstance(splitter, WalkForward)
        assert counts == sorted(counts)
        assert (set(counts), counts.count(0)) == ({0, 1}, len(np.array_split(counts, splitter.windows + 1)[0]))


@settings(max_examples=40, deadline=None)
@given(rows=PANELS, splitter=SPLITTERS, seed=st.integers(0, 100))
def test_the_order_of_rows_decides_nothing(rows: pl.DataFrame, splitter: PanelSplitter, seed: int) -> None:
    def chosen(of: pl.DataFrame) -> list[list[list[tuple[object, ...]]]]:
        try:
            return [[sorted(of[places].rows()) for places in split] for split in splitter.split(of)]
        except HistoryError:
            return []

    assert chosen(rows) == chosen(rows.sample(fraction=1, shuffle=True, seed=seed))


def test_a_row_is_dropped_only_where_it_must_be() -> None:
    """The purge takes nothing that is far enough away, or an empty training would pass every other test."""
    rows = pl.DataFrame({"date": DAYS[:500], "known_at": DAYS[20:520]})
    for train, test in CombinatorialPurged(5, 1, purge_sessions=2, embargo_sessions=5).split(rows):
        left = set(range(500)) - set(train.tolist()) - set(test.tolist())
        first, last = test.min(), test.max()
        due = set(range(first - 22, first)) | set(range(last + 1, last + 20 + 2 + 5 + 1))
        assert left == due & set(range(500))
    for train, test in WalkForward(4, embargo_sessions=5, purge_sessions=2).split(rows):
        assert train.tolist() == list(range(test.min() - 27))


def test_paths_test_every_block_once() -> None:
    splitter = CombinatorialPurged(6, 2)
    tested = list(combinations(range(6), 2))
    assert splitter.get_n_splits() == len(tested) == 15
    assert len(splitter.paths) == 5
    for path in splitter.paths:
        assert sorted(path) == list(range(6))
        assert all(block in tested[split] for block, split in path.items())
    used = sorted((block, split) for path in splitter.paths for block, split in path.items())
    assert used == sorted((block, split) for split, blocks in enumerate(tested) for block in blocks)


def test_scikit_learn_takes_them() -> None:
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, cross_val_score

    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(300, 3))
    targets = inputs @ [1.0, 0.0, -1.0] + 0.1 * rng.normal(size=300)
    groups = np.stack([DAYS[:300], DAYS[5:305]], axis=1)
    for splitter in (create_walk_forward_splits(), CombinatorialPurged(5, 2)):
        scores = cross_val_score(Ridge(), inputs, targets, cv=splitter, groups=groups)
        assert len(scores) == splitter.get_n_splits()
        assert scores.min() > 0.9
        found = GridSearchCV(Ridge(), {"alpha": [1e-3, 1e4]}, cv=splitter).fit(inputs, targets, groups=groups)
        assert found.best_params_ == {"alpha": 1e-3}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: list(WalkForward(12).split(*TWELVE)),
            HistoryError,
            "12 dates cannot be cut into 13 blocks; give more",
        ),
        (
            lambda: list(WalkForward(2, embargo_sessions=60).split(*TWELVE)),
            HistoryError,
            "from 2015-01-08 on, with a purge",
        ),
        (lambda: WalkForward(0), SettingsError, "must be at least 1"),
        (lambda: WalkForward(2, -1), SettingsError, "both must be at least 0"),
        (lambda: WalkForward(2, train_sessions=9), SettingsError, "train_sessions is only for rolling windows"),
        (lambda: CombinatorialPurged(3, 3), SettingsError, "less than folds"),
        (lambda: list(WalkForward().split(np.zeros((9, 2)))), DatasetError, "have no dates: give a frame"),
        (
            lambda: list(WalkForward().split(None, None, np.arange(9))),
            DatasetError,
            r"groups of shape \(9,\) and type int",
        ),
        (
            lambda: list(WalkForward(2).split(None, None, np.stack([DAYS[1:13], DAYS[:12]], axis=1))),
            DatasetError,
            "label of 2015-01-05 has known_at 2015-01-02, which is earlier",
        ),
    ],
)
def test_what_cannot_be_split_is_named(make: object, error: type[QuantError], message: str) -> None:
    assert callable(make)
    with pytest.raises(error, match=message):
        make()

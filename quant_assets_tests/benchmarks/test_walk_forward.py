"""The walk-forward study: what its controls learn from, and its table. The study itself takes an hour."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]

MADE = """
import json
from datetime import date
import numpy as np
import polars as pl
from benchmarks.walk_forward import altered, markdown, table, together
from quant_assets.market.calendar import sessions

rng = np.random.default_rng(1)
days = sessions(date(2021, 1, 4), date(2022, 12, 30)).astype("datetime64[D]")
names, horizons = [f"T{place}" for place in range(20)], [1, 5]
keys = pl.DataFrame({"date": pl.Series(days, dtype=pl.Date)}).join(pl.DataFrame({"ticker": names}), how="cross")
keys = keys.select("ticker", "date").sort("ticker", "date")
features = keys.with_columns(pl.Series(name, rng.normal(size=len(keys))) for name in ("one", "two", "three"))
outcomes = keys.join(pl.DataFrame({"horizon": horizons}), how="cross").with_columns(pl.col("horizon").cast(pl.Int32))
outcomes = outcomes.with_columns(forward_return=pl.Series(0.02 * rng.normal(size=len(outcomes))))
"""


def run(code: str) -> Any:
    done = subprocess.run([sys.executable, "-c", MADE + code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_permuted_labels_are_those_of_the_same_session_and_horizon() -> None:
    found = run(
        "on = ['ticker', 'date', 'horizon']\n"
        "one = altered('permuted', features, outcomes, {}, [7, 1])\n"
        "dealt = one['labels']\n"
        "def multiset(rows): return rows.select('date', 'horizon', 'forward_return').sort(pl.all())\n"
        "both = outcomes.join(dealt, on=on, suffix='_dealt')\n"
        "again, other = (altered('permuted', features, outcomes, {}, seed)['labels'] for seed in ([7, 1], [7, 2]))\n"
        "moved = both.select((pl.col('forward_return') != pl.col('forward_return_dealt')).mean()).item()\n"
        "apart = both.with_columns(pl.col('forward_return', 'forward_return_dealt').rank().over('date', 'horizon'))\n"
        "print(json.dumps([one['features'].equals(features), multiset(dealt).equals(multiset(outcomes)), moved,\n"
        "    dealt.equals(again), dealt.equals(other),\n"
        "    apart.select(pl.corr('forward_return', 'forward_return_dealt')).item()]))"
    )
    untouched, same_returns, moved, repeated, with_another_seed, relation = found
    assert [untouched, same_returns, repeated] == [True] * 3
    assert moved > 0.9
    assert not with_another_seed
    assert abs(relation) < 0.03


def test_the_oracle_is_the_label_of_its_horizon_and_little_else() -> None:
    found = run(
        "one = altered('oracle', features, outcomes.filter(pl.col('ticker') != 'T3'), {1: 'one', 5: 'two'}, [7, 1])\n"
        "joined = one['labels'].join(one['features'], on=['ticker', 'date'])\n"
        "def related(horizon, name): return joined.filter(pl.col('horizon') == horizon).select(\n"
        "    pl.corr('forward_return', name)).item()\n"
        "print(json.dumps([related(1, 'one'), related(5, 'two'), related(1, 'two'), related(1, 'three'),\n"
        "    one['features'].columns == features.columns, one['features'].select(pl.col('one').null_count()).item(),\n"
        "    len(days), one['features'].select('ticker', 'date', 'three').equals(\n"
        "    features.select('ticker', 'date', 'three'))]))"
    )
    first, second, crossed, unrelated, columns, null, sessions, others = found
    assert 0.99 < first < 0.9999
    assert 0.99 < second < 0.9999
    assert abs(crossed) < 0.05
    assert abs(unrelated) < 0.05
    assert [columns, others] == [True] * 2
    assert null == sessions


def test_the_table_has_the_mean_the_error_and_the_market_weighed_by_names() -> None:
    found = run(
        "ic = rng.normal(0.02, 0.2, size=(2, len(days)))\n"
        "daily = pl.concat([pl.DataFrame({'date': pl.Series(days, dtype=pl.Date), 'ic': ic[place]}).with_columns(\n"
        "    rank_ic='ic', sector=pl.lit(sector), model=pl.lit('m'), horizon=pl.lit(5, pl.Int32),\n"
        "    names=pl.lit(names, pl.Int32)) for place, (sector, names) in enumerate([('it', 30), ('re', 10)])])\n"
        "daily = together(daily.select('sector', 'model', 'horizon', 'date', 'names', 'ic', 'rank_ic'))\n"
        "found, apart = (table(daily, overlapping=each) for each in (True, False))\n"
        "market = ic.T @ [0.75, 0.25]\n"
        "lines = list(markdown(found, 'actual', ['it', 're']))\n"
        "print(json.dumps([found.to_dicts(), apart.to_dicts(), market.mean(),\n"
        "    market[pl.Series(days).dt.year() == 2021].mean(), ic[0].std(ddof=1) / len(days) ** 0.5, lines]))"
    )
    rows, apart, market, of_2021, error, lines = found
    cells = {(row["sector"], row["year"]): row for row in rows}
    assert len(cells) == 9
    assert abs(cells["all", "all"]["rank_ic"] - market) < 1e-12
    assert abs(cells["all", "2021"]["rank_ic"] - of_2021) < 1e-12
    alone = next(row for row in apart if (row["sector"], row["year"]) == ("it", "all"))
    assert abs(alone["error"] / error - 1) < 1e-9
    # Outcomes that share 4/5, 3/5, … of their returns: 1 + 2 (4 + 3 + 2 + 1) / 5 times the variance.
    assert abs(cells["it", "all"]["error"] / error - 5**0.5) < 0.02
    assert abs(cells["it", "all"]["t"] * cells["it", "all"]["error"] - cells["it", "all"]["rank_ic"]) < 1e-12
    assert cells["it", "all"]["lower"] < cells["it", "all"]["rank_ic"] < cells["it", "all"]["upper"]
    assert sum(line.startswith("| 2021 |") for line in lines) == 1

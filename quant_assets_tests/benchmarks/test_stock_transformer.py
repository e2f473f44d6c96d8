"""The study of the stock Transformer on a made-up market where tomorrow undoes a part of today."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.market.calendar import sessions

pytest.importorskip("lightning", reason="the extra deep is not installed")

PROJECT = Path(__file__).resolve().parents[2]
TINY = (
    "--hidden-size=8",
    "--names=8",
    "--validation-names=8",
    "--epochs=1",
    "--pretraining-epochs=1",
    "--dates-in-step=16",
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve names whose return is -0.6 times the one before, plus noise."""
    rng = np.random.default_rng(4)
    days = sessions(date(2012, 11, 19), date(2017, 12, 11)).astype("datetime64[D]")
    returns = np.zeros((12, len(days)))
    for i in range(1, len(days)):
        returns[:, i] = -0.6 * returns[:, i - 1] + 0.01 * rng.standard_normal(12)
    close = 50.0 * np.cumprod(1.0 + returns, axis=1)
    frame = pl.DataFrame(
        {
            "ticker": np.repeat([f"T{i:02d}" for i in range(12)], len(days)),
            "date": np.tile(days, 12),
            "close": close.ravel(),
        }
    ).with_columns(
        open=pl.col("close") * 1.001,
        high=pl.col("close") * 1.01,
        low=pl.col("close") * 0.99,
        volume=pl.Series(np.round(rng.lognormal(12.0, 0.3, close.size))),
    )
    path = tmp_path_factory.mktemp("market") / "bars.parquet"
    frame.write_parquet(path)
    return path


@pytest.mark.slow
def test_the_parts_and_the_outcomes(bars: Path) -> None:
    code = (
        "import json, sys; from pathlib import Path; import numpy as np, polars as pl\n"
        "from benchmarks.stock_market import Market, judged\n"
        "market = Market.of(Path(sys.argv[1])); test = market.test; positions, outcomes = test.rows()\n"
        "row = int(np.flatnonzero(test.dates == np.datetime64('2017-03-01'))[0])\n"
        "ticker = market.tensor.ticker_of(test.positions[row]).tolist().index(5)\n"
        "print(json.dumps({'dates': [len(p.dates) for p in (market.training, market.validation, market.test)],\n"
        "  'ends': [str(p.dates[i]) for p in (market.training, market.validation, market.test) for i in (0, -1)],\n"
        "  'one': float(test.outcomes[row, ticker]), 'perfect': judged(test, market.tensor, outcomes),\n"
        "  'reverse': judged(test, market.tensor, -outcomes), 'all': judged(test, market.tensor, None),\n"
        "  'best': [float(x) for x in np.sort(test.outcomes, axis=1)[:, -5:].mean(axis=1)],\n"
        "  'some': sorted(set(test.some(4, 1).positions[0].tolist()) - set(test.positions[0].tolist()))}))"
    )
    done = run("-c", code, str(bars))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["dates"][1:] == [252, 237]
    # A window ends the session before its outcome, and training outcomes end with 2015.
    assert found["ends"][1:] == ["2015-12-30", "2015-12-31", "2016-12-29", "2016-12-30", "2017-12-07"]
    close = pl.read_parquet(bars).filter(ticker="T05").sort("date")
    after = close.with_columns(told=pl.col("close").shift(-1) / pl.col("close") - 1)
    assert found["one"] == pytest.approx(after.filter(date=date(2017, 3, 1))["told"].item(), rel=1e-12)
    perfect, best = found["perfect"], np.array(found["best"])
    assert perfect["rank_ic"] == pytest.approx(1.0)
    assert found["reverse"]["rank_ic"] == pytest.approx(-1.0)
    assert perfect["top_5_cumulative"] == pytest.approx(np.prod(1 + best) - 1)
    assert perfect["top_5_sum"] == pytest.approx(best.sum())
    assert perfect["top_5_sharpe"] == pytest.approx(best.mean() / best.std() * 252**0.5)
    assert perfect["top_1_sum"] > perfect["top_5_sum"] > found["all"]["all_sum"] > found["reverse"]["top_5_sum"]
    assert found["some"] == []


#: Several calls in one process, of which each would load torch again.
CALLS = """
import contextlib, io, json, sys
from pathlib import Path
from benchmarks.stock_transformer import main

data, into, *tiny = sys.argv[1:]

def call(*more):
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["stock_transformer", "--data", data, "--into", into, *tiny, *more]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            return [ended.code, err.getvalue()]
    return [out.getvalue(), err.getvalue()]

models = ("--seeds", "2", "--models", "linear,rank_lstm,transformer_pretrained")
first, again = call(*models), call(*models)
results = {path.stem: json.loads(path.read_text()) for path in Path(into).glob("*-*.json")}
(Path(into) / "rank_lstm-1.json").unlink()
call(*models)
once_more = json.loads((Path(into) / "rank_lstm-1.json").read_text())
found = {"first": first, "again": again, "results": results, "once_more": once_more, "other": call("--alpha", "1")}
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.nightly
def test_models_find_what_was_planted_and_a_second_call_computes_nothing(bars: Path, tmp_path: Path) -> None:
    done = run("-c", CALLS, str(bars), str(tmp_path / "study"), *TINY)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    results = found["results"]
    assert sorted(results) == [
        "linear-0",
        "rank_lstm-0",
        "rank_lstm-1",
        "transformer_pretrained-0",
        "transformer_pretrained-1",
    ]
    assert results["linear-0"]["rank_ic"] > 0.3
    assert results["rank_lstm-0"]["rank_ic"] != results["rank_lstm-1"]["rank_ic"]
    assert "pretraining_loss" in results["transformer_pretrained-0"]["notes"]
    table = found["first"][0]
    assert "| linear | 1 | +0." in table
    assert table.count(" ± ") == 16
    assert found["again"] == [table, ""]
    assert found["once_more"]["rank_ic"] == results["rank_lstm-1"]["rank_ic"]
    code, said = found["other"]
    assert code == 2
    assert "holds results of other options" in said


def test_a_model_that_there_is_not(tmp_path: Path) -> None:
    done = run(
        "-m", "benchmarks.stock_transformer", "--data", "x", "--into", str(tmp_path / "a"), "--models", "linear,oracle"
    )
    assert done.returncode == 2
    assert "no model 'oracle'" in done.stderr
    assert not (tmp_path / "a").exists()

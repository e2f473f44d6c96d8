"""A made-up sector of 24 names over 30 months, run through the project's own candidates-to-backtest functions where
they are cheap."""

from datetime import date

import numpy as np
import polars as pl

from quant_assets.backtest.simulation import simulate
from quant_assets.backtest.track_record import continued
from quant_assets.market.calendar import sessions
from quant_assets.portfolio.weights import sector_weights
from quant_assets.reporting.report_data import ReportFrames
from quant_assets.risk.regimes import regime_state
from quant_assets.schemas import DATASETS
from quant_assets.settings.risk import RegimeSettings
from quant_assets.settings.trading import BacktestSettings
from quant_assets.settings.weights import WeightSettings

FIRST, LAST = date(2014, 1, 1), date(2016, 6, 30)


def _long(tickers: list[str], days: np.ndarray, **values: np.ndarray) -> pl.DataFrame:
    """Arrays of shape (tickers, days) as a long frame."""
    frame = pl.DataFrame({"ticker": np.repeat(tickers, len(days)), "date": np.tile(days, len(tickers))})
    return frame.with_columns(**{name: pl.Series(array.ravel()) for name, array in values.items()})


def build_frames(with_model: bool = True, names: list[str] | None = None) -> ReportFrames:
    """Frames of a report; predictions have a rank correlation of about 0.2 with what follows."""
    rng = np.random.default_rng(11)
    tickers = names or [f"T{i:02d}" for i in range(24)]
    days = sessions(date(2013, 1, 1), LAST)
    shocks = rng.standard_t(5, (len(tickers), len(days))) * 0.012 + rng.standard_normal(len(days)) * 0.006
    close = 50 * np.exp(np.cumsum(shocks + 0.0003, axis=1))
    prices = _long(tickers, days, close=close).with_columns(panel_from="date")
    universe = prices.select("ticker", "date")
    inside = days >= np.datetime64(FIRST)
    ahead = np.full(close.shape, np.nan)
    ahead[:, :-21] = close[:, 21:] / close[:, 1:-20] - 1
    guess = 0.01 * (0.2 * np.nan_to_num(ahead) / 0.06 + rng.standard_normal(close.shape))
    known = np.concatenate([days[21:], np.full(21, np.datetime64("2099-01-01"))])
    labels = _long(tickers, days[inside], forward_return=ahead[:, inside]).with_columns(
        horizon=pl.lit(20, pl.Int32), known_at=pl.Series(np.tile(known[inside], len(tickers)))
    )
    labels = labels.filter(pl.col("known_at") <= LAST)
    predictions = _long(tickers, days[inside], prediction=guess[:, inside]).with_columns(
        horizon=pl.lit(20, pl.Int32),
        prediction_std=pl.lit(0.06),
        prediction_lower=pl.col("prediction") - 0.1,
        prediction_upper=pl.col("prediction") + 0.1,
        prob_up=0.5 + 5 * pl.col("prediction").clip(-0.05, 0.05),
        confidence=pl.lit(0.2),
        model=pl.lit("lightgbm"),
        model_version=pl.format("abcdef{}", pl.col("date").dt.strftime("%Y%m")),
    )
    if not with_model:
        predictions = predictions.clear()
    indicators = _long(tickers, days[inside], garch_volatility=0.15 + 0.2 * rng.random(close[:, inside].shape))
    as_ofs = (
        pl.DataFrame({"date": days[inside]})
        .group_by(pl.col("date").dt.truncate("1mo"))
        .agg(as_of=pl.col("date").max())["as_of"]
        .sort()
    )
    parts = ("composite_score", "momentum_score", "ma_slope_score", "volatility_score")
    blocks = []
    for as_of in as_ofs:
        order = rng.permutation(len(tickers))
        block = pl.DataFrame({"ticker": [tickers[i] for i in order[:7]], "as_of": [as_of] * 7})
        scores = {name: np.round(np.sort(rng.standard_normal(7))[::-1], 3) for name in parts}
        kinds = {"candidate_type": ["long"] * 4 + ["short"] * 3, "selection_rank": [1, 2, 3, 4, 3, 2, 1]}
        blocks.append(block.with_columns(**{k: pl.Series(v) for k, v in {**kinds, **scores}.items()}))
    candidates = pl.concat(blocks).with_columns(
        universe_count=pl.lit(24, pl.Int32), eligible_count=pl.lit(22, pl.Int32)
    )
    weights = sector_weights(candidates, predictions, indicators, as_ofs, WeightSettings(top_n=4, max_weight=0.4))
    backtest = simulate(
        weights,
        prices,
        days,
        as_ofs,
        FIRST,
        LAST,
        entry_lag=1,
        settings=BacktestSettings(cost_bps=10),
        benchmark_members=universe.filter(pl.col("date") >= FIRST),
    )
    checkpoint = pl.DataFrame(
        {
            "as_of": [date(2016, 5, 31), date(2015, 12, 31)],
            "model": ["lightgbm", "lightgbm"],
            "horizon": pl.Series([20, 20], dtype=pl.Int32),
            "model_version": ["abcdef201606", "other"],
            "status": ["trained", "trained"],
            "rows": [9000, 8000],
            "rank_ic": [0.041, 0.03],
        }
    )
    quarantine = pl.DataFrame(
        {
            "ticker": ["T01"] * 3,
            "date": [date(2016, 6, 2), date(2016, 6, 3), date(2016, 5, 3)],
            "reason": ["ohlc_violation"] * 3,
        }
    ).with_columns(known_at="date")
    events = pl.DataFrame(
        {
            "ticker": ["T01", "T03", "T01", "T04", "T05"],
            "date": [date(2016, 6, 7), date(2015, 4, 1), date(2016, 3, 1), date(2016, 6, 8), date(2012, 4, 2)],
            "action": ["repaired", "listed", "listed", "kept", "listed"],
            "panel_from": [date(2016, 6, 7), date(2016, 5, 2), date(2016, 3, 1), date(2016, 6, 8), date(2012, 4, 2)],
        }
    )
    spell = {"as_of": [date(2016, 6, 30), date(2016, 5, 31)], "ticker": ["T02", "T02"], "reason": ["halt", "halt"]}
    absences = pl.DataFrame(spell | {"sessions": pl.Series([3, 1], dtype=pl.Int32)})
    counts = [
        (as_of, scope, day, provider, *counted)
        for as_of in (date(2016, 2, 29), date(2016, 6, 30))
        for day in (date(2015, 6, 1), as_of)
        for scope, provider, counted in (
            ("index", "any", (500, 490, 480)),
            ("index", "first", (500, 490, 300)),
            ("index", "second", (500, 490, 250)),
            ("sector", "any", (60, 60, 57)),
            ("sector", "first", (60, 60, 40)),
            ("sector", "second", (60, 60, 20)),
        )
    ]
    coverage = pl.DataFrame(counts, schema=DATASETS["universe_coverage"].schema, orient="row")
    regimes = regime_state(prices, universe, days, as_ofs.filter(as_ofs > date(2014, 3, 1)), RegimeSettings())
    track = [DATASETS["track_record"].empty().drop("sector")]
    for as_of in as_ofs:
        track.append(continued(track[-1], backtest, as_of))
    return ReportFrames(
        candidates,
        weights,
        backtest,
        predictions,
        labels,
        regimes,
        checkpoint,
        quarantine,
        absences,
        coverage,
        pl.concat(track),
        events,
        predictions.select("date", "model", "model_version", "horizon").unique(),
    )

"""Exports of stored datasets for other tools, and the kill switch of orders. Files that are read back are in `io`."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from quant_assets.io.store import DatasetStore
from quant_assets.signals.selection import SIDES

#: Export of a month's allocation of sleeves, below `exports`.
SLEEVE_FILE = "sleeves/{month}/sleeve_allocation.json"


def candidates_document(candidates: pl.DataFrame, sector: str, as_of: date) -> dict[str, object]:
    """The candidates of a sector's decision as a dictionary.

    Args:
        candidates: rows of dataset candidates.
        sector: slug.
        as_of: the decision session; if it has no row, the lists are empty.

    Returns:
        `tickers` (longs, then shorts, each by rank), `selection_date` (ISO), `sector`, `composite_scores` and
        `candidate_types` (long or short), both by ticker.

    """
    rows = candidates.filter((pl.col("sector") == sector) & (pl.col("as_of") == as_of))
    rows = rows.sort(pl.col("candidate_type").cast(pl.Enum(SIDES)), "selection_rank")
    return {
        "tickers": rows["ticker"].to_list(),
        "selection_date": as_of.isoformat(),
        "sector": sector,
        "composite_scores": dict(rows.select("ticker", "composite_score").rows()),
        "candidate_types": dict(rows.select("ticker", "candidate_type").rows()),
    }


def export_candidates(
    candidates: pl.DataFrame,
    folder: str,
    decisions: Mapping[str, Iterable[date]],
    storage_options: Mapping[str, object] | None = None,
) -> list[str]:
    """Write candidates as `year=YYYY/month=M/candidates_<sector>.parquet`, with a dictionary beside each.

    The dictionary is `_candidates_<sector>.json`; the underscore hides it from readers of the whole folder (Spark,
    pyarrow, pandas). The month is not zero-padded. Files are replaced atomically.

    Args:
        candidates: rows of dataset candidates with `sector`.
        folder: absolute local folder, or an fsspec URL.
        decisions: decision sessions by sector, one per month to write, even if no ticker was chosen.
        storage_options: for fsspec.

    Returns:
        Names of the files, relative to the folder.

    """
    store = DatasetStore(folder, storage_options)
    written: list[str] = []
    for sector, as_ofs in decisions.items():
        for as_of in as_ofs:
            rows = candidates.filter((pl.col("sector") == sector) & (pl.col("as_of") == as_of))
            content = io.BytesIO()
            rows.drop("month", strict=False).sort("candidate_type", "selection_rank").write_parquet(
                content, compression="zstd"
            )
            document = json.dumps(candidates_document(rows, sector, as_of), indent=2, ensure_ascii=False) + "\n"
            month = f"year={as_of.year}/month={as_of.month}"
            files = {
                f"{month}/candidates_{sector}.parquet": content.getvalue(),
                f"{month}/_candidates_{sector}.json": document.encode(),
            }
            for name, file_bytes in files.items():
                store.write_file(name, file_bytes)
            written += files
    return written


#: Columns of exported predictions.
_PREDICTION_COLUMNS = ("ticker", "date", "horizon", "prediction", "confidence", "model")


def export_predictions(store: DatasetStore, sector: str, rows: pl.DataFrame, decisions: Iterable[date]) -> list[str]:
    """Write a sector's predictions of each decision as `exports/predictions/<sector>/predictions_<date>.parquet`.

    The newest file is also copied to `predictions.parquet`. Overlapping runs need no lock, which object stores lack: a
    run copies after writing its own files, and repeats until no newer file appears, so the last writer has looked last.
    The glob `exports/predictions/*/predictions_<date>.parquet` gives all sectors of a day.

    Args:
        store: storage of the profile.
        sector: slug.
        rows: the sector's rows of dataset predictions.
        decisions: decision sessions; one without rows gets an empty file.

    Returns:
        Names of the files, relative to the storage.

    """
    folder, files = f"exports/predictions/{sector}", dict[str, bytes]()
    for day in sorted(decisions):
        content = io.BytesIO()
        rows_of_day = rows.filter(pl.col("date") == day).select(_PREDICTION_COLUMNS)
        rows_of_day.sort("model", "horizon", "ticker").write_parquet(content, compression="zstd")
        files[f"{folder}/predictions_{day}.parquet"] = content.getvalue()
    for name, file_bytes in files.items():
        store.write_file(name, file_bytes)
    return [*files, *_copy_newest(store, folder)]


def _copy_newest(store: DatasetStore, folder: str) -> list[str]:
    """Copy the newest export of a folder to `predictions.parquet` until none is newer; returns the file, if any."""
    latest, copied = f"{folder}/predictions.parquet", None
    while day := store.newest_below(folder, "predictions_", ".parquet"):
        newest = store.read_file(f"{folder}/predictions_{day}.parquet")
        if newest == copied:
            return [latest]
        store.write_file(latest, newest)
        copied = newest
    return []


def picks_file(sector: str, month: str, kind: str) -> str:
    """Name of the file of a month's picks, `exports/predictions/<sector>/<year>_<month>_predictions.json`.

    With candidates of kind `short` or `both` the name ends with the kind, so that the sides are not confused.
    """
    return f"exports/predictions/{sector}/{month.replace('-', '_')}_predictions{_suffix(kind)}.json"


def _suffix(kind: str) -> str:
    return "" if kind == "long" else f"_{kind}"


def export_picks(store: DatasetStore, sector: str, month: str, kind: str, document: Mapping[str, object]) -> str:
    """Write a month's picks as the file `picks_file`; returns its URL.

    Args:
        store: storage of the profile.
        sector: slug.
        month: `YYYY-MM`.
        kind: side of the candidates: long, short or both.
        document: the content of the file.

    Raises:
        ValueError: the document has a NaN or infinite number, which strict JSON lacks.

    """
    name = picks_file(sector, month, kind)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    store.write_file(name, text.encode())
    return f"{store.url}/{name}"


def export_batch(
    store: DatasetStore, sector: str, kind: str, rows: Sequence[tuple[str, int, int, str, str, float | None]]
) -> str:
    """Write picks of several months as `exports/predictions/<sector>/<sector>_batch_results.csv`; returns its URL.

    With candidates of kind `short` or `both` the name ends with the kind.

    Args:
        store: storage of the profile.
        sector: slug.
        kind: side of the candidates: long, short or both.
        rows: sector, year, month, date, ticker, ml_score; a missing score is empty.

    """
    name, content = f"exports/predictions/{sector}/{sector}_batch_results{_suffix(kind)}.csv", io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(("sector", "year", "month", "date", "ticker", "ml_score"))
    writer.writerows(rows)
    store.write_file(name, content.getvalue().encode())
    return f"{store.url}/{name}"


#: File of the kill switch: `{"halted": true, "reason": "…"}` halts orders. The user or a program writes it.
KILL_SWITCH = "state/kill_switch.json"


def halt_reason(store: DatasetStore, setting: str) -> str | None:
    """Why orders are halted; None if they are not.

    An unreadable file halts them too: the switch counts as engaged unless it is known to be released.

    Args:
        store: storage of the profile.
        setting: value of `orders.halted`, a reason or empty.

    """
    if setting:
        return f"orders.halted says: {setting}"
    try:
        state = json.loads(store.read_file(KILL_SWITCH))
        if state["halted"] is False:
            return None
        return f"the kill switch is engaged: {state.get('reason') or 'no reason is given'} ({store.url}/{KILL_SWITCH})"
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{store.url}/{KILL_SWITCH} does not say whether the kill switch is engaged; write it again"


def order_files(orders: pl.DataFrame, capital: float) -> dict[str, bytes]:
    """Orders as `trades_to_execute.csv`, `signals.csv` and `allocation.csv`; content by name.

    Args:
        orders: rows of dataset orders, of one decision.
        capital: the value of the portfolio in USD, of which weights are shares.

    """
    rows = orders.sort("ticker")
    weight_per_share = pl.col("last_price") / capital
    signal = (
        pl.when(pl.col("target_weight") == 0.0)
        .then(pl.when(pl.col("held_quantity") == 0.0).then(pl.lit("none")).otherwise(pl.lit("exit")))
        .when(pl.col("target_weight") > 0.0)
        .then(pl.lit("long"))
        .otherwise(pl.lit("short"))
    )
    files = {
        "trades_to_execute.csv": rows.filter(pl.col("action") != "hold").select(
            "ticker", "action", "quantity", "notional", "reason", "estimated_cost"
        ),
        "signals.csv": rows.select("ticker", "action", "reason", "target_weight", signal=signal),
        "allocation.csv": rows.select(
            "ticker",
            "target_weight",
            "price",
            "held_quantity",
            "target_quantity",
            held_weight=pl.col("held_quantity") * weight_per_share,
            weight=pl.col("target_quantity") * weight_per_share,
        ),
    }
    return {name: frame.write_csv().encode() for name, frame in files.items()}


def export_orders(store: DatasetStore, folder: str, orders: pl.DataFrame, capital: float, setting: str) -> list[str]:
    """Write the `order_files` of a decision below `exports/orders/<folder>`; returns their URLs.

    If `halt_reason` gives one, only `trades_to_execute.csv` is written, without a row, so that no earlier orders stay.
    """
    files = {f"exports/orders/{folder}/{name}": content for name, content in order_files(orders, capital).items()}
    if halt_reason(store, setting) is not None:
        files = {name: content.splitlines(keepends=True)[0] for name, content in files.items() if "trades_to" in name}
    for name, content in files.items():
        store.write_file(name, content)
    return [f"{store.url}/{name}" for name in files]


def turnover_report(turnover: pl.DataFrame) -> dict[str, object]:
    """Dataset turnover, of one sector, as the dictionary `turnover_report.json`.

    Args:
        turnover: rows; without a traded row the figures are null.

    Returns:
        avg_, max_ and min_turnover, avg_cost_bps, total_costs (over equity), num_rebalances, turnover_cap (null
        without a cap), cap_breaches, turnover_history of date, turnover and cost_bps.

    """
    traded = turnover.filter("traded").with_columns(cost=pl.col("turnover") * pl.col("cost_bps") / 1e4)
    by_day = traded.group_by("date").agg(pl.sum("turnover", "cost"), pl.first("max_turnover")).sort("date")
    cap = by_day["max_turnover"][-1] if len(by_day) else None
    breaches = 0 if cap is None else len(by_day.filter(pl.col("turnover") > pl.col("max_turnover") + 1e-9))
    total, costs = (float(by_day[name].sum()) for name in ("turnover", "cost"))
    return {
        "avg_turnover": by_day["turnover"].mean(),
        "max_turnover": by_day["turnover"].max(),
        "min_turnover": by_day["turnover"].min(),
        "avg_cost_bps": costs / total * 1e4 if total else None,
        "total_costs": costs,
        "num_rebalances": len(by_day),
        "turnover_cap": cap,
        "cap_breaches": breaches,
        "turnover_history": [
            {"date": day.isoformat(), "turnover": day_turnover, "cost_bps": cost / day_turnover * 1e4}
            for day, day_turnover, cost in by_day.select("date", "turnover", "cost").iter_rows()
        ],
    }


def sleeve_document(
    shares: Mapping[str, float], method: str, as_of: date, figures: Mapping[str, float | None], threshold: float
) -> dict[str, object]:
    """An allocation of sleeves as the dictionary `sleeve_allocation.json`.

    Args:
        shares: share of the portfolio by sleeve: equities, crypto and cash.
        method: name of the allocation's method.
        as_of: decision session.
        figures: `equity_volatility`, `crypto_volatility`, `estimated_portfolio_volatility`.
        threshold: `sleeves.threshold`, the least difference of a share for which the sleeves are rebalanced.

    """
    return {
        "allocation": dict(shares),
        "method": method,
        "date": as_of.isoformat(),
        "metrics": dict(figures),
        "rebalance_threshold": threshold,
    }


def export_sleeves(store: DatasetStore, row: Mapping[str, Any], threshold: float) -> str:
    """Write a row of dataset sleeve_allocation as `sleeve_allocation.json`; returns its URL."""
    figures = {
        "equity_volatility": row["equity_volatility"],
        "crypto_volatility": row["crypto_volatility"],
        "estimated_portfolio_volatility": row["portfolio_volatility"],
    }
    shares = {name: row[name] for name in ("equities", "crypto", "cash")}
    document = sleeve_document(shares, row["method"], row["as_of"], figures, threshold)
    return write_document(store, SLEEVE_FILE.format(month=row["as_of"].strftime("%Y-%m")), document)


def write_document(store: DatasetStore, name: str, document: Mapping[str, object]) -> str:
    """Write strict JSON as `exports/<name>`; returns its URL."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    store.write_file(f"exports/{name}", text.encode())
    return f"{store.url}/exports/{name}"

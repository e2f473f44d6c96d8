"""Reads the holdings of an account from a file: shares by ticker."""

import csv
from pathlib import Path

from quant_assets.errors import SourceError


def read_holdings(path: Path) -> dict[str, float]:
    """Shares by ticker from a CSV with columns `ticker` and `quantity`; shorts are negative.

    Raises:
        SourceError: names the file, the line and the error.

    """
    shares: dict[str, float] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            named = {name.strip().lower(): name for name in rows.fieldnames or ()}
            missing = [name for name in ("ticker", "quantity") if name not in named]
            if missing:
                raise SourceError(
                    f"{path}, line 1: no column '{missing[0]}'; holdings need the columns ticker and quantity"
                )
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                ticker, quantity = ((row[named[name]] or "").strip() for name in ("ticker", "quantity"))
                if not ticker and not quantity:
                    continue
                if not ticker:
                    raise SourceError(f"{where}: no ticker; name whose {quantity} shares are held")
                if ticker in shares:
                    raise SourceError(f"{where}: {ticker} is listed twice; add up its quantities")
                try:
                    shares[ticker] = float(quantity)
                except ValueError:
                    raise SourceError(f"{where}: quantity '{quantity}' of {ticker} is no number") from None
                if not abs(shares[ticker]) < float("inf"):
                    raise SourceError(f"{where}: quantity '{quantity}' of {ticker} is no number of shares")
    except FileNotFoundError:
        raise SourceError(f"{path} does not exist; write holdings as a CSV with ticker and quantity") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} is no CSV in UTF-8 ({error}); save it as one") from None
    return shares

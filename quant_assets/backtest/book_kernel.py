"""The loop that carries a book of holdings and cash from session to session. Its inputs come from book.py."""

from typing import NamedTuple

import numpy as np

from quant_assets.market.panel import FloatArray, IntArray
from quant_assets.windows.compiled import kernel

#: Kinds of events: a delisting with its return, its withdrawal, and a rename, which turns one share into some number of
#: shares of another row.
DELISTED, BACK, BECOMES = 0, 1, 2

#: Columns of `Carried.terms`. All but the last are parts of the cost; the dividends on shorts are paid in the return of
#: the adjusted price, and reported separately.
TERMS = ("commission", "half_spread", "impact", "borrow", "rebate", "financing", "short_dividends")


class Carried(NamedTuple):
    """Results of the loop; T sessions, N names, M months, R trades.

    Attributes:
        equity: value of the book after the close, float64 of shape (T,); it begins at 1.
        gross: return before costs, of shape (T,).
        cost: costs over equity before them, of shape (T,).
        turnover: traded value over equity, of shape (T,).
        cash: share of equity in cash, of shape (T,).
        positions: names held, int64 of shape (T,).
        unexplained: names held with a contained step, of shape (T,).
        terms: float64 of shape (T, 7), over equity before costs, as `TERMS`.
        gains: sum over each month of a name's gain over the equity of the close before, of shape (M, N).
        traded: session and row of each trade, int64 of shape (R, 2).
        trades: of each trade over equity: held before, traded (sales negative), commission, half spread, impact, and
            the price; float64 of shape (R, 6).
        kept: session and row of each holding after each close, int64 of shape (S, 2).
        weights: its share of equity, float64 of shape (S,).
        cut: turnover that was not traded: beyond the limit of a session, beyond that of the year, and trades too small,
            of shape (T, 3).

    """

    equity: FloatArray
    gross: FloatArray
    cost: FloatArray
    turnover: FloatArray
    cash: FloatArray
    positions: IntArray
    unexplained: IntArray
    terms: FloatArray
    gains: FloatArray
    traded: IntArray
    trades: FloatArray
    kept: IntArray
    weights: FloatArray
    cut: FloatArray


@kernel
def carry(  # type: ignore[no-untyped-def]
    price: FloatArray,
    mark: FloatArray,
    half: FloatArray,
    impact: FloatArray,
    limit: FloatArray,
    dividend: FloatArray,
    days: FloatArray,
    month: IntArray,
    target: FloatArray,
    decision: IntArray,
    events: IntArray,
    event_values: FloatArray,
    doubts: IntArray,
    rates: FloatArray,
    limits: FloatArray,
    year: IntArray,
    at_close: bool,
    long_only: bool,
):
    """Carry a book that begins with 1 in cash.

    Each session: interest and fees for the nights since the session before; with `at_close` false the renames and the
    trades, at `price`; the close; the `events` known by then; with `at_close` the trades.

    Args:
        price: prices of trades, shape (T, N), NaN where a name cannot be traded. At the close it is `mark`.
        mark: closes, of that shape, NaN without a bar: the last close is used.
        half: cost per unit traded besides the commission, of that shape.
        impact: cost per unit traded, over the root of the traded share of equity, of that shape.
        limit: largest trade in a session, as a share of equity, of that shape.
        dividend: dividend over the close before, of that shape or (0, N) where unknown.
        days: calendar days since the session before, shape (T,).
        month: number of each session's month, ascending from 0, shape (T,).
        target: weights of each decision, shape (D, N).
        decision: the decision traded to at a session, shape (T,); -1 for none.
        events: session, row, kind and other row of each event, by session, shape (E, 4).
        event_values: its return (DELISTED) or new shares for one (BECOMES), shape (E,).
        doubts: session and row of each contained step, by session, shape (U, 2).
        rates: commission per unit, and yearly borrow fee, rebate and financing.
        limits: largest turnover of a session and of a year, and smallest trade.
        year: number of each session's year, shape (T,).
        at_close: whether trades are at the close.
        long_only: until a decision sells short, cash may not become negative: buys without cash are not made.

    Returns:
        The fields of `Carried` in their order.

    """
    sessions, names = mark.shape
    shares, last, want = np.zeros(names), np.full(names, np.nan), np.zeros(names)
    gone, waiting = np.zeros(names, np.bool_), np.zeros(names, np.bool_)
    equity, gross, cost = np.zeros(sessions), np.zeros(sessions), np.zeros(sessions)
    turnover, cash_share = np.zeros(sessions), np.ones(sessions)
    positions, unexplained = np.zeros(sessions, np.int64), np.zeros(sessions, np.int64)
    terms = np.zeros((sessions, 7))
    gains = np.zeros((month[-1] + 1 if sessions else 0, names))
    traded, trades, count = np.empty((1024, 2), np.int64), np.empty((1024, 6)), 0
    kept, weights, stored = np.empty((1024, 2), np.int64), np.empty(1024), 0
    cash, worth, idle, short_value = 1.0, 1.0, 1.0, 0.0
    cut, spent_in = np.zeros((sessions, 3)), 0.0
    pending, event, doubt = False, 0, 0
    for t in range(sessions):
        before = worth
        if t and year[t] != year[t - 1]:
            spent_in = 0.0
        inverse = 1.0 / before if before > 0.0 else 0.0
        nights = days[t] / 365.0
        paid = np.zeros(7)
        paid[3] = short_value * rates[1] * nights
        # Proceeds of short sales are cash until they buy longs: then they earn nothing, and nothing is borrowed.
        paid[4] = -min(short_value, max(0.0, idle)) * rates[2] * nights
        paid[5] = max(0.0, -idle) * rates[3] * nights
        cash -= paid[3] + paid[4] + paid[5]
        if short_value > 0.0 and dividend.shape[0]:
            for i in range(names):
                if shares[i] < 0.0 and not gone[i] and dividend[t, i] > 0.0:
                    paid[6] -= shares[i] * last[i] * dividend[t, i]
        while doubt < doubts.shape[0] and doubts[doubt, 0] == t:
            i = doubts[doubt, 1]
            unexplained[t] += shares[i] != 0.0 and not gone[i]
            doubt += 1
        active = False
        for phase in range(2):
            if phase == 0 and at_close:
                continue
            quote = mark[t] if phase else price[t]
            for i in range(names):
                value = quote[i]
                if value == value and not gone[i]:
                    if shares[i] != 0.0:
                        gains[month[t], i] += shares[i] * (value - last[i]) * inverse
                    last[i] = value
            # Trades before the close use the symbols of the day: renames come before them, other events after.
            k = event
            while k < events.shape[0] and events[k, 0] == t:
                i, kind, successor, value = events[k, 1], events[k, 2], events[k, 3], event_values[k]
                k += 1
                if (kind == 2 and phase == 1 and not at_close) or (kind != 2 and phase == 0):
                    continue
                if kind == 0 and shares[i] != 0.0 and not gone[i]:
                    gains[month[t], i] += shares[i] * last[i] * value * inverse
                    last[i] *= 1.0 + value
                    gone[i] = True
                elif kind == 1 and gone[i]:
                    gone[i] = False
                    if mark[t, i] == mark[t, i]:
                        gains[month[t], i] += shares[i] * (mark[t, i] - last[i]) * inverse
                        last[i] = mark[t, i]
                elif kind == 2 and shares[i] != 0.0 and not gone[i]:
                    if quote[successor] == quote[successor]:
                        gains[month[t], successor] += shares[i] * (value * quote[successor] - last[i]) * inverse
                    else:
                        last[successor] = last[i] / value
                    shares[successor] += shares[i] * value
                    want[successor] += want[i]
                    waiting[successor] = waiting[successor] or waiting[i]
                    shares[i], want[i], waiting[i] = 0.0, 0.0, False
            if phase:
                event = k
            if (phase == 1) != at_close:
                continue
            # --- Trades -----------------------------------------------------------------------------------------------
            if decision[t] >= 0:
                if before <= 0.0:
                    cash = 1.0  # everything was lost: the next decision begins anew
                for i in range(names):
                    if gone[i]:
                        cash += shares[i] * last[i]
                        shares[i], gone[i] = 0.0, False
                        if price[t, i] == price[t, i]:
                            last[i] = price[t, i]
                    want[i] = target[decision[t], i]
                    long_only = long_only and not want[i] < 0.0
                    waiting[i] = want[i] != 0.0 or shares[i] != 0.0
                pending = True
            if not pending:
                continue
            total = cash
            for i in range(names):
                if shares[i] != 0.0:
                    total += shares[i] * last[i]
            if total <= 0.0:
                continue
            # Targets are shares of the equity after costs, which depend on the trades.
            over = 0.0
            if limits[2] > 0.0:
                largest = 0.0
                for i in range(names):
                    largest = max(largest, abs(want[i]) * total)
                for i in range(names):
                    value = shares[i] * price[t, i]
                    change = want[i] * total - value
                    # A small sale is made where the holding exceeds the largest allowed size.
                    droppable = waiting[i] and want[i] != 0.0 and (want[i] * change > 0.0 or abs(value) <= largest)
                    if droppable and abs(change) < limits[2] * total:
                        waiting[i] = False
                        cut[t, 2] += abs(change) / total
                        over -= change if long_only else 0.0  # its missing proceeds are not spent
            share, bought, sold, buying, selling = 0.0, 0.0, 0.0, 0.0, 0.0
            for _ in range(60):
                bought, sold, buying, selling = 0.0, 0.0, 0.0, 0.0
                for i in range(names):
                    if not waiting[i] or gone[i] or price[t, i] != price[t, i]:
                        continue
                    change = want[i] * total * (1.0 - share) - shares[i] * price[t, i]
                    size = min(abs(change), limit[t, i] * total)
                    charge = size * (rates[0] + half[t, i] + impact[t, i] * np.sqrt(size / total))
                    if change > 0.0:
                        bought += size
                        buying += charge
                    else:
                        sold += size
                        selling += charge
                ratio = min((buying + selling) / total, 1.0)
                apart = abs(ratio - share)
                share = ratio
                if apart <= 1e-15:
                    break
            scale = 1.0
            if long_only and cash + sold - bought - buying - selling < -1e-12 * total:
                scale = max(0.0, (cash + sold - selling) / (bought + buying))
            if over > 0.0 and bought > 0.0:
                scale = min(scale, max(0.0, 1.0 - over / bought))
            turned, room, throttle = (bought * scale + sold) / total, limits[0], 1.0
            if limits[1] - spent_in < room:
                room = max(0.0, limits[1] - spent_in)
            if turned > room:
                throttle = room / turned
                cut[t, 0 if room == limits[0] else 1] += turned - room
            blocked = False
            for i in range(names):
                if not waiting[i]:
                    continue
                if gone[i] or price[t, i] != price[t, i]:
                    blocked = True
                    continue
                change = want[i] * total * (1.0 - share) - shares[i] * price[t, i]
                size = min(abs(change), limit[t, i] * total)
                rest = abs(change) - size > 1e-12 * total
                blocked = blocked or rest
                if change > 0.0:
                    size *= scale
                    rest = rest or scale < 1.0
                waiting[i] = rest
                closing = want[i] == 0.0 and not rest and throttle == 1.0
                size *= throttle
                if size <= 1e-12 * total:
                    continue
                signed = size if change > 0.0 else -size
                paid_here = size * impact[t, i] * np.sqrt(size / total)
                if count == traded.shape[0]:
                    more, values = np.empty((2 * count, 2), np.int64), np.empty((2 * count, 6))
                    more[:count], values[:count] = traded, trades
                    traded, trades = more, values
                traded[count, 0], traded[count, 1] = t, i
                trades[count, 0], trades[count, 1] = shares[i] * price[t, i] / total, signed / total
                trades[count, 2], trades[count, 3] = size * rates[0] / total, size * half[t, i] / total
                trades[count, 4], trades[count, 5] = paid_here / total, price[t, i]
                count += 1
                paid[0] += size * rates[0]
                paid[1] += size * half[t, i]
                paid[2] += paid_here
                turnover[t] += size / total
                spent_in += size / total
                shares[i] = 0.0 if closing else shares[i] + signed / price[t, i]
                cash -= signed + size * (rates[0] + half[t, i]) + paid_here
                active = True
            if long_only and -1e-9 * total < cash < 0.0:
                cash = 0.0
            pending = blocked
            if not blocked:
                waiting[:] = False
        # --- The close ------------------------------------------------------------------------------------------------
        worth, short_value, idle, held = cash, 0.0, cash, 0
        for i in range(names):
            if shares[i] != 0.0:
                value = shares[i] * last[i]
                worth += value
                if gone[i]:
                    idle += value
                else:
                    held += 1
                    short_value -= min(value, 0.0)
        spent = paid[0] + paid[1] + paid[2] + paid[3] + paid[4] + paid[5]
        if worth <= 0.0:
            shares[:], gone[:], waiting[:] = 0.0, False, False
            worth, cash, short_value, idle, held, pending, spent = 0.0, 0.0, 0.0, 0.0, 0, False, 0.0
            paid[:] = 0.0
        full = worth + spent
        start = before if before > 0.0 else (1.0 if active else 0.0)
        gross[t] = full / start - 1.0 if start > 0.0 else 0.0
        cost[t] = spent / full if full > 0.0 else 0.0
        for j in range(7):
            terms[t, j] = paid[j] / full if full > 0.0 else 0.0
        equity[t], positions[t] = worth, held
        cash_share[t] = idle / worth if worth > 0.0 else 1.0
        if worth > 0.0:
            for i in range(names):
                if shares[i] != 0.0 and not gone[i]:
                    if stored == kept.shape[0]:
                        rows, values_kept = np.empty((2 * stored, 2), np.int64), np.empty(2 * stored)
                        rows[:stored], values_kept[:stored] = kept, weights
                        kept, weights = rows, values_kept
                    kept[stored, 0], kept[stored, 1], weights[stored] = t, i, shares[i] * last[i] / worth
                    stored += 1
    return (
        equity,
        gross,
        cost,
        turnover,
        cash_share,
        positions,
        unexplained,
        terms,
        gains,
        traded[:count],
        trades[:count],
        kept[:stored],
        weights[:stored],
        cut,
    )


def carried(
    price: FloatArray,
    mark: FloatArray,
    target: FloatArray,
    decision: IntArray,
    *,
    half: FloatArray | None = None,
    impact: FloatArray | None = None,
    limit: FloatArray | None = None,
    dividend: FloatArray | None = None,
    days: FloatArray | None = None,
    month: IntArray | None = None,
    events: IntArray | None = None,
    event_values: FloatArray | None = None,
    doubts: IntArray | None = None,
    rates: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
    limits: tuple[float, float, float] = (np.inf, np.inf, 0.0),
    year: IntArray | None = None,
    at_close: bool = True,
    long_only: bool = True,
) -> Carried:
    """`carry` with defaults for arguments that are None; arrays as there."""
    shape, sessions = mark.shape, mark.shape[0]

    def matrix(values: FloatArray | None, otherwise: float) -> FloatArray:
        return np.full(shape, otherwise) if values is None else np.ascontiguousarray(values)

    return Carried(
        *carry(
            np.ascontiguousarray(price),
            np.ascontiguousarray(mark),
            matrix(half, 0.0),
            matrix(impact, 0.0),
            matrix(limit, np.inf),
            np.empty((0, shape[1])) if dividend is None else np.ascontiguousarray(dividend),
            np.zeros(sessions) if days is None else np.ascontiguousarray(days),
            np.zeros(sessions, np.int64) if month is None else np.ascontiguousarray(month),
            np.ascontiguousarray(target),
            np.ascontiguousarray(decision),
            np.empty((0, 4), np.int64) if events is None else np.ascontiguousarray(events),
            np.empty(0) if event_values is None else np.ascontiguousarray(event_values),
            np.empty((0, 2), np.int64) if doubts is None else np.ascontiguousarray(doubts),
            np.array(rates),
            np.array(limits),
            np.zeros(sessions, np.int64) if year is None else np.ascontiguousarray(year),
            at_close,
            long_only,
        )
    )

"""The compiled loop against one of forty readable lines, over random weights, halts, delistings, renames and limits."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.backtest.book_kernel import BACK, BECOMES, DELISTED, TERMS, carried

SESSIONS, NAMES = 40, 6
NONE = np.full((SESSIONS, NAMES), 0.0)


def slow(x: dict[str, Any]) -> dict[str, np.ndarray]:
    """What `carry` computes, name by name in plain Python; gives equity, costs by term, turnover and cash."""
    shares: dict[int, float] = {}
    last: dict[int, float] = {}
    want: dict[int, float] = {}
    gone, open_ = set[int](), set[int]()
    n, cash, worth = range(NAMES), 1.0, 1.0
    out: dict[str, list[Any]] = {name: [] for name in ("equity", "turnover", "cash", "gross", "terms")}
    commission, *yearly = x["rates"]
    for t in range(SESSIONS):
        idle = cash + sum(shares[i] * last[i] for i in gone)
        shorts = sum(-v for i in shares if i not in gone and (v := shares[i] * last[i]) < 0)
        bases, before, traded = (shorts, -min(shorts, max(0.0, idle)), max(0.0, -idle)), worth, 0.0
        terms = [0.0] * 3 + [base * rate * x["days"][t] / 365 for base, rate in zip(bases, yearly, strict=True)]
        cash -= sum(terms)
        terms.append(sum(-shares[i] * last[i] * x["dividend"][t, i] for i in shares if shares[i] < 0 and i not in gone))
        for quote in [x["mark"]] if x["at_close"] else [x["price"], x["mark"]]:
            last |= {i: quote[t, i] for i in n if np.isfinite(quote[t, i]) and i not in gone}
            for _, i, kind, other, value in [
                e
                for e in x["events"]
                if e[0] == t and (x["at_close"] or (e[2] == BECOMES) == (quote is x["price"]))  # renames before trades
            ]:
                if kind == DELISTED and i in shares:
                    gone.add(i)
                    last[i] *= 1 + value
                elif kind == BACK and i in gone:
                    gone.discard(i)
                    last[i] = x["mark"][t, i] if np.isfinite(x["mark"][t, i]) else last[i]
                elif kind == BECOMES and i in shares and i not in gone:
                    last[other] = quote[t, other] if np.isfinite(quote[t, other]) else last[i] / value
                    shares[other] = shares.get(other, 0.0) + shares.pop(i) * value
                    want[other] = want.get(other, 0.0) + want.pop(i, 0.0)
                    open_ = {other if j == i else j for j in open_}
            if (quote is x["price"] and not x["at_close"]) or (quote is x["mark"] and x["at_close"]):
                if x["decision"][t] >= 0:
                    cash += sum(shares.pop(i) * last[i] for i in gone)
                    last |= {i: x["price"][t, i] for i in gone if np.isfinite(x["price"][t, i])}
                    gone, want = set(), {i: x["target"][x["decision"][t], i] for i in n}
                    open_ = {i for i in n if want[i] or i in shares}
                total, k = cash + sum(shares[i] * last[i] for i in shares), 0.0
                free = [i for i in sorted(open_) if np.isfinite(x["price"][t, i]) and i not in gone]
                for _ in range(60):
                    change = {i: want.get(i, 0) * total * (1 - k) - shares.get(i, 0) * x["price"][t, i] for i in free}
                    size = {i: min(abs(change[i]), x["limit"][t, i] * total) for i in free}
                    rate = {i: x["half"][t, i] + x["impact"][t, i] * (size[i] / total) ** 0.5 for i in free}
                    k = min(1.0, sum(size[i] * (commission + rate[i]) for i in free) / total)
                buys = [i for i in free if change[i] > 0]
                need = sum(size[i] * (1 + commission + rate[i]) for i in buys)
                gives = sum(size[i] * (1 - commission - rate[i]) for i in free if i not in buys)
                scale = max(0.0, (cash + gives) / need) if x["long_only"] and need > cash + gives + 1e-12 else 1.0
                limited = {i for i in free if abs(change[i]) - size[i] > 1e-12 * total}
                blocked = bool(limited or open_ - set(free))
                open_ = (open_ - set(free)) | limited | (set(buys) if scale < 1 else set()) if blocked else set()
                for i in free:
                    v = size[i] * (scale if i in buys else 1.0)
                    impact = v * x["impact"][t, i] * (v / total) ** 0.5
                    shares[i] = shares.get(i, 0.0) + np.sign(change[i]) * v / x["price"][t, i]
                    cost = (v * commission, v * x["half"][t, i], impact)
                    terms[:3] = [a + b for a, b in zip(terms, cost, strict=False)]
                    cash, traded = cash - np.sign(change[i]) * v - sum(cost), traded + v / total
                shares = {i: s for i, s in shares.items() if s and not (i in free and not want[i] and i not in open_)}
        worth = cash + sum(shares[i] * last[i] for i in shares)
        full = worth + sum(terms[:6])
        idle = cash + sum(shares[i] * last[i] for i in gone)
        row = (worth, traded, idle / worth, full / before - 1, [v / full for v in terms])
        for name, value in zip(out, row, strict=True):
            out[name].append(value)
    return {name: np.array(values) for name, values in out.items()}


def market(seed: int, *, shorts: bool, limited: bool, at_close: bool, costs: bool = True) -> dict[str, Any]:
    """Prices with holes and a long halt, a delisting, one that is taken back, a rename, and decisions in between."""
    rng = np.random.default_rng(seed)
    shape = (SESSIONS, NAMES)
    mark = 20 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0))
    mark[rng.random(shape) < 0.08] = np.nan
    mark[0] = 20.0
    events, (gone, halted, old) = [], rng.permutation(NAMES - 1)[:3]
    at, back = int(rng.integers(8, 30)), int(rng.integers(12, 38))
    mark[at:, gone] = np.nan
    events.append((at, gone, DELISTED, gone, float(rng.choice([0.0, -0.3, -1.0]))))
    mark[back - 5 : back, halted] = np.nan
    events += [(back - 2, halted, DELISTED, halted, -0.3), (back, halted, BACK, halted, 0.0)]
    renamed = int(rng.integers(10, 30))
    mark[:renamed, NAMES - 1], mark[renamed:, old] = np.nan, np.nan
    events.append((renamed, old, BECOMES, NAMES - 1, float(rng.uniform(0.5, 2.0))))
    decision = np.full(SESSIONS, -1)
    places = np.sort(rng.permutation(np.arange(1, SESSIONS))[:6])
    if seed % 2 and renamed not in places:
        places = np.sort(np.r_[places[:5], renamed])  # the rename is known on the session of an execution
    decision[places] = np.arange(6)
    raw = rng.dirichlet(np.ones(NAMES), 6) * rng.choice([0.0, 0.7, 1.0], (6, 1)) * (rng.random((6, NAMES)) < 0.8)
    if shorts:
        raw *= rng.choice([1.0, -0.6], raw.shape)
    for number, place in enumerate(places):  # the symbol of the day
        raw[number, NAMES - 1 if place < renamed else old] = 0.0
    scale = 1.0 if costs else 0.0
    price = mark if at_close else mark * np.exp(0.01 * rng.standard_normal(shape))
    return {
        "price": price,
        "mark": mark,
        "target": raw,
        "decision": decision,
        "half": scale * rng.uniform(0, 0.002, shape),
        "impact": scale * rng.uniform(0, 0.02, shape),
        "limit": rng.uniform(0.02, 0.3, shape) if limited else np.full(shape, np.inf),
        "dividend": 0.01 * (rng.random(shape) < 0.05),
        "days": rng.choice([1.0, 3.0], SESSIONS),
        "rates": (scale * 0.001, scale * 0.02, scale * 0.005, scale * 0.06),
        "events": sorted(events),
        "at_close": at_close,
        "long_only": not shorts,
    }


def fast(x: dict[str, Any]) -> Any:
    events = np.array(x["events"], dtype=float)
    given_events = {"events": events[:, :4].astype(np.int64), "event_values": events[:, 4].copy()}
    return carried(**{**x, **given_events})


@given(st.integers(0, 10_000), st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_equals_the_slow_reference(seed: int, shorts: bool, limited: bool, at_close: bool) -> None:
    x = market(seed, shorts=shorts, limited=limited, at_close=at_close)
    expected, found = slow(x), fast(x)
    for name in ("equity", "turnover", "cash", "gross", "terms"):
        assert getattr(found, name) == pytest.approx(expected[name], abs=1e-12), name


@given(st.integers(0, 10_000), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_cash_is_never_negative_and_everything_adds_up(seed: int, limited: bool, at_close: bool) -> None:
    x = market(seed, shorts=False, limited=limited, at_close=at_close)
    found = fast(x)
    assert (found.cash >= 0.0).all()
    assert found.terms[:, :6].sum(axis=1) == pytest.approx(found.cost, abs=1e-15)
    assert found.gross == pytest.approx(
        (1.0 + np.diff(found.equity, prepend=1.0) / np.r_[1.0, found.equity[:-1]]) / (1.0 - found.cost) - 1.0, abs=1e-12
    )
    assert found.gains.sum() == pytest.approx(found.gross.sum(), abs=1e-12)
    for place, name in enumerate(TERMS[:3], start=2):
        assert found.trades[:, place].sum() >= 0.0, name
    assert np.abs(found.trades[:, 1]).sum() == pytest.approx(found.turnover.sum(), abs=1e-12)
    if limited:
        sizes = np.abs(found.trades[:, 1])
        assert (sizes <= x["limit"][found.traded[:, 0], found.traded[:, 1]] + 1e-15).all()


def test_a_higher_cost_of_any_kind_leaves_less() -> None:
    x = market(3, shorts=True, limited=False, at_close=True)
    # Some decisions borrow money, some leave in cash what the shorts brought.
    x["target"] = np.where(np.arange(NAMES) % 2, -0.1, np.where(np.arange(6) % 2, 0.2, 0.5)[:, None])
    x["events"] = []
    base = carried(**{**x, "events": None}).equity[-1]
    for name, more in (("half", 2.0), ("impact", 2.0)):
        assert carried(**{**x, "events": None, name: more * x[name]}).equity[-1] < base, name
    for place, sign in enumerate((1.0, 1.0, -1.0, 1.0)):
        rates = list(x["rates"])
        rates[place] *= 2.0
        changed = carried(**{**x, "events": None, "rates": tuple(rates)}).equity[-1]
        assert sign * (base - changed) > 0.0, TERMS[place]


def test_only_money_that_was_borrowed_is_financed_and_only_proceeds_still_in_cash_earn_a_rebate() -> None:
    mark, decision = np.full((3, 3), 10.0), np.array([0, -1, -1])
    rates, days = (0.0, 0.0, 0.0365, 0.073), np.ones(3)  # 1 bp of rebate and 2 bp of interest a night
    for target, rebate, financing in (
        ([1.3, -0.3, 0.0], 0.0, 0.0),  # the longs beyond equity are paid with what the shorts brought
        ([1.0, -0.3, 0.0], -0.3e-4, 0.0),
        ([1.1, -0.3, 0.0], -0.2e-4, 0.0),
        ([1.5, 0.0, 0.0], 0.0, 1.0e-4),
        ([1.5, -0.3, 0.0], 0.0, 0.4e-4),
        ([0.5, 0.0, -0.5], -0.5e-4, 0.0),
    ):
        found = carried(mark, mark, np.array([target]), decision, days=days, rates=rates, long_only=False)
        assert found.terms[1, 4:6] == pytest.approx([rebate, financing], abs=1e-12), target


@pytest.mark.parametrize("at_close", [False, True])
def test_a_rename_that_is_known_on_the_session_of_the_execution_is_no_trade(at_close: bool) -> None:
    price = np.full((6, 4), 100.0)
    price[3:, 0], price[:3, 1] = np.nan, np.nan
    price[3:, 1] = 50.0  # two for one
    mark = price if at_close else np.where(np.arange(6)[:, None] >= 3, 1.01 * price, price)
    target, decision = np.array([[0.5, 0, 0.5, 0], [0, 0.5, 0.3, 0.2]]), np.array([0, -1, -1, 1, -1, -1])
    events, values = np.array([[3, 0, BECOMES, 1]]), np.array([2.0])
    found = carried(price, mark, target, decision, events=events, event_values=values, at_close=at_close)
    assert found.traded.tolist() == [[0, 0], [0, 2], [3, 2], [3, 3]]
    assert found.turnover == pytest.approx([1.0, 0, 0, 0.4, 0, 0])
    assert found.gains.sum() == pytest.approx(found.gross.sum(), abs=1e-15)
    assert found.equity[-1] == pytest.approx(1.0 if at_close else 1.01)


def test_who_lost_everything_begins_anew_with_the_next_decision() -> None:
    mark = np.full((8, 2), 10.0)
    mark[3:, 0] = 40.0
    mark[6:, 1] = 11.0
    decision = np.array([0, -1, -1, -1, -1, 1, -1, -1])
    found = carried(mark, mark, np.array([[-0.5, 0.5], [0.0, 1.0]]), decision, long_only=False)
    assert found.gross == pytest.approx([0, 0, 0, -1, 0, 0, 0.1, 0])
    assert found.equity == pytest.approx([1, 1, 1, 0, 0, 1, 1.1, 1.1])
    assert found.turnover == pytest.approx([1, 0, 0, 0, 0, 1, 0, 0])


@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.35, 0.6]), st.sampled_from([0.0, 0.02]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_realised_turnover_is_never_above_its_limits(seed: int, cap: float, least: float, at_close: bool) -> None:
    x = market(seed, shorts=bool(seed % 2), limited=bool(seed % 3), at_close=at_close)
    year = np.arange(SESSIONS) // 20
    found = fast({**x, "limits": (cap, 0.8, least), "year": year})
    assert (found.turnover <= cap + 1e-12).all()
    assert (np.bincount(year, found.turnover) <= 0.8 + 1e-12).all()
    if x["long_only"]:
        assert (found.cash >= 0.0).all()
    # Trades are measured against what is held after its drift: what was held before them, and their sizes, say so.
    at, row = found.traded.T
    after = {(t, i): held + traded for t, i, held, traded in zip(at, row, *found.trades[:, :2].T, strict=True)}
    kept = dict(zip(map(tuple, found.kept.tolist()), found.weights, strict=True))
    for place, weight in kept.items():
        if place in after and x["at_close"]:
            assert weight == pytest.approx(after[place], abs=0.01)  # but for the costs


@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.05]))
@settings(max_examples=40, deadline=None)
def test_small_trades_are_dropped_and_nothing_gets_larger_than_it_may(seed: int, least: float) -> None:
    x = market(seed, shorts=False, limited=False, at_close=True, costs=False) | {"events": [], "dividend": NONE}
    x["mark"] = x["price"] = np.where(np.isfinite(x["mark"]), x["mark"], 20.0)
    found = carried(**{**x, "events": None, "limits": (np.inf, np.inf, least)})
    sizes, after = np.abs(found.trades[:, 1]), found.trades[:, 0] + found.trades[:, 1]
    at, row = found.traded.T
    goal = x["target"][x["decision"][at], row]
    largest = x["target"][x["decision"][at]].max(axis=1)
    small = sizes < least - 1e-12
    # What is small all the same closes a position, brings one back to the largest, or is what could be paid for.
    closes, back = np.abs(goal) < 1e-12, found.trades[:, 0] > largest - 1e-12
    assert (closes | back | (found.trades[:, 1] > 0.0))[small].all()
    assert (after <= largest + 1e-9).all()
    for place in np.flatnonzero(x["decision"] >= 0):
        assert (
            1.0 - found.cash[place] <= max(x["target"][x["decision"][place]].sum(), 0.0) + 1e-9
            or not (found.traded[:, 0] == place).any()
            or 1.0 - found.cash[place] <= 1.0 + 1e-9
        )
    free = carried(**{**x, "events": None})
    assert len(found.trades) <= len(free.trades)


def test_a_first_purchase_is_limited_like_any_other() -> None:
    mark, decision = np.full((6, 2), 10.0), np.array([0, -1, 1, -1, 2, -1])
    target = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = carried(mark, mark, target, decision, limits=(0.3, 0.4, 0.0))
    assert found.turnover == pytest.approx([0.3, 0, 0.1, 0, 0, 0])
    assert found.cut[:, :2] == pytest.approx(
        np.array([[0.7, 0], [0, 0], [0, 1.2], [0, 0], [0, 1.275], [0, 0]]), abs=0.1
    )

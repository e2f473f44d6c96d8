"""Corporate actions that do not fit the prices: detected by rules, repaired if the day's data show how, else listed.

Point in time
-------------
A bar is judged once, at its own close, from all providers' data of that session and the one before; later data neither
confirm nor revoke the result. An error that shows only later (a stale close on the ex-date, say) is judged on the day
on which it shows, and earlier results stay. So a price error of some days may be treated as an unflagged split; when
the price reverses, `reversal` undoes the split too (`market.reversals`, applied last to every jump).

Rules
-----
With closes c0 and c of the step, p = c / c0, the reported split s and dividend d, g = s p (1 + d / c) and the growth y
of the best other provider with the same step: y *disputes* g beyond `disagreement` and else upholds it; if y disputes
g, it *confirms* a value within `agreement` of it. The yield is d s / c0. A *share ratio* is a simple fraction (2, 3/2,
1.05); providers write spin-offs as ratios like 1.289. A *jump* is larger than `jump`. For a bar of an as-traded
provider, the first rule that applies counts:

- `split_in_dividend`: the yield is at least `spin_off_yield`, g does not jump, and 1 + d / c is within `agreement` of a
  split ratio, which the other provider, if any, flags: used as a split.
- `double_event`: a spin-off both as a ratio and as a dividend; y confirms g without the dividend, which is dropped.
- `dividend_not_taken`: the yield is at least `event_yield` and y confirms g without the dividend, which is dropped.
  Also if y does not uphold g, and the dividend is s or s - 1 dollars on the day of a split, or the yield is at least
  `spin_off_yield` and the price fell by less than a quarter of it, without a jump.
- `split_not_taken`: y confirms g without the split, or, if y does not uphold g, g jumps and p does not move with s:
  dropped.
- `split_unflagged`: g times a ratio is confirmed: by y, if g jumps and y does not, for any whole ratio on an ordinary
  dollar volume; by the split that the other provider flags; or by the day's data if y does not uphold g: close and open
  (without one, high or low, whichever is nearer to c0) jump by n or 1/n on an ordinary dollar volume. The ratio is
  added.
- `spin_off_unflagged`: the other provider flags a ratio or a dividend that explains the difference: a dividend that
  gives y is added. Also if neither flags anything, but y is larger than g by a jump and the two volumes step by the
  same factor: the other provider has adjusted its earlier bars. At the close this is known only if its close and volume
  of the day before were adjusted by then; files downloaded later do not show when they were.
- `spin_off_in_split`: not a share ratio: used as a dividend of the same return, so that share counts do not change.
- `unexplained_move`: the bar of the series is marked (decided in `market.adjustment` alone) and no rule above applies:
  listed, also for adjusted prices and for steps that carry the events of a refused bar. The other rules skip those
  steps, because the day of the events is unknown. A marked bar of another kind, a reversal for example, has
  `unexplained`.
- `spin_off`: the yield is at least `spin_off_yield`: the return is right and unchanged. Includes special dividends of
  that size.
- `split_disputed`: one provider flags a share split, the other none or another, they disagree, and no rule explains it:
  listed.

Bars of adjusted prices (`split_adjusted`, `total_return`) cannot be repaired: `adjustment_error` lists jumps on the day
of an event or by a split ratio that no other provider upholds. A real crash meets no rule, because its dollar volume
multiplies or another provider upholds it; only an extreme crash with one provider is an `unexplained_move`.
"""

import math

import numpy as np
import polars as pl

from quant_assets.market.delistings import company, company_day
from quant_assets.market.reversals import undone
from quant_assets.settings.domain import EventSettings

#: Possible ratios of an unflagged split; their inverses are possible too.
_WHOLE = np.array([2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 100.0])
_LONE_RATIOS = np.concatenate([_WHOLE, 1.0 / _WHOLE])
#: The same and 3:2, which needs another provider.
SPLIT_RATIOS = np.concatenate([_LONE_RATIOS, [1.5, 1.0 / 1.5]])
_SHARE_TOLERANCE = 5e-4

_BAR = ["ticker", "date", "provider"]
#: Kinds that `unexplained_move` replaces.
_LESS_THAN_A_MARK = ("spin_off", "split_disputed")


def detect(stepped: pl.DataFrame, settings: EventSettings) -> pl.DataFrame:
    """The bars with doubtful, repaired or remarkable events; see the rules above.

    Args:
        stepped: result of `steps.with_steps`.
        settings: thresholds.

    Returns:
        `ticker`, `date`, `provider`, `kind`, `action` (`kept`, `repaired` or `listed`), `split_reported` and
        `dividend_reported` (null if the provider has none), `split_used`, `dividend_used`, `price_return`,
        `reported_return`, `used_return`, `other_provider` and `other_return` (null if no other has the step), sorted by
        ticker, date and provider.

    """
    jump = math.log1p(settings.jump)
    s, d, c, c0 = pl.col("split"), pl.col("paid"), pl.col("close"), pl.col("close_before")
    g, p, y = pl.col("growth"), pl.col("close") / pl.col("close_before"), pl.col("other_growth")
    other_split, x = pl.col("other_split"), pl.col("other_split") / pl.col("split")
    reported_yield, other_yield = d * s / c0, pl.col("other_yield")
    disputed = ((g - y).abs() > settings.disagreement).fill_null(False)
    upheld = y.is_not_null() & ~disputed

    def confirmed(growth: pl.Expr) -> pl.Expr:
        return disputed & ((growth - y).abs() <= settings.agreement)

    def moved(growth: pl.Expr) -> pl.Expr:
        return growth.log().abs()

    without_split = p * (1.0 + d / c)
    in_dividend, by_other, alone = (pl.col(name) for name in ("ratio_in_dividend", "ratio_by_other", "ratio_alone"))
    spun_off = is_spin_off(s)
    split_by_other = (s == 1.0) & _shares(other_split) & (other_split != 1.0) & ~upheld & (moved(g) >= jump)
    split_by_other &= moved(g * other_split) <= 0.25 * moved(g)
    turnover = (c * pl.col("volume")) / (c0 * pl.col("volume_before"))
    first = pl.coalesce("open", pl.when(c < c0).then("high").otherwise("low"))  # the price nearest to the one before
    ordinary = turnover.is_between(1.0 / settings.turnover, settings.turnover)

    def jumps_by_ratio(tolerance: pl.Expr) -> pl.Expr:
        close_fits, open_fits = ((change * alone - 1.0).abs() <= tolerance for change in (g, first / c0))
        return ~upheld & (moved(g) >= jump) & close_fits & open_fits

    near, far = pl.lit(settings.lone_tolerance), pl.lit(settings.lone_far_tolerance)
    jumps_alone = jumps_by_ratio(pl.when(moved(alone) > math.log(2.5)).then(far).otherwise(near))
    jumps_near = jumps_by_ratio(near) & (ordinary | (moved(alone) >= math.log(5.0)))
    as_traded = pl.col("adjustment") == "as_traded"
    neither_flags = (s == 1.0) & (other_split == 1.0) & (other_yield == 0.0)
    volume_step = pl.col("volume") / pl.col("volume_before") / pl.col("other_volume_growth")
    whole = pl.col("whole_by_other")
    listed_ratio = (g * by_other / y - 1.0).abs() <= settings.ratio_tolerance
    whole_ratio = ordinary & ((g * whole / y - 1.0).abs() <= settings.ratio_tolerance)
    rules = {
        "split_in_dividend": (s == 1.0)
        & (reported_yield >= settings.spin_off_yield)
        & (moved(g) < jump)
        & (((1.0 + d / c) / in_dividend - 1.0).abs() <= settings.agreement)
        & (y.is_null() | ((other_split / in_dividend - 1.0).abs() <= settings.agreement)),
        "double_event": spun_off & (reported_yield >= settings.event_yield) & confirmed(s * p),
        "dividend_not_taken": (reported_yield >= settings.event_yield)
        & (
            confirmed(s * p)
            | (~upheld & (s != 1.0) & ((d == s) | (d == s - 1.0)))
            | (
                y.is_null()
                & (reported_yield >= settings.spin_off_yield)
                & (s * p >= 1.0 - 0.25 * reported_yield)
                & (moved(s * p) < jump)
            )
        ),
        "split_not_taken": (s != 1.0)
        & (confirmed(without_split) | (~upheld & (moved(g) >= jump) & (moved(without_split) <= 0.25 * moved(s)))),
        "split_unflagged": (disputed & (moved(g) >= jump) & (moved(y) <= 0.5 * moved(g)) & (listed_ratio | whole_ratio))
        | split_by_other
        | ((d == 0.0) & (x != 1.0) & (_shares(x) | (x < 1.0)) & confirmed(g * x))
        | ((s == 1.0) & (reported_yield < settings.event_yield) & jumps_alone & ordinary),
        "spin_off_unflagged": (d == 0.0)
        & (
            ((x > 1.0) & confirmed(g * x))
            | (
                disputed
                & (other_yield >= settings.event_yield)
                & (y - g).is_between(0.5 * other_yield, 1.1 * other_yield)
                & (moved(y) < moved(g))
            )
            | (
                disputed
                & neither_flags
                & (y / g >= 1.0 + settings.jump)
                & ((volume_step * g / y - 1.0).abs() <= settings.agreement)
            )
        ),
        "spin_off_in_split": spun_off,
        "spin_off": reported_yield >= settings.spin_off_yield,
        "split_disputed": disputed
        & (x != 1.0)
        & ((_shares(s) & (s != 1.0)) | (_shares(other_split) & (other_split != 1.0))),
    }
    adjusted = ~upheld & (moved(g) >= jump) & ((s != 1.0) | (d >= settings.event_yield * c0) | jumps_near)
    kind = pl.coalesce(
        *(pl.when(as_traded & ~pl.col("carried") & rule).then(pl.lit(name)) for name, rule in rules.items()),
        pl.when(~as_traded & ~pl.col("carried") & adjusted).then(pl.lit("adjustment_error")),
    )
    listed = pl.col("kind").is_in(["split_disputed", "adjustment_error"])
    ratio = (
        pl.when(split_by_other)
        .then(other_split)
        .when(confirmed(g * x))
        .then(x)
        .when(disputed & listed_ratio)
        .then(by_other)
        .when(disputed & whole_ratio)
        .then(whole)
        .when(disputed)
        .then(by_other)
        .otherwise(alone)
    )
    used_split = (
        pl.when(listed)
        .then(s)
        .when(pl.col("kind") == "split_in_dividend")
        .then(in_dividend)
        .when(pl.col("kind").is_in(["double_event", "split_not_taken", "spin_off_in_split"]))
        .then(1.0)
        .when(pl.col("kind") == "split_unflagged")
        .then(s * ratio)
        .otherwise(s)
    )
    used_dividend = (
        pl.when(listed)
        .then(d)
        .when(pl.col("kind").is_in(["split_in_dividend", "dividend_not_taken"]))
        .then(0.0)
        .when(pl.col("kind") == "double_event")
        .then((s - 1.0) * c)
        .when(pl.col("kind") == "spin_off_in_split")
        .then((s - 1.0) * c + s * d)
        .when(pl.col("kind") == "spin_off_unflagged")
        .then(c0 * y / s - c)
        .otherwise(d)
    )
    rows = _beside(stepped, _remarkable(stepped, settings)).with_columns(kind=kind)
    rows = rows.with_columns(split_used=used_split, dividend_used=used_dividend)
    same = (pl.col("split_used") == s) & (pl.col("dividend_used") == d)
    used_growth = pl.col("split_used") * p * (1.0 + pl.col("dividend_used") / c)
    rows = rows.with_columns(used_growth=pl.when(same | ~as_traded).then(g).otherwise(used_growth))
    agreed = (pl.col("used_growth") / y - 1.0).abs() <= settings.ratio_tolerance
    rows = rows.with_columns(agreed=agreed.fill_null(False))
    doubtful = undone(rows, settings).drop_nulls("kind")
    action = (
        pl.when(listed | ((pl.col("kind") == "reversal") & same))
        .then(pl.lit("listed"))
        .when(same)
        .then(pl.lit("kept"))
        .otherwise(pl.lit("repaired"))
    )
    return doubtful.select(
        *_event_columns("kind", action.alias("action"), pl.col("used_growth")),
        split_used=pl.when(same).then("split_ratio").otherwise("split_used"),
        dividend_used=pl.when(same).then("dividend").otherwise("dividend_used"),
    ).sort(_BAR)


def with_marks(events: pl.DataFrame, stepped: pl.DataFrame, series: pl.DataFrame) -> pl.DataFrame:
    """The events with `unexplained`: whether the series has the bar and marks it; rows are added for all marked bars.

    Args:
        events: result of `detect`.
        stepped: the bars in which they were detected.
        series: result of `adjustment.join_providers`, with the repaired events.

    """
    marked = series.filter("unexplained").select(_BAR)
    with_mark = events.join(marked.with_columns(unexplained=True), on=_BAR, how="left", maintain_order="left")
    with_mark = with_mark.with_columns(pl.col("unexplained").fill_null(False))
    replaced = pl.col("unexplained") & pl.col("kind").is_in(_LESS_THAN_A_MARK)
    with_mark = with_mark.with_columns(
        kind=pl.when(replaced).then(pl.lit("unexplained_move")).otherwise("kind"),
        action=pl.when(replaced).then(pl.lit("listed")).otherwise("action"),
    )
    alone = marked.join(events, on=_BAR, how="anti")
    if alone.is_empty():
        return with_mark
    days = alone.select("ticker", "date").unique()
    where = (
        stepped.with_row_index("place").filter(pl.col("previous") >= 0).join(days, on=["ticker", "date"], how="semi")
    )
    rows = _beside(stepped, where["place"]).join(alone, on=_BAR, how="semi")
    kind, action = pl.lit("unexplained_move").alias("kind"), pl.lit("listed").alias("action")
    rows = rows.select(
        *_event_columns(kind, action, pl.col("growth")),
        split_used="split_ratio",
        dividend_used="dividend",
        unexplained=pl.lit(True),
    )
    return pl.concat([with_mark, rows.select(with_mark.columns)]).sort(_BAR)


def _event_columns(kind: str | pl.Expr, action: pl.Expr, used_growth: pl.Expr) -> list[str | pl.Expr]:
    """Columns of dataset price_events from rows of `_beside`, except the values used."""
    return [
        *_BAR,
        kind,
        action,
        pl.col("split_ratio").alias("split_reported"),
        pl.col("dividend").alias("dividend_reported"),
        (pl.col("close") / pl.col("close_before") - 1.0).alias("price_return"),
        (pl.col("growth") - 1.0).alias("reported_return"),
        (used_growth - 1.0).alias("used_return"),
        "other_provider",
        (pl.col("other_growth") - 1.0).alias("other_return"),
    ]


def repair(judged: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """The bars of `quarantine.judge` with the repaired events instead of the reported ones."""
    used = events.filter(pl.col("action") == "repaired").select(
        "ticker", "date", "provider", "split_used", "dividend_used"
    )
    if used.is_empty():
        return judged
    key = ["ticker", "date", "provider"]
    # Join only the few days with repairs.
    near = np.flatnonzero(judged["date"].is_in(used["date"].implode()))
    repaired = judged[near].select(*key, row=pl.Series(near)).join(used, on=key)
    return judged.with_columns(
        judged[name].clone().scatter(repaired["row"], repaired[f"{after}_used"])
        for name, after in (("split_ratio", "split"), ("dividend", "dividend"))
    )


def _remarkable(stepped: pl.DataFrame, settings: EventSettings) -> pl.Series:
    """Positions of the steps on days with a jump, a split, a large dividend or two providers that differ by a jump."""
    before = pl.col("previous").clip(0)
    large = pl.col("growth").log().abs() >= math.log1p(settings.jump)
    remarkable = (
        large | (pl.col("shares") != 1.0) | (pl.col("cash") >= settings.event_yield * pl.col("close").gather(before))
    )
    marked = stepped.select(day=company_day(stepped), growth="growth", chosen=remarkable & (pl.col("previous") >= 0))
    for places in range(1, stepped["precedence"].n_unique()):  # the bars of a day are adjacent rows
        apart = (pl.col("growth") / pl.col("growth").shift(places)).log().abs() >= math.log1p(settings.jump)
        same_day = pl.col("day") == pl.col("day").shift(places)
        marked = marked.with_columns(chosen=pl.col("chosen") | (apart & same_day).fill_null(False))
    chosen = marked["day"].is_in(marked.filter("chosen")["day"].unique().implode())
    return pl.Series(np.flatnonzero(chosen.to_numpy() & (stepped["previous"].to_numpy() >= 0)))


def _beside(stepped: pl.DataFrame, where: pl.Series) -> pl.DataFrame:
    """The steps at these positions (all of a day or none), joined with the best other provider's step.

    A step with the events of a refused bar (`carried`) does not count as another provider's step.
    """
    rows = stepped[where]
    earlier = stepped[rows["previous"]]
    rows = rows.with_columns(
        split=pl.col("split_ratio").fill_null(1.0),
        paid=pl.col("dividend").fill_null(0.0),
        since=earlier["date"],
        close_before=earlier["close"],
        volume_before=earlier["volume"],
        level_before=earlier["level"],
        company=company(rows),
    )
    alone = (pl.col("shares") == pl.col("split")) & (
        pl.col("cash") == pl.col("paid") * pl.when(pl.col("adjustment") == "as_traded").then("split").otherwise(1.0)
    )
    rows = rows.with_columns(carried=~alone)
    others = rows.select(
        "ticker",
        "date",
        "since",
        "precedence",
        other_provider="provider",
        other_growth="growth",
        other_split="split",
        other_yield=pl.col("paid") / pl.col("close_before"),
        other_volume_growth=pl.col("volume") / pl.col("volume_before"),
        other_carried="carried",
    )
    best = (
        rows.select(*_BAR, "since", own="precedence")
        .join(others.filter(~pl.col("other_carried")), on=["ticker", "date", "since"])
        .filter(pl.col("precedence") != pl.col("own"))
        .sort("precedence")
        .unique(_BAR, keep="first")
        .drop("since", "own", "precedence", "other_carried")
    )
    rows = rows.join(best, on=_BAR, how="left", maintain_order="left")
    growth = rows["growth"].to_numpy()
    apart = rows["other_growth"].fill_null(1.0).to_numpy() / growth
    with np.errstate(divide="ignore"):
        return rows.with_columns(
            ratio_in_dividend=_nearest(1.0 + rows["paid"].to_numpy() / rows["close"].to_numpy(), SPLIT_RATIOS),
            ratio_by_other=_nearest(apart, SPLIT_RATIOS),
            whole_by_other=np.where(apart > 1.0, np.round(apart), 1.0 / np.round(np.maximum(1.0 / apart, 1.0))),
            ratio_alone=_nearest(1.0 / growth, _LONE_RATIOS),
        )


def _nearest(values: np.ndarray, ratios: np.ndarray) -> pl.Series:
    """The ratio nearest to each value."""
    return pl.Series(ratios[np.abs(np.log(values)[:, None] - np.log(ratios)).argmin(axis=1)])


def is_spin_off(ratio: pl.Expr) -> pl.Expr:
    """Whether a split ratio is not a share ratio but the value of a spin-off, by the prices of the ex-day."""
    return (ratio > 1.0) & ~_shares(ratio)


def _shares(ratio: pl.Expr) -> pl.Expr:
    """Whether it is a share ratio: a/b with b (or, for a reverse split, a) one of 1 to 5, 10 and 20."""
    larger = pl.max_horizontal(ratio, 1.0 / ratio)
    return pl.any_horizontal(
        ((larger * b - (larger * b).round()) / (larger * b)).abs() <= _SHARE_TOLERANCE for b in (1, 2, 3, 4, 5, 10, 20)
    ).fill_null(False)

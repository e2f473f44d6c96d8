"""Body of `quant factors`: the strongest factors of a sector's tear sheet, or one factor. Writes nothing."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import polars as pl
from rich.markup import escape
from rich.table import Table

from quant_assets.backtest.factor_summary import least_months
from quant_assets.cli.screen import Empty
from quant_assets.cli.stored import OutdatedUpstream
from quant_assets.errors import SettingsError, UsageError
from quant_assets.partitions import key
from quant_assets.profile import Profile
from quant_assets.reporting.tear_sheet import strongest
from quant_assets.schemas.research import QUANTILES

_MOST = 15
#: Most factors to name in an error.
_FEW = 10


def output(
    profile: Profile, sector: str, month: str, factor: str | None, horizon: int | None
) -> Iterator[str | Table | Empty]:
    """Lines and the table of a sector.

    Args:
        profile: its storage is read.
        sector: slug.
        month: of the tear sheet.
        factor: one factor at every horizon; None for the strongest factors at one horizon.
        horizon: in sessions; None for the portfolio's.

    Raises:
        SettingsError: the factor or horizon does not exist.
        MissingPartitionError: the month has not been run.

    """
    dataset = profile.datasets["factor_tear_sheet"]
    rows = profile.store.read(dataset, [key(sector, month)]).collect()
    if rows.is_empty():
        least = profile.settings.factors.min_names
        yield Empty(
            sector,
            month,
            f"no factor has a figure yet; no session had {least} names (factors.min_names) with known outcomes",
        )
        return
    page = profile.store.artifact_url(rows["page_file"][0])
    at = horizon or profile.settings.weights.horizon
    if at not in profile.settings.labels.horizons:
        raise UsageError(
            f"--horizon {at} is not one of labels.horizons: {', '.join(map(str, profile.settings.labels.horizons))}"
        )
    if factor is not None:
        shown = rows.filter(pl.col("factor") == factor)
        if horizon is not None:
            shown = shown.filter(pl.col("horizon") == horizon)
        if shown.is_empty():
            raise SettingsError(_absent(profile, sector, month, factor, rows["factor"].unique().sort().to_list()))
        yield f"{factor} in {sector}, as known at the close of {rows['as_of'][0]}"
        yield _table(shown, "horizon")
        yield from _without_error(shown)
    else:
        shown = strongest(rows, at, _MOST)
        of_horizon = rows.filter(pl.col("horizon") == at)
        by = "|t|"
        if shown.is_empty():  # too few months for standard errors
            by = "|IC|, since there are too few months for standard errors,"
            shown = of_horizon.drop_nulls("ic").sort(-pl.col("ic").abs(), "factor")
            shown = shown.unique(pl.col("ic").round(9), keep="first", maintain_order=True).head(_MOST)
        yield (
            f"{sector}, as known at the close of {rows['as_of'][0]}: "
            f"strongest of {of_horizon.height} factors by {by} at {at} sessions"
        )
        if shown.is_empty():
            yield "no factor has an IC yet; the page has the other figures"
        else:
            yield _table(shown, "factor")
            yield from _without_error(shown)
    yield f"page: {page}"
    if said := OutdatedUpstream(profile, dataset.name).warning(sector, month):
        yield said


def _absent(profile: Profile, sector: str, month: str, factor: str, known: Sequence[str]) -> str:
    """The message for a factor without a figure: how to compute it, or what was probably meant."""
    without = f"factor '{factor}' has no figure in the tear sheet of {sector} {month}"
    if factor in (*profile.features.names, *profile.models.learners):
        return (
            f"{without}, which was computed before the factor was there; run quant run --profile "
            f"{profile.settings.profile} --sector {sector} --to {month} --select factor_statistics,factor_tear_sheet "
            "--refresh"
        )
    near = known if len(known) <= _FEW else get_close_matches(factor, known, n=5)
    if not near:
        return f"{without} and is no feature, score or model; quant features lists the features"
    return f"{without}; choose among {', '.join(near)}" + ("" if len(near) == len(known) else " …")


def _without_error(rows: pl.DataFrame) -> Iterator[str]:
    """Why figures have no standard error and no t."""
    without = rows.filter(pl.col("ic").is_not_null() & pl.col("ic_t").is_null()).sort("horizon", "factor")
    constant: list[str] = []
    for (horizon,), of_horizon in without.group_by("horizon", maintain_order=True):
        least = least_months(int(str(horizon)))
        months = of_horizon.filter(pl.col("months") < least)["months"]
        constant += of_horizon.filter(pl.col("months") >= least)["factor"].to_list()
        if len(months):
            yield (
                f"no std error and t at {horizon} sessions: they need an IC in {least} months, and there are "
                f"{' to '.join(dict.fromkeys((str(months.min()), str(months.max()))))}"
            )
    if constant:
        yield f"no std error and t of {escape(', '.join(dict.fromkeys(constant)))}: the IC of every month is the same"


def _table(rows: pl.DataFrame, first: str) -> Table:
    forms = {
        "ic": "+.4f",
        "ic_standard_error": ".4f",
        "ic_t": "+.2f",
        "ic_std": ".3f",
        "quantile_1": "+.2%",
        f"quantile_{QUANTILES}": "+.2%",
        "top_turnover": ".0%",
        "rank_autocorrelation": ".3f",
        "months": "d",
        "ic_sessions": "d",
        "names": ".0f",
    }
    heads = {
        "ic_standard_error": "std error",
        "ic_t": "t",
        "ic_std": "std",
        "quantile_1": "lowest",
        f"quantile_{QUANTILES}": "highest",
    }
    table = Table()
    table.add_column(first, justify="left" if first == "factor" else "right")
    for name in forms:
        table.add_column(heads.get(name, name.replace("ic_", "").replace("_", " ")), justify="right")
    for row in rows.iter_rows(named=True):
        table.add_row(
            escape(str(row[first])),
            *("" if row[name] is None else format(row[name], form) for name, form in forms.items()),
        )
    return table

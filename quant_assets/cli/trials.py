"""Body of `quant trials`: the logged trials with their market time, settings and results. Writes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl
from rich.markup import escape
from rich.table import Table

from quant_assets.backtest.metrics import sharpe
from quant_assets.backtest.statistics import MIN_OBSERVATIONS
from quant_assets.backtest.trials import Trial, counted, evidence
from quant_assets.errors import MissingPartitionError
from quant_assets.graph import build_defs
from quant_assets.partitions import month_end
from quant_assets.profile import Profile

#: Most changed settings to name per trial.
_SHOWN_CHANGES = 6


def output(profile: Profile, scopes: Sequence[str], month: str) -> Iterator[str | Table]:
    """A table of the trials known at the end of `month`, and the counts that deflate the Sharpe ratios.

    Args:
        profile: its log is read.
        scopes: sector slugs and `portfolio`; those without a trial are left out.
        month: last month of the trials.

    Raises:
        MissingPartitionError: there is no trial.

    """
    build_defs(profile)  # gives the log the settings that define a trial
    as_of = min(month_end(month), profile.last_session())
    table = Table()
    for name in (
        "scope",
        "kind",
        "trial",
        "first",
        "last",
        "sessions",
        "Sharpe",
        "rank IC",
        "settings",
    ):
        table.add_column(name, justify="right" if name in ("sessions", "Sharpe", "rank IC") else "left")
    counts, deflated, differing = [], [], []
    for scope in scopes:
        logged = profile.trials.trials(scope, profile.months.start, month)
        trials = [item for item in logged if item.scope == scope and item.first <= as_of]
        if trials:
            counts.append(f"{scope} {len({item.name for item in counted(logged, as_of)})}")
        present = profile.trials.present(scope)
        for trial in sorted(trials, key=lambda item: (item.kind, item.first, item.name)):
            changes = differences(present[trial.kind], profile.trials.settings_of(trial))
            if trial.kind == "strategy" and not changes:
                track = trial.returns(date.min, as_of).rename({"value": "net_return"})
                ratio = evidence(track, logged, profile.settings.statistics)["deflated_sharpe"]
                if ratio is not None:
                    deflated.append(f"{scope} {100 * ratio:.1f} % since {track['date'][0]}")
            if changes:
                differing.append(f"  {trial.name}  {_listed(changes)}")
            settings = "other" if changes else "present"
            table.add_row(*map(escape, (scope, trial.kind, trial.name, *_measured(trial, as_of), settings)))
    if not table.row_count:
        raise MissingPartitionError(
            f"no trial up to {month} is in {profile.store.artifact_url('trials')}; "
            "quant run logs one per training and backtest"
        )
    yield f"trials known at {as_of}"
    yield table
    if differing:
        yield "settings that differ from the present ones:"
        yield from differing
    yield (
        "number of strategies, and of trainings that no strategy uses, that deflates the Sharpe ratios: "
        f"{', '.join(counts)}. Sharpe ratios of trainings are those of the top fifth of the names "
        "by the forecasts in the test folds, before costs."
    )
    if deflated:
        yield f"deflated Sharpe ratios with the present settings: {', '.join(deflated)}"


def differences(present: Mapping[str, Any], tried: Mapping[str, Any], path: str = "") -> list[str]:
    """Sorted `path=value` of settings in `tried` that differ from the present ones; `path=(none)` if it lacks one."""
    changes = []
    for name in sorted(present.keys() | tried.keys()):
        old, new, at = present.get(name), tried.get(name), f"{path}{name}"
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            changes += differences(old, new, f"{at}.")
        elif isinstance(old, list) and isinstance(new, list) and max(len(old), len(new)) > _SHOWN_CHANGES:
            gone, added = [item for item in old if item not in new], [item for item in new if item not in old]
            changes.append(
                f"{at}: {_listed([f'+{item}' for item in added] + [f'-{item}' for item in gone]) or 'another order'}"
            )
        else:
            changes.append(f"{at}={'(none)' if name not in tried else new}")
    return changes


def _measured(trial: Trial, as_of: date) -> tuple[str, str, str, str, str]:
    """First and last day, sessions, annualised Sharpe ratio and mean rank IC of a trial, as known at a day."""
    rows = trial.returns(date.min, as_of)
    if rows.is_empty():
        return str(trial.first), "", "0", "", ""
    ratio = sharpe(rows["value"].to_list())
    if ratio is not None and trial.kind == "training":  # returns span several sessions
        ratio /= trial.sessions**0.5
    measured = trial.measured.filter(pl.col("as_of") <= as_of)
    # The window of the figures; that of a strategy begins with its first execution.
    first, last = (
        (rows["date"].min(), rows["date"].max())
        if trial.kind == "strategy"
        else (measured["as_of"].min(), measured["as_of"].max())
    )
    rank_ic = rows["rank_ic"].mean()
    return (
        str(first),
        str(last),
        str(len(rows)),
        "" if ratio is None else "too short" if len(rows) < MIN_OBSERVATIONS else f"{ratio:.2f}",
        f"{rank_ic:+.3f}" if isinstance(rank_ic, float) else "",
    )


def _listed(texts: Sequence[str]) -> str:
    shown = ", ".join(texts[:_SHOWN_CHANGES])
    return f"{shown} … and {len(texts) - _SHOWN_CHANGES} more" if len(texts) > _SHOWN_CHANGES else shown

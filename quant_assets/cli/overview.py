"""What `quant --help` shows: the groups of commands, those for a start first, each command in one short line."""

import typer
from typer.main import get_command_name
from typer.models import CommandInfo, TyperInfo

#: Commands in the order of the help, by the title of their group; a line fits a window of 80 columns.
OVERVIEW = {
    "Start here": {
        "run": "Compute assets of sectors and months",
        "picks": "Candidates, weights and forecasts of a month",
        "report": "Path of a report, or open it in the browser",
        "show": "Rows of a dataset, on the screen or as a file",
        "status": "Which partitions exist, and which are missing",
        "demo": "Run everything on a simulated market",
        "files": "Use your own files: check, init",
        "ui": "Start Dagster's web UI",
    },
    "Look closer": {
        "candidates": "Which names are chosen or left out; try settings",
        "weights": "The weights of a month, by several optimisers",
        "factors": "How well features, scores, forecasts predicted",
        "features": "Every indicator and feature with its meaning",
        "analyse": "Everything known about one stock",
        "turnover": "Turnover of the backtest by cause",
        "capacity": "Returns after costs, by the size of the book",
        "factor-model": "Exposure of the backtest to known factors",
        "sleeves": "The shares of equities, crypto and cash",
    },
    "Trust a number": {
        "stale": "Which stored months are out of date, and why",
        "trials": "Every set of settings that was tried",
        "known": "What was known on a day",
        "audit": "Check that nothing uses the future",
        "repro": "Compute a partition again and compare it",
    },
    "Models": {
        "models": "List, compare, promote and roll back models",
        "predict": "Pick the best of a month by a model",
        "batch-predict": "Pick the best of every month of a range",
        "train": "Train one model by walk-forward",
        "infer": "Write forecasts of a session to a database",
        "label": "Write forward returns as Parquet",
        "sentiment": "Train, try and evaluate scorers of news texts",
        "devices": "GPUs: which runs hold them, and which wait",
    },
    "Every day": {
        "daily": "Compute a session and record its decisions",
        "live": "Returns and forecasts of the recorded decisions",
        "orders": "What to trade, from holdings to weights",
        "collect": "Fetch new data from the providers",
        "automation": "Turn schedules and sensors on and off",
        "sensors": "Runs that the sensors would request now",
    },
    "Keep it running": {
        "instance": "Create or update the Dagster instance",
        "pages": "Serve the HTML pages that the web UI links to",
        "prune": "Show or remove old partitions",
        "vacuum": "Count or remove old events of the Dagster instance",
    },
}


def arrange(app: typer.Typer) -> None:
    """Give the commands of an application their groups, short lines and order. One that is in no group comes last."""
    lines = {name: (title, line) for title, group in OVERVIEW.items() for name, line in group.items()}
    commands: list[CommandInfo | TyperInfo] = [*app.registered_commands, *app.registered_groups]
    for info in commands:
        if _name(info) in lines:
            info.rich_help_panel, info.short_help = lines[_name(info)]
    order = {name: number for number, name in enumerate(lines)}
    app.registered_commands.sort(key=lambda info: order.get(_name(info), len(order)))


def _name(info: CommandInfo | TyperInfo) -> str:
    return str(info.name or get_command_name(getattr(info.callback, "__name__", "")))

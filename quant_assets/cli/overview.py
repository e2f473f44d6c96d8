"""What `quant --help` shows: the groups of commands, those for a start first, each command in one short line."""

import typer
from typer.main import get_command_name
from typer.models import CommandInfo, TyperInfo

#: Commands in the order of the help, by the title of their group; a line fits a window of 80 columns.
OVERVIEW = {
    "Start here": {
        "run": "Compute assets of sectors and months",
        "picks": "Candidates, weights and forecasts of a month",
        "report": "Where the reports are, and open one",
        "show": "Rows of a dataset, on the screen or as a file",
        "status": "Which partitions exist, and which are missing",
        "demo": "Run all of it on a simulated market",
        "files": "Use files of your own: check, init",
        "ui": "Start Dagster's web UI",
    },
    "Look closer": {
        "candidates": "Who is chosen and who is left out; try other settings",
        "weights": "The weights of a month, by several optimisers",
        "factors": "What features, scores and forecasts were worth",
        "features": "Every indicator and feature with its meaning",
        "analyse": "All of one stock on one day",
        "turnover": "What the backtest turned over, by cause",
        "capacity": "Returns after costs, by the size of the book",
        "factor-model": "What the backtest owes to known factors",
        "sleeves": "The shares of equities, crypto and cash",
    },
    "Trust a number": {
        "stale": "What would be computed otherwise today, and why",
        "trials": "Every set of settings that was tried",
        "known": "What was known on a day",
        "audit": "Does anything use the future?",
        "repro": "Compute a partition again and compare it",
    },
    "Models": {
        "models": "List, compare, promote and roll back models",
        "predict": "Pick the best of a month by a model",
        "batch-predict": "The same for each month of a range",
        "train": "Train one model by walk-forward",
        "infer": "Forecast a session into a table of a database",
        "label": "Write forward returns as Parquet",
        "sentiment": "Train, try and judge what reads the news",
        "devices": "GPUs: who computes on which, and who waits",
    },
    "Every day": {
        "daily": "Compute a session and write down what is said",
        "live": "What came of what was said",
        "orders": "What to trade, from holdings to weights",
        "collect": "Ask the providers for what is new",
        "automation": "Switch schedules and sensors on and off",
        "sensors": "What the sensors would ask for now",
    },
    "Keep it running": {
        "instance": "Make the Dagster instance of a profile ready",
        "pages": "Serve the HTML pages that the web UI links to",
        "prune": "Show or remove old partitions",
        "vacuum": "Count or remove old events of the Dagster instance",
    },
}


def arrange(app: typer.Typer) -> None:
    """Give the commands of an application their groups, short lines and order. One that is in no group comes last."""
    places = {
        name: (title, line, number)
        for number, (title, name, line) in enumerate(
            (title, name, line) for title, lines in OVERVIEW.items() for name, line in lines.items()
        )
    }
    for info in (*app.registered_commands, *app.registered_groups):
        title, line, _ = places.get(_name(info), (None, None, 0))
        if title is not None:
            info.rich_help_panel, info.short_help = title, line
    app.registered_commands.sort(key=lambda info: places.get(_name(info), ("", "", len(places)))[2])


def _name(info: CommandInfo | TyperInfo) -> str:
    return str(info.name or get_command_name(getattr(info.callback, "__name__", "")))

"""What each command of `quant` about the Dagster instance and what runs by itself takes, with its help."""

import os
import sys
from typing import Annotated

import typer

from quant_assets.cli.commands import ProfileOption, app
from quant_assets.cli.screen import show
from quant_assets.cli.session import Session
from quant_assets.settings.loading import load_settings

instance_app = typer.Typer(
    help="Make the Dagster instance of a profile ready.", no_args_is_help=True, rich_markup_mode="markdown"
)
app.add_typer(instance_app, name="instance")

automation_app = typer.Typer(
    help="Turn schedules and sensors on and off.", no_args_is_help=True, rich_markup_mode="markdown"
)
app.add_typer(automation_app, name="automation")

NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]…", help="Their names [default: all of them].")
]


@app.command()
def pages(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of the loopback address [default: the setting dagster.pages_port]."),
    ] = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
    profile: ProfileOption = None,
) -> None:
    """Serve the HTML pages that the web UI links to; Ctrl-C ends it.

    `make ui` does it. The server listens on 127.0.0.1, serves pages and no other file, and answers no other site.

    Examples:

        quant pages

        quant pages --profile files --port 3002
    """
    from dotenv import load_dotenv

    load_dotenv(".env", override=True)
    from quant_assets.page_links import HOST, place
    from quant_assets.profile import Profile
    from quant_assets.running.page_server import serve

    settings = load_settings(profile)
    chosen = settings.dagster.pages_port if port is None else port
    sys.stderr.write(f"pages of {settings.storage_url}: http://{HOST}:{chosen}/{place(settings)}/\n")
    serve(Profile(settings), chosen, with_parent=with_parent)


@instance_app.command()
def init(
    pool: Annotated[
        list[str] | None,
        typer.Option("--pool", help="Most steps at a time of a pool, as gpu=8; may be repeated."),
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Make the instance of a profile where it is not there, bring its tables up to date, and limit its pools.

    `make ui` and the containers do it before anything else starts; a second time there is nothing to do. Standard
    output has the folder for `DAGSTER_HOME` alone. Like Dagster's commands it reads `.env`.

    Examples:

        quant instance init

        quant instance init --profile files --pool gpu=8
    """
    from dotenv import load_dotenv

    load_dotenv(".env", override=True)
    from quant_assets.running.preparation import pools_of, prepare

    made = prepare(profile, pools_of(pool or ()))
    for each in (f"the Dagster instance {made.home} is {'made' if made.new else 'there'}", *made.said):
        sys.stderr.write(f"{each}\n")
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(made.home) + b"\n")  # as it is, whatever letters the output knows


@instance_app.command()
def update(profile: ProfileOption = None) -> None:
    """Take the settings of `conf/dagster.yaml` into an instance that was made with older ones.

    Where its records are kept stays as it is, and the old file stays beside the new one.

    Example:

        quant instance update --profile files
    """
    from quant_assets.running.preparation import update as taken

    show(taken(profile))


@automation_app.command()
def start(names: NamesArgument = None, profile: ProfileOption = None) -> None:
    """Turn schedules and sensors on. They run while a daemon is alive: that of `make ui`, or of the containers.

    Examples:

        quant automation start --profile files

        quant automation start after_close -p files
    """
    _turn(names, profile, on=True)


@automation_app.command()
def stop(names: NamesArgument = None, profile: ProfileOption = None) -> None:
    """Turn schedules and sensors off. Runs that they have started go on.

    Examples:

        quant automation stop --profile files

        quant automation stop retrain -p files
    """
    _turn(names, profile, on=False)


@automation_app.command("status")
def automation_status(profile: ProfileOption = None) -> None:
    """Show which schedules and sensors are on, and what became of the last tick of each.

    Example:

        quant automation status --profile files
    """
    from quant_assets.cli.automation import output

    for each in output(load_settings(profile)):
        show(each)


def _turn(names: list[str] | None, profile: str | None, *, on: bool) -> None:
    from quant_assets.cli.automation import turned

    for each in turned(load_settings(profile), names or [], on=on):
        show(each)


@app.command()
def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on loopback.")] = 3000,
    profile: ProfileOption = None,
) -> None:
    """Start Dagster's web UI and its daemon on loopback, which `make ui` does too. Ctrl-C or SIGTERM ends them.

    Examples:

        quant ui

        quant ui --profile files --port 3001
    """
    settings = load_settings(profile)
    from quant_assets.cli.ui import start

    start(settings.profile, port)


@app.command()
def devices(profile: ProfileOption = None) -> None:
    """Show the devices (GPUs) that trainings may use, who computes on which, and who waits; nothing is taken.

    They are those of QUANT_GPUS (how many, a list, or none), else of CUDA_VISIBLE_DEVICES, else those that nvidia-smi
    lists, instances of split ones included. Without any, trainings run on the CPU.

    Examples:

        quant devices

        QUANT_GPUS=0,2 quant devices --profile files
    """
    session = Session(profile)
    from quant_assets.cli.devices import output

    for each in output(session):
        show(each)


@app.command()
def vacuum(
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, help="Days to keep the events of an ended run [default: vacuum.keep_days]."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are only counted.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Count the events of ended runs that nobody needs in the Dagster instance, or remove them.

    These are lines of log, and the steps' inputs, outputs and resources, which the page of an old run shows. What tells
    of assets and checks stays, so does the state of every partition, and when each run and step began and how it ended.

    Examples:

        quant vacuum

        quant vacuum --days 90 --yes
    """
    session = Session(profile)
    from quant_assets.cli.vacuum import output

    for each in output(session, days, remove=yes):
        show(each)

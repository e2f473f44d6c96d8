"""The arguments, options and help of the commands about the Dagster instance and its automation."""

import os
import sys
from typing import Annotated

import typer

from quant_assets.cli.commands import ProfileOption, app
from quant_assets.cli.screen import show
from quant_assets.cli.session import Session
from quant_assets.settings.loading import load_settings

instance_app = typer.Typer(
    help="Prepare the Dagster instance of a profile.", no_args_is_help=True, rich_markup_mode="markdown"
)
app.add_typer(instance_app, name="instance")

automation_app = typer.Typer(
    help="Turn schedules and sensors on and off.", no_args_is_help=True, rich_markup_mode="markdown"
)
app.add_typer(automation_app, name="automation")

NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]…", help="Names of schedules and sensors [default: all].")
]


@app.command()
def pages(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port on the loopback address [default: dagster.pages_port]."),
    ] = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="Process to end with.")] = None,
    profile: ProfileOption = None,
) -> None:
    """Serve the HTML pages that the web UI links to; Ctrl-C stops the server.

    `make ui` starts it too. The server listens on 127.0.0.1, serves only pages, and answers no other site.

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
    serve(Profile(settings), chosen, parent=parent)


@instance_app.command()
def init(
    pool: Annotated[
        list[str] | None,
        typer.Option("--pool", help="Limit of parallel steps in a pool, as gpu=8; may be repeated."),
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Create the instance of a profile if it does not exist, upgrade its tables, and set the limits of its pools.

    `make ui` and the containers run it before anything else starts; it is safe to repeat. Standard output has only the
    folder for `DAGSTER_HOME`. Like Dagster's commands it reads `.env`.

    Examples:

        quant instance init

        quant instance init --profile files --pool gpu=8
    """
    from dotenv import load_dotenv

    load_dotenv(".env", override=True)
    from quant_assets.running.preparation import pools_of, prepare

    instance = prepare(profile, pools_of(pool or ()))
    for line in (f"the Dagster instance {instance.home} {'is new' if instance.new else 'exists'}", *instance.said):
        sys.stderr.write(f"{line}\n")
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(instance.home) + b"\n")  # raw bytes, whatever the encoding of the output


@instance_app.command()
def update(profile: ProfileOption = None) -> None:
    """Update an instance that was made with an older `conf/dagster.yaml` to the present one.

    The place of its records does not change, and the old file stays beside the new one.

    Example:

        quant instance update --profile files
    """
    from quant_assets.running import preparation

    show(preparation.update(profile))


@automation_app.command()
def start(names: NamesArgument = None, profile: ProfileOption = None) -> None:
    """Turn schedules and sensors on. They run only while a daemon runs: that of `make ui`, or of the containers.

    Examples:

        quant automation start --profile files

        quant automation start after_close -p files
    """
    _turn(names, profile, on=True)


@automation_app.command()
def stop(names: NamesArgument = None, profile: ProfileOption = None) -> None:
    """Turn schedules and sensors off. Runs that they have started continue.

    Examples:

        quant automation stop --profile files

        quant automation stop retrain -p files
    """
    _turn(names, profile, on=False)


@automation_app.command("status")
def automation_status(profile: ProfileOption = None) -> None:
    """Show which schedules and sensors are on, and the result of their last tick.

    Example:

        quant automation status --profile files
    """
    from quant_assets.cli.automation import output

    for part in output(load_settings(profile)):
        show(part)


@automation_app.command("test-alert")
def send_test_alert(profile: ProfileOption = None) -> None:
    """Send a test alert to the webhook of `QUANT_ALERT_URL`, and show which host took it.

    The exit status is 1 if no webhook is set, or if it cannot be reached or refuses the message. Like Dagster's
    commands it reads `.env`.

    Example:

        quant automation test-alert --profile files
    """
    from dotenv import load_dotenv

    load_dotenv(".env", override=True)
    from quant_assets.cli.automation import alerted

    for part in alerted(load_settings(profile)):
        show(part)


def _turn(names: list[str] | None, profile: str | None, *, on: bool) -> None:
    from quant_assets.cli.automation import turned

    for part in turned(load_settings(profile), names or [], on=on):
        show(part)


@app.command()
def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on the loopback address.")] = 3000,
    profile: ProfileOption = None,
) -> None:
    """Start Dagster's web UI and its daemon on loopback, as `make ui` does. Ctrl-C or SIGTERM stops them.

    Runs that the daemon has started are interrupted then.

    Examples:

        quant ui

        quant ui --profile files --port 3100
    """
    settings = load_settings(profile)
    from quant_assets.cli.ui import start

    start(settings.profile, port)


@app.command()
def devices(profile: ProfileOption = None) -> None:
    """Show the devices (GPUs) that trainings may use, which runs hold them, and which runs wait; reserves nothing.

    QUANT_GPUS names the devices (a number, a list, or none), else CUDA_VISIBLE_DEVICES, else nvidia-smi lists them,
    MIG instances included. Without a device, trainings run on the CPU.

    Examples:

        quant devices

        QUANT_GPUS=0,2 quant devices --profile files
    """
    session = Session(profile)
    from quant_assets.cli.devices import output

    for part in output(session):
        show(part)


@app.command()
def vacuum(
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, help="Days to keep the events of a finished run [default: vacuum.keep_days]."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove the events; without it they are only counted.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Count or remove the events of finished runs that the Dagster instance no longer needs.

    These are log lines, and the inputs, outputs and resources of steps, which only the page of an old run shows. Events
    of assets and checks, the state of every partition, and the start and end of every run and step stay.

    Examples:

        quant vacuum

        quant vacuum --days 90 --yes
    """
    session = Session(profile)
    from quant_assets.cli.vacuum import output

    for part in output(session, days, remove=yes):
        show(part)

"""What each command of `quant` about what runs by itself takes, with its help."""

from typing import Annotated

import typer

from quant_assets.cli.commands import ProfileOption, app
from quant_assets.cli.screen import show
from quant_assets.cli.session import Session

sensors_app = typer.Typer(
    help="Sensors: what asks for runs by itself, and what it would ask for now.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(sensors_app, name="sensors")


@sensors_app.command("list")
def list_sensors(profile: ProfileOption = None) -> None:
    """List the sensors of a profile: how often each looks, whether it is on at first, and what it does.

    Examples:

        quant sensors list

        quant sensors list --profile files
    """
    session = Session(profile)
    from quant_assets.cli.sensors import listed

    for each in listed(session.profile):
        show(each)


@sensors_app.command()
def preview(
    sensor: Annotated[str, typer.Argument(metavar="SENSOR", help="Its name, such as retrain.")],
    profile: ProfileOption = None,
) -> None:
    """Show what a sensor would ask for now, and why it holds back the rest. Nothing is launched and nothing written.

    Examples:

        quant sensors preview retrain

        quant sensors preview retrain --profile files
    """
    session = Session(profile)
    from quant_assets.cli.sensors import preview as previewed

    for each in previewed(session.profile, sensor):
        show(each)

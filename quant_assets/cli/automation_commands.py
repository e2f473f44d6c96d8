"""The arguments, options and help of `quant sensors`."""

from typing import Annotated

import typer

from quant_assets.cli.commands import ProfileOption, app
from quant_assets.cli.screen import show
from quant_assets.cli.session import Session

sensors_app = typer.Typer(
    help="List the sensors, and preview the runs that they would request now.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(sensors_app, name="sensors")


@sensors_app.command("list")
def list_sensors(profile: ProfileOption = None) -> None:
    """List the sensors of a profile: their interval, whether they are on by default, and what they do.

    Examples:

        quant sensors list

        quant sensors list --profile files
    """
    session = Session(profile)
    from quant_assets.cli.sensors import listed

    for part in listed(session.profile):
        show(part)


@sensors_app.command()
def preview(
    sensor: Annotated[str, typer.Argument(metavar="SENSOR", help="Name of the sensor, such as retrain.")],
    profile: ProfileOption = None,
) -> None:
    """Show the runs that a sensor would request now, and why it requests no others. Launches and writes nothing.

    Examples:

        quant sensors preview retrain

        quant sensors preview retrain --profile files
    """
    session = Session(profile)
    from quant_assets.cli.sensors import preview as previewed

    for part in previewed(session.profile, sensor):
        show(part)

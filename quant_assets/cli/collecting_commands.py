"""The arguments, options and help of `quant collect`."""

from typing import Annotated

import typer

from quant_assets.cli.commands import ProfileOption, app
from quant_assets.cli.screen import show
from quant_assets.cli.session import Session

collect_app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode="markdown",
)
app.add_typer(collect_app, name="collect")

ProviderOption = Annotated[
    list[str] | None,
    typer.Option("--provider", help="Provider, such as yahoo; may be repeated [default: all of the profile]."),
]


@collect_app.callback()
def collect(
    context: typer.Context,
    provider: ProviderOption = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            help="First day; days before what is there are requested once [default: collecting.since].",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the planned requests, send none.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Request new data from the providers of a profile, and keep every answer.

    Safe to repeat: answers received since the last session closed are not requested again, and an interrupted
    collection loses nothing. The exit status is 1 if a provider refused, was exhausted or gave no usable answer; the
    answers of the others are kept. Keys come only from the environment.

    Examples:

        quant collect -p live

        quant collect -p live --provider yahoo --since 2015-01-01

        quant collect -p live --dry-run
    """
    if context.invoked_subcommand is not None:
        return
    session = Session(profile)
    from quant_assets.cli.collect import collected, planned

    if dry_run:
        for part in planned(session.profile, provider or (), since):
            show(part)
    elif not collected(session.profile, provider or (), since):
        raise typer.Exit(1)


@collect_app.command()
def replay(provider: ProviderOption = None, profile: ProfileOption = None) -> None:
    """Rebuild the tables from all kept answers, without any request.

    Examples:

        quant collect replay -p live

        quant collect replay -p live --provider yahoo
    """
    session = Session(profile)
    from quant_assets.cli.collect import replayed

    for part in replayed(session.profile, provider or ()):
        show(part)

"""What each command of `quant collect` takes, with its help."""

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
    typer.Option("--provider", help="Such as yahoo; may be repeated [default: all that the profile asks]."),
]


@collect_app.callback()
def collect(
    context: typer.Context,
    provider: ProviderOption = None,
    since: Annotated[
        str | None, typer.Option("--since", help="First day of what was never collected [default: collecting.since].")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked, and ask nobody.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Ask the providers of a profile for what is new, and keep every answer.

    Collect again at any time: what was answered since the last session closed is not asked again, and what an
    interrupted collection kept is not lost. The status is 1 where a provider refused, was exhausted or gave no usable
    answer; what the others gave is kept. Keys come from the environment alone.

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
        for each in planned(session.profile, provider or (), since):
            show(each)
    elif not collected(session.profile, provider or (), since):
        raise typer.Exit(1)


@collect_app.command()
def replay(provider: ProviderOption = None, profile: ProfileOption = None) -> None:
    """Make the tables again from all answers that were ever kept; nobody is asked.

    Examples:

        quant collect replay -p live

        quant collect replay -p live --provider yahoo
    """
    session = Session(profile)
    from quant_assets.cli.collect import replayed

    for each in replayed(session.profile, provider or ()):
        show(each)

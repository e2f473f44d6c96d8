"""What is collected before sessions are carried out; a session whose prices are not there is not said."""

from collections.abc import Callable, Mapping

from quant_assets.collectors.collect import Summary, said
from quant_assets.collectors.coverage import coverage
from quant_assets.errors import SettingsError, SourceError
from quant_assets.profile import Profile


def collect_first(profile: Profile, tell: Callable[[str], None]) -> Mapping[str, Summary]:
    """Ask every provider that the settings ask for anything; what one of them refuses does not stop the others.

    Whoever reads the data afterwards makes the profile anew: it knows the files as they were.

    Args:
        profile: whose settings say what is wanted.
        tell: told what came of each.

    Returns:
        What each provider brought that could be asked.

    """
    collection, found = profile.collection, dict[str, Summary]()
    for name, each in collection.registered.items():
        if not each.wanted(profile.settings.collecting):
            continue
        try:
            found[name] = collection.collect(name)
        except (SettingsError, SourceError) as error:  # a key that is missing, another collection under way
            tell(f"{name}: {error}")
            continue
        for line in said(found[name]):
            tell(line)
    return found


def refuse_lacking(profile: Profile) -> None:
    """Refuse to say a session most of whose prices were not collected: what is said stays said.

    Raises:
        SourceError: fewer tickers than `collecting.least_coverage` have a bar of the last session.

    """
    collecting = profile.settings.collecting
    if not collecting.as_files:
        return
    found = coverage(profile.collection, profile.last_session())
    if found.share < collecting.least_coverage:
        raise SourceError(
            f"{found}; nothing is said of it before collecting.least_coverage ({collecting.least_coverage:g}) of them "
            f"have: quant collect --profile {profile.settings.profile}, then quant daily; before_open tries again"
        )

"""Collection before sessions are processed; a session without most of its prices is not recorded."""

from collections.abc import Callable, Mapping

from quant_assets.collectors.collect import Summary, said
from quant_assets.collectors.coverage import coverage
from quant_assets.errors import SettingsError, SourceError
from quant_assets.profile import Profile


def collect_first(profile: Profile, tell: Callable[[str], None]) -> Mapping[str, Summary]:
    """Collect from all providers of the settings; the refusal of one does not stop the others.

    Callers must create the profile again to read the new data: it caches the files.

    Args:
        profile: its settings name the data.
        tell: receives lines on the results.

    Returns:
        Summaries by provider, without those that failed.

    """
    collection, summaries = profile.collection, dict[str, Summary]()
    for name, provider in collection.registered.items():
        if not provider.wanted(profile.settings.collecting):
            continue
        try:
            summaries[name] = collection.collect(name)
        except (SettingsError, SourceError) as error:  # a missing key, another collection in progress
            tell(f"{name}: {error}")
            continue
        for line in said(summaries[name]):
            tell(line)
    return summaries


def refuse_lacking(profile: Profile) -> None:
    """Refuse to record a session if most of its prices were not collected: ledger entries are final.

    Raises:
        SourceError: fewer tickers than `collecting.least_coverage` have a bar of the last session.

    """
    collecting = profile.settings.collecting
    if not collecting.as_files:
        return
    measured = coverage(profile.collection, profile.last_session())
    if measured.share < collecting.least_coverage:
        raise SourceError(
            f"{measured}; it is not recorded before collecting.least_coverage ({collecting.least_coverage:g}) "
            f"have: quant collect --profile {profile.settings.profile}, then quant daily; before_open tries again"
        )

"""The features of a profile: ready-made sets and the user's own, as one dataset and one list of model inputs.

A ready-made set is a module with `FEATURES`, named in `SETS`. Users' modules are loaded elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module

import polars as pl

from quant_assets.errors import SettingsError
from quant_assets.features import cross_section, fundamental
from quant_assets.features.cross_section import Breadth, CrossSection
from quant_assets.features.fundamental import StatementFeature
from quant_assets.features.macro import MacroFeature
from quant_assets.features.ohlcv import PeakFeature
from quant_assets.features.sentiment import SentimentFeature
from quant_assets.grains import MONTHLY
from quant_assets.schemas import Column, Dataset
from quant_assets.schemas.columns import FIRST_BAR, day, ticker
from quant_assets.schemas.dataset import Across
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.windows.declarations import FIELDS, Declared, Feature, FeatureSet
from quant_assets.windows.formulas import digests
from quant_assets.windows.recomputation import audit

#: Ready-made sets and their modules, which are loaded only if a profile names the set.
SETS = {
    "core": "quant_assets.features.core",
    "cross_section": "quant_assets.features.cross_section",
    "alpha158": "quant_assets.features.alpha158",
    "sentiment": "quant_assets.features.sentiment",
    "macro": "quant_assets.features.macro",
}

#: Names that a feature cannot have: they have another meaning in the dataset or in training.
RESERVED = frozenset({"ticker", "date", "sector", "month", "horizon", "forward_return", "known_at", *FIELDS})


def ready_made(name: str) -> tuple[Declared[object], ...]:
    """The features of a ready-made set.

    Raises:
        SettingsError: there is no such set.

    """
    if name not in SETS:
        raise SettingsError(f"features.sets: set '{name}' does not exist; choose among {', '.join(SETS)}")
    return tuple(import_module(SETS[name]).FEATURES)


class FeatureLibrary:
    """The features of a profile.

    Args:
        groups: features by ready-made set or user's module, in the order of the columns. A feature may read features of
            its own group and of the groups before it.

    Attributes:
        windows: features that are windows over the panel, and their inputs.
        peaks: OHLCV quantities over their running maxima.
        statements: ratios of statements.
        news: figures from news; with them, `features` reads dataset `sentiment`.
        economy: figures of the economy; with them, `features` reads dataset `macro`.
        cross_sections: features compared with the sector's other members.
        market: features compared with the whole market (dataset `market_features`).
        breadth: columns of dataset `market_breadth` whose features are present.

    Raises:
        SettingsError: a name is used twice or is not allowed, an input does not exist, features read each other in a
            circle, or there is no feature at all; names the group.

    """

    def __init__(self, groups: Mapping[str, Sequence[Declared[object]]]) -> None:
        self._groups: dict[str, str] = {}
        declared: dict[str, Declared[object]] = {}
        for group, features in groups.items():
            for feature in features:
                if feature.name in RESERVED or not feature.name.isidentifier():
                    raise SettingsError(
                        f"features of {group}: '{feature.name}' cannot be the name of a feature; rename it"
                    )
                if declared.setdefault(feature.name, feature) is not feature:
                    first = self._groups[feature.name]
                    raise SettingsError(
                        f"features of {group}: '{feature.name}' is declared a second time, first by {first}; rename it"
                    )
                self._groups.setdefault(feature.name, group)
            try:
                self.windows = FeatureSet(feature for feature in declared.values() if isinstance(feature, Feature))
            except SettingsError as error:
                raise SettingsError(f"features of {group}: {error}") from None
        self.peaks = tuple(feature for feature in declared.values() if isinstance(feature, PeakFeature))
        self.statements = tuple(feature for feature in declared.values() if isinstance(feature, StatementFeature))
        self.news = tuple(feature for feature in declared.values() if isinstance(feature, SentimentFeature))
        self.economy = tuple(feature for feature in declared.values() if isinstance(feature, MacroFeature))
        comparisons = [feature for feature in declared.values() if isinstance(feature, CrossSection)]
        self.cross_sections = tuple(feature for feature in comparisons if feature.within == "sector")
        self.market = tuple(feature for feature in comparisons if feature.within == "market")
        hidden = {feature.name for feature in declared.values() if isinstance(feature, Feature) and feature.hidden}
        self.features = tuple(
            feature for name, feature in declared.items() if name not in hidden and feature not in self.market
        )
        for feature in comparisons:
            if feature.inputs[0] not in self.names or isinstance(declared[feature.inputs[0]], CrossSection):
                raise SettingsError(
                    f"features of {self.group(feature)}: '{feature.name}' compares '{feature.inputs[0]}', "
                    "which is not a column of dataset features, or is itself a comparison; "
                    "add the set or module that declares it"
                )
        self.breadth = tuple(share for share in cross_section.BREADTH if share.inputs[0] in self.names)
        self._declared = declared
        if not self.features:
            raise SettingsError(
                "features.sets and features.modules name no feature; name a set or a module with features"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of dataset `features`, in the order of the model inputs."""
        return tuple(feature.name for feature in self.features)

    @property
    def formulas(self) -> tuple[str, ...]:
        """The `names`, each with a digest of its formula."""
        formulas = digests(self._declared)
        return tuple(f"{name} {formulas[name]}" for name in self.names)

    @property
    def dataset(self) -> Dataset:
        """Dataset `features`: its columns are the declared ones."""
        return Dataset(
            "features",
            "Model inputs of each member and session",
            ("ticker", "date"),
            "date",
            "date",
            {"ticker": ticker(), "date": day()} | {feature.name: self._column(feature) for feature in self.features},
        )

    @property
    def market_datasets(self) -> tuple[Dataset, ...]:
        """Datasets over the whole market, by month, if they have columns."""
        compared = Dataset(
            "market_features",
            (
                "Features of each member compared with those of all sectors' members; "
                "the market is the sectors with features"
            ),
            ("sector", "ticker", "date"),
            "date",
            "date",
            {
                "sector": Column(pl.String, "GICS sector that the ticker belongs to on the date"),
                "ticker": ticker(),
                "date": day(),
            }
            | {feature.name: replace(feature.column, across="market") for feature in self.market},
            grain=MONTHLY,
        )
        counted = Dataset(
            "market_breadth",
            "Number of members of the market, and shares of them that rise, trend or are at an extreme",
            ("date",),
            "date",
            "date",
            {
                "date": day(),
                "members": Column(pl.Int32, "tickers of all sectors with features on the date", "tickers", ge=1),
            }
            | {share.name: share.column for share in self.breadth},
            grain=MONTHLY,
            across="market",
        )
        return (*((compared,) if self.market else ()), *((counted,) if self.breadth else ()))

    def _column(self, feature: Declared[object]) -> Column:
        anchored = FIRST_BAR if isinstance(feature, PeakFeature) else feature.anchored
        return replace(feature.column, across=self._across(feature), anchored=anchored)

    def _across(self, feature: Declared[object]) -> Across:
        """The group of other tickers on which a feature depends, by a comparison or by their mean return."""
        if isinstance(feature, CrossSection):
            return feature.within
        return "sector" if feature.name in self.windows.reach("sector_return") else ""

    def group(self, feature: Declared[object]) -> str:
        """The ready-made set or module of a feature; breadth belongs to the set `cross_section`."""
        return "cross_section" if isinstance(feature, Breadth) else self._groups[feature.name]

    def audit_own(self) -> None:
        """Check the user's own features on a synthetic panel; the tests check the ready-made ones.

        Raises:
            SettingsError: a feature cannot be computed, or depends on more than it declares; names module, feature and
                remedy.

        """
        for feature in self.windows.features:
            if self.group(feature) not in SETS:
                try:
                    audit(self.windows, [feature.name])
                except SettingsError as error:
                    raise SettingsError(f"features of {self.group(feature)}: {error}") from error

    def lookback(self, feature: Declared[object], settings: FundamentalSettings) -> int:
        """Sessions before a month's first one on whose prices a feature may depend."""
        if isinstance(feature, StatementFeature):
            return fundamental.price_sessions(settings)
        if isinstance(feature, SentimentFeature | MacroFeature):
            return 0
        if isinstance(feature, CrossSection | Breadth):
            return self.lookback(next(other for other in self.features if other.name == feature.inputs[0]), settings)
        return self.windows.total_lookback(feature.name) if isinstance(feature, Feature) else feature.lookback

    def price_lookback(self, settings: FundamentalSettings) -> int:
        """Sessions before a month's first one on whose prices the features may depend."""
        return max(self.lookback(feature, settings) for feature in self.features)

    @property
    def news_lookback(self) -> int:
        """Sessions before a month's first one on whose news the features may depend."""
        return max((feature.lookback for feature in self.news), default=0)

    @property
    def macro_lookback(self) -> int:
        """Sessions before a month's first one on whose macro observations the features may depend."""
        return max((feature.lookback for feature in self.economy), default=0)

    @property
    def universe_lookback(self) -> int:
        """Sessions before a month's first one on whose members the features may depend."""
        # The sector's return of a session is over the members of the session before.
        return max((sessions + 1 for sessions in self.windows.reach("sector_return").values()), default=0)

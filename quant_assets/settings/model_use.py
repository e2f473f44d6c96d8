"""Settings of the use of trained models: applicability, drift, promotion, and replacement of broken models."""

from typing import Literal

from pydantic import Field

from quant_assets.settings.group import SettingsGroup


class ApplicabilitySettings(SettingsGroup):
    """Where a checkpoint's forecasts apply: `in_range` of dataset predictions; see `learning.drift`.

    Attributes:
        max_dissimilarity: greatest dissimilarity of a row from the training rows, in units of their mean distance from
            each other. In a usual month half of the rows are below .6, and 0 to 13 % above 1 (see `DriftSettings`).
        expires_after_months: months after its own until a checkpoint expires; until the next one is due
            (training.cadence_months) where null.

    """

    max_dissimilarity: float = Field(default=1.0, gt=0)
    expires_after_months: int | None = Field(default=None, ge=1)


class DriftSettings(SettingsGroup):
    """When a sector has drifted from the training data of its models; see `learning.drift.drifted`.

    For utilities and technology, trained at five year ends from 2015 to 2023, a share of 0 to .12 of the features had
    drifted one and three months later in 14 of 20 cases, .16 to .36 in four, .42 and .50 in March 2020. A share of 0 to
    .13 of the rows was out of range except in March 2020, with .49 and .71. Without the features' own usual index, .30
    to .82 of them are above .25 at any time.

    Attributes:
        max_psi: population stability index above which a feature may have drifted; .25 is usual for scorecards.
        max_drifted_share: greatest share of drifted features.
        max_out_of_range: greatest share of a month's rows out of range.

    """

    max_psi: float = Field(default=0.25, gt=0)
    max_drifted_share: float = Field(default=0.25, ge=0, le=1)
    max_out_of_range: float = Field(default=0.25, ge=0, le=1)


class PromotionSettings(SettingsGroup):
    """Promotion of trained models; see `learning.gate`.

    Attributes:
        max_daily_ic: mean daily IC over the test folds above which a label is suspected to leak into a feature; real
            factors reach .03 to .06.

    """

    max_daily_ic: float = Field(default=0.10, gt=0, le=1)


class RegistrySettings(SettingsGroup):
    """Replacement of a model whose files are missing, changed or truncated. It is always logged.

    Attributes:
        fallback: `previous` takes the model's previous checkpoint, or the selection score if none is young enough;
            `refuse` raises an error.

    """

    fallback: Literal["previous", "refuse"] = "previous"

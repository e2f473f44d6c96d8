"""Settings of the use of trained models: where forecasts apply, drift, promotion, and what replaces a broken model."""

from typing import Literal

from pydantic import Field

from quant_assets.settings.group import SettingsGroup


class ApplicabilitySettings(SettingsGroup):
    """Where a checkpoint's forecasts apply: `in_range` of dataset predictions; see `learning.drift`.

    Attributes:
        max_dissimilarity: of a row from the training rows, 1 being their mean distance from each other. Half of the
            rows of a usual month are below .6, and 0 to 13 % above 1 (see `DriftSettings`).
        expires_after_months: months after its own in which a checkpoint is used in time; until the next one is due
            (training.cadence_months) where null.

    """

    max_dissimilarity: float = Field(default=1.0, gt=0)
    expires_after_months: int | None = Field(default=None, ge=1)


class DriftSettings(SettingsGroup):
    """When a sector has moved away from what its models were trained on; see `learning.drift.drifted`.

    Of utilities and technology, trained at five year ends from 2015 to 2023, 0 to .12 of the features had drifted one
    and three months later in 14 of 20 cases, .16 to .36 in four, .42 and .50 in March 2020; of the rows, 0 to .13 were
    out of range in all but March 2020, when it was .49 and .71. Without the features' own usual index, .30 to .82 of
    them are above .25 at any time.

    Attributes:
        max_psi: population stability index above which a feature may have drifted; .25 is what scorecards use.
        max_drifted_share: of the features.
        max_out_of_range: share of a month's rows.

    """

    max_psi: float = Field(default=0.25, gt=0)
    max_drifted_share: float = Field(default=0.25, ge=0, le=1)
    max_out_of_range: float = Field(default=0.25, ge=0, le=1)


class PromotionSettings(SettingsGroup):
    """Which trained models deserve to be used; see `learning.gate`.

    Attributes:
        max_daily_ic: mean daily IC over the test folds above which a label is suspected to leak into a feature; real
            factors reach .03 to .06.

    """

    max_daily_ic: float = Field(default=0.10, gt=0, le=1)


class RegistrySettings(SettingsGroup):
    """What replaces a model whose files are missing, changed or cut off. It is logged in any case.

    Attributes:
        fallback: `previous` takes the model's checkpoint before, and the composite score where none is young enough;
            `refuse` makes it an error.

    """

    fallback: Literal["previous", "refuse"] = "previous"

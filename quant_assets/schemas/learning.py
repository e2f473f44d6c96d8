"""Datasets of the learning group: checkpoints, predictions, and how far features moved away from training rows."""

from dataclasses import replace

import polars as pl

from quant_assets.grains import MONTHLY
from quant_assets.schemas.columns import HORIZON, LEARNED, as_of, day, ratio, ticker
from quant_assets.schemas.dataset import Column, Dataset, Reference

#: What a training leaves, by whichever asset.
CHECKPOINTS = Dataset(
    "lightgbm_checkpoint",
    "One row per model, horizon and training, or update of one: the model's files, hash, data span and "
    "metrics over the test folds; of an update, those of the model before it over the rows known since",
    ("as_of", "model", "horizon"),
    "as_of",
    "as_of",
    {
        "as_of": as_of(),
        "model": Column(pl.String, "name of the model in the settings"),
        "kind": Column(pl.String, "library and method behind the model, such as lightgbm or linear"),
        "horizon": HORIZON,
        "status": Column(
            pl.String,
            "whether a model was trained, or the one of the month before updated (models.<name>.update)",
            isin=("trained", "updated", "too_little_history"),
        ),
        "model_version": Column(
            pl.String, "first 12 characters of the model's SHA-256; null without a model", nullable=True
        ),
        "model_file": Column(
            pl.String,
            "the model's file, or SHA256SUMS, which lists several, relative to the profile's storage",
            nullable=True,
        ),
        "model_sha256": Column(pl.String, "SHA-256 of model_file", nullable=True),
        "manifest_file": Column(
            pl.String, "JSON manifest: features, settings, data span, folds, importances", nullable=True
        ),
        "manifest_sha256": Column(
            pl.String, "hash of `manifest_file`, by which a changed file is found out", nullable=True
        ),
        "rows": Column(pl.Int64, "training rows known at as_of", "rows", ge=0),
        "first_date": Column(pl.Date, "first session among the training rows", nullable=True),
        "last_known_at": Column(pl.Date, "latest known_at among the training rows", nullable=True),
        "rmse": ratio("root mean squared error over the test folds", ge=0),
        "mae": ratio("mean absolute error over the test folds", ge=0),
        "r2": ratio("R squared over the test folds", le=1),
        "direction_accuracy": ratio("share of test rows whose sign was right", ge=0, le=1),
        "ic": ratio("mean over test dates of the cross-sectional Pearson correlation", ge=-1, le=1),
        "rank_ic": ratio("mean over test dates of the cross-sectional Spearman correlation", ge=-1, le=1),
    },
    across="sector",
    anchored=LEARNED,
)

#: What the trainings of the stock Transformer leave; a profile has it where one of its models is of that kind.
TRANSFORMER_CHECKPOINTS = replace(
    CHECKPOINTS,
    name="transformer_checkpoint",
    meaning="The same of the stock Transformer, fine-tuned on the sector's returns: model, horizon and training",
    reproducibility="trained",
)

#: The encoders that they begin from.
TRANSFORMER_PRETRAINED = Dataset(
    "transformer_pretrained",
    "Encoders of the stock Transformer, pre-trained on the whole market's windows of bars; none of them forecasts",
    ("as_of", "model"),
    "as_of",
    "as_of",
    {
        "as_of": as_of(),
        "model": Column(pl.String, "name of the model in the settings"),
        "status": Column(pl.String, "whether an encoder was trained", isin=("trained", "too_little_history")),
        "stage": Column(pl.String, "what has been trained: encoder, whose head forecasts nothing", isin=("encoder",)),
        "model_version": Column(
            pl.String, "first 12 characters of the file's SHA-256; null without an encoder", nullable=True
        ),
        "model_file": Column(pl.String, "state dict, relative to the profile's storage", nullable=True),
        "model_sha256": Column(pl.String, "SHA-256 of model_file", nullable=True),
        "manifest_file": Column(
            pl.String, "JSON manifest: stage, span, normalisation, architecture, hash", nullable=True
        ),
        "manifest_sha256": Column(
            pl.String, "hash of `manifest_file`, by which a changed file is found out", nullable=True
        ),
        "windows": Column(pl.Int64, "windows it was trained on", "windows", ge=0),
        "tickers": Column(pl.Int64, "names among them", "tickers", ge=0),
        "sectors": Column(pl.Int64, "sectors among them: those whose prices are stored", "sectors", ge=0),
        "first_date": Column(pl.Date, "first session of a window's end", nullable=True),
        "last_date": Column(pl.Date, "last session of a window's end, those to stop by included", nullable=True),
        "epochs": Column(pl.Int32, "passes over the windows", nullable=True, ge=1),
        "validation_loss": ratio("loss of the tasks together on later windows, of the best epoch"),
    },
    grain=MONTHLY,
    across="market",
    anchored=LEARNED,
    reproducibility="trained",
)

#: The datasets that trainings fill, in the order of the flow from the market to sectors.
TRAINED = (TRANSFORMER_PRETRAINED, CHECKPOINTS, TRANSFORMER_CHECKPOINTS)

LEARNING = (
    CHECKPOINTS,
    Dataset(
        "predictions",
        "Forward returns forecast by member, session, horizon and model, by its newest checkpoint of an earlier month, "
        "and by the ensemble of them where there are several",
        ("ticker", "date", "horizon", "model"),
        "date",
        "date",
        {
            "ticker": ticker(),
            "date": day(),
            "horizon": HORIZON,
            "prediction": ratio("forecast forward return", nullable=False),
            "prediction_std": ratio(
                "standard deviation of the forecast: the model's own where its kind states one, else that of the "
                "out-of-fold residuals of similar predictions",
                nullable=False,
                gt=0,
            ),
            "prediction_lower": ratio(
                "lower end of the interval that predictions.interval_coverage of the out-of-fold outcomes lie in "
                "(conformal width; the checkpoint's measured_coverage says how often it held later); null where the "
                "test folds were too few for it, and of the ensemble"
            ),
            "prediction_upper": ratio("upper end of the interval whose lower end is `prediction_lower`"),
            "prob_up": ratio(
                "probability of a positive forward return: of a normal forecast distribution or the model's own, "
                "calibrated on the test folds of its training",
                nullable=False,
                ge=0.01,
                le=0.99,
            ),
            "confidence": ratio("distance of prob_up from a coin flip: |2 prob_up - 1|", nullable=False, ge=0, le=1),
            "model": Column(pl.String, "name of the model in the settings, or ensemble"),
            "model_version": Column(
                pl.String,
                "first 12 characters of the model's SHA-256; the ensemble's, of its models' versions and weights",
            ),
            "dissimilarity": ratio(
                "distance of the row's features to the nearest of a sample of the checkpoint's training rows, in units "
                "of their mean distance from each other; null where less than half of the features are there or the "
                "model was not trained here; of the ensemble the greatest of its models'",
                ge=0,
            ),
            "expires": Column(
                pl.Date,
                "last day of the last month in which the checkpoint is used in time (applicability."
                "expires_after_months); of the ensemble the first of its models'",
                nullable=True,
            ),
            "in_range": Column(
                pl.Boolean,
                "dissimilarity is at most applicability.max_dissimilarity and date no later than expires; null where "
                "the former cannot be told and the latter holds; of the ensemble, that it is so for each of its models",
                nullable=True,
            ),
        },
        across="sector",
        anchored=LEARNED,
        references=(Reference(("ticker", "date"), "features", ("ticker", "date")),),
    ),
    Dataset(
        "feature_drift",
        "How far a month's features have moved from the training rows of the checkpoints that forecast it",
        ("as_of", "model", "feature"),
        "as_of",
        "as_of",
        {
            "as_of": as_of(),
            "model": Column(pl.String, "name of the model in the settings"),
            "feature": Column(pl.String, "model input, as `quant features` lists it"),
            "checkpoint": Column(pl.Date, "as_of of the checkpoint that forecast the month"),
            "psi": ratio(
                "population stability index of the rows of the month up to as_of, all members together, against the "
                "training rows, by quantile bins of these and one of missing values: below .1 hardly moved, above .25 "
                "moved, as scorecards read it",
                nullable=False,
                ge=0,
            ),
            "usual_psi": ratio(
                "the greatest index that a month of the training rows has against all of them; in most months a slow "
                "feature of few names is above .25",
                nullable=False,
                ge=0,
            ),
        },
        across="sector",
        anchored=LEARNED,
    ),
)

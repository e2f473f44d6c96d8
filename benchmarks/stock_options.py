"""Options of the NASDAQ benchmark. No torch here: a wrong argument is reported at once."""

from dataclasses import dataclass

#: Models, in the order of their cost.
MODELS = ("linear", "lightgbm", "rank_lstm", "transformer", "transformer_pretrained")

#: Models without random draws: one seed suffices.
WITHOUT_DRAWS = frozenset({"linear"})


@dataclass(frozen=True)
class Options:
    """Settings of the networks' fits.

    Attributes:
        hidden_size: width of the Transformer.
        alpha: weight of the ranking loss.
        names: names drawn from each date in each epoch.
        validation_names: names of each date, drawn once.
        epochs: at most.
        pretraining_epochs: at most.
        patience: epochs without improvement.
        dates_in_step: dates of one step of the optimiser.
        learning_rate: highest.
        mask_weight: weight of the masked moving average relative to the stock codes' 1; 0 drops the task, as in the
            published checkpoint. The file has no sectors to classify.
        threads: of torch and LightGBM.

    """

    hidden_size: int = 128
    alpha: float = 5.0
    names: int = 64
    validation_names: int = 64
    epochs: int = 3
    pretraining_epochs: int = 5
    patience: int = 1
    dates_in_step: int = 4
    learning_rate: float = 1e-3
    mask_weight: float = 0.0
    threads: int = 1

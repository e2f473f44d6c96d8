"""The Lightning module of deep models: losses by unit, AdamW with warm-up and cosine, validation over all processes.

A kind subclasses `DeepModule` and implements `losses`.
"""

import math
from abc import abstractmethod
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from quant_assets.learning.deep.settings import DeepParameters
from quant_assets.learning.deep.units import Share


class DeepModule(LightningModule):
    """A network with its losses.

    Attributes:
        resumed: state of optimiser and schedule to resume from; set before a fit.
        training_loss: mean of the last epoch, over all processes.
        validation_loss: mean of the last validation, over all processes.
        draws: random generator of the epoch, the same in every process; set at its start.

    """

    def __init__(self) -> None:
        super().__init__()
        self.resumed: dict[str, Any] | None = None
        self.training_loss = self.validation_loss = math.nan
        self.parameters_of_training = DeepParameters()
        self.steps = 1
        self.draws = torch.Generator()
        self._share: Share | None = None
        self._totals = torch.zeros(2, dtype=torch.float64)

    @abstractmethod
    def losses(self, batch: Any) -> Tensor:
        """Losses of the units of a batch, shape (n_units,), independent of each other.

        Use `drawn` for random draws; those from torch's default generator, such as dropout's, depend on the number of
        processes.
        """

    def drawn(self, *shape: int) -> Tensor:
        """Uniform draws for each unit of the current batch, shape (n_units, *shape).

        They do not depend on the number of processes: each process draws for all units of the step and takes its own.
        """
        if self._share is None:
            raise RuntimeError("draws by unit exist only inside a step of a fit")
        draws = torch.rand((self._share.all, *shape), generator=self.draws, device=self.draws.device)
        return draws[self._share.places]

    def training_step(self, share: Share, index: int) -> Tensor:
        """The share's part of the mean loss, times the number of processes (gradients are averaged)."""
        losses = self._of(share)
        total = losses.sum() * (1.0 if share.mine else 0.0)
        self._add(total, share.mine)
        return total * (self.trainer.world_size / share.all)

    def validation_step(self, share: Share, index: int) -> None:
        """Add to the validation loss."""
        losses = self._of(share)  # even if none counts, so that all processes draw equally often
        if share.mine:
            self._add(losses.sum(), share.mine)

    def on_train_epoch_start(self) -> None:
        """Reset the epoch's mean."""
        self._totals = torch.zeros(2, dtype=torch.float64, device=self.device)

    def on_validation_epoch_start(self) -> None:
        """Store the epoch's training mean and start that of the validation."""
        self.training_loss = self._mean()

    def on_validation_epoch_end(self) -> None:
        """Store the validation mean."""
        self.validation_loss = self._mean()

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule by step, with their state if the training is resumed."""
        settings = self.parameters_of_training
        optimizer = torch.optim.AdamW(self.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        warm_up_steps = max(1, round(settings.warm_up * self.steps))

        def rate(step: int) -> float:
            if step < warm_up_steps:
                return (step + 1) / warm_up_steps
            done = (step - warm_up_steps) / max(1, self.steps - warm_up_steps)
            return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        if self.resumed is not None:
            optimizer.load_state_dict(self.resumed["optimiser"])
            schedule.load_state_dict(self.resumed["schedule"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _of(self, share: Share) -> Tensor:
        """The losses of a share's units."""
        self._share = share
        try:
            return self.losses(share.batch)
        finally:
            self._share = None

    def _add(self, total: Tensor, units: int) -> None:
        # On the loss's device: a copy to the host would synchronise at each step.
        self._totals[0] += total.detach()
        self._totals[1] += units

    def _mean(self) -> float:
        """Mean over the units of all processes since the last call."""
        totals = self._totals.clone()
        if torch.distributed.is_initialized() and self.trainer.world_size > 1:
            torch.distributed.all_reduce(totals)
        self._totals.zero_()
        total, units = totals.tolist()
        return total / units if units else math.nan

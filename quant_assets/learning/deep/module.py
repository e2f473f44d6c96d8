"""What every deep model is to Lightning: losses by unit, AdamW with warm-up and cosine, validation over all processes.

A kind subclasses `DeepModule` and says `losses`.
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
        resumed: state of optimiser and schedule to go on with; set before a fit.
        training_loss: mean of the last epoch, over all processes.
        validation_loss: likewise.
        draws: of the epoch, the same in every process; set as it begins.

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
        """One loss for each unit of a batch, shape (n_units,), that depends on no other unit.

        Random draws are those of `drawn`, or from torch's default generator, as dropout's are: these differ with the
        number of processes.
        """

    def drawn(self, *shape: int) -> Tensor:
        """Uniform draws for each unit of the batch whose losses are asked for, shape (n_units, *shape).

        A unit's are the same however many processes train: each draws for all units of the step and takes its own.
        """
        if self._share is None:
            raise RuntimeError("draws by unit are those of a step; losses that need them are asked for in a fit alone")
        draws = torch.rand((self._share.all, *shape), generator=self.draws, device=self.draws.device)
        return draws[self._share.places]

    def training_step(self, share: Share, index: int) -> Tensor:
        """The share's part of the step's mean loss, times the processes, over which gradients are averaged."""
        losses = self._of(share)
        total = losses.sum() * (1.0 if share.mine else 0.0)
        self._add(total, share.mine)
        return total * (self.trainer.world_size / share.all)

    def validation_step(self, share: Share, index: int) -> None:
        """Add to the validation loss."""
        losses = self._of(share)  # also where none counts, so that all processes draw as often
        if share.mine:
            self._add(losses.sum(), share.mine)

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's mean."""
        self._totals = torch.zeros(2, dtype=torch.float64, device=self.device)

    def on_validation_epoch_start(self) -> None:
        """Close the epoch's training mean and begin that of the validation."""
        self.training_loss = self._mean()

    def on_validation_epoch_end(self) -> None:
        """Close the validation mean."""
        self.validation_loss = self._mean()

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule by step, as they were where the training is resumed."""
        told = self.parameters_of_training
        optimizer = torch.optim.AdamW(self.parameters(), lr=told.learning_rate, weight_decay=told.weight_decay)
        rising = max(1, round(told.warm_up * self.steps))

        def rate(step: int) -> float:
            if step < rising:
                return (step + 1) / rising
            done = (step - rising) / max(1, self.steps - rising)
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
        # Where the loss is: a copy to the host would wait for the device at each step.
        self._totals[0] += total.detach()
        self._totals[1] += units

    def _mean(self) -> float:
        """Mean over the units of all processes since the last one."""
        totals = self._totals.clone()
        if torch.distributed.is_initialized() and self.trainer.world_size > 1:
            torch.distributed.all_reduce(totals)
        self._totals.zero_()
        total, units = totals.tolist()
        return total / units if units else math.nan

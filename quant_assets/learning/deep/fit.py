"""A fit by Lightning that can be killed at any moment: run again, it ends with the same weights.

All random numbers depend on seed, epoch and rank, and a state holds everything on which the next epoch depends:
weights, optimiser, schedule, losses so far. So an epoch that is repeated after a kill has the same result on the same
machine, on the CPU bit by bit.
"""

import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from quant_assets.errors import DatasetError
from quant_assets.learning.deep.module import DeepModule
from quant_assets.learning.deep.settings import DeepParameters
from quant_assets.learning.deep.states import States
from quant_assets.learning.deep.training_context import Tell, current_training
from quant_assets.learning.deep.units import Shares, Units, order

M = TypeVar("M", bound=DeepModule)


@dataclass(frozen=True)
class Epoch:
    """Mean losses of an epoch over the units."""

    training: float
    validation: float


@dataclass(frozen=True)
class Fitted(Generic[M]):
    """A fitted network.

    Attributes:
        module: the network with the weights of the best epoch, on the CPU.
        history: losses of all epochs.
        best: number of the best epoch, from 0.

    """

    module: M
    history: tuple[Epoch, ...]
    best: int


def fit(
    build: Callable[[], M],
    training: Units,
    validation: Units,
    parameters: DeepParameters,
    seed: int,
    folder: Path,
    said: str = "training",
) -> Fitted[M]:
    """Fit a network until its validation loss no longer improves; resume an earlier call that was killed.

    Args:
        build: returns the network, with weights drawn from torch's default generator.
        training: training units.
        validation: units for early stopping.
        parameters: parameters of the training.
        seed: seed of every random draw.
        folder: folder of the states of this training only.
        said: name of the training, for progress messages.

    Raises:
        DatasetError: there are no units, or the loss is not finite.
        CheckpointError: a state could not be saved, or two do not fit into the budget (checked before the fit).

    """
    if not len(training) or not len(validation):
        raise DatasetError(
            f"{said}: no {'training' if not len(training) else 'validation'} units; train on more sessions"
        )
    tell = current_training().tell
    rank, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    states = States(folder, parameters.checkpoint_mib, tell if rank == 0 else lambda _: None)
    with _settled(parameters, seed):
        module = build()
        module.parameters_of_training = parameters
        states.refuse_beyond_budget(_size(module))
        resumed = states.newest()
        progress = _Progress(states, parameters, seed, rank, tell, said, resumed)
        if resumed is not None:
            module.load_state_dict(resumed["weights"])
            module.resumed = resumed
            progress.line(f"{said}: resumes after epoch {resumed['epoch'] + 1}")
        if not progress.done:
            epochs = parameters.max_epochs - len(progress.history)

            def in_order() -> Any:
                return order(len(training), seed, progress.epoch)

            train_steps = Shares(training, parameters.batch_units, rank, processes, in_order)
            validation_steps = Shares(validation, parameters.batch_units, rank, processes)
            module.steps = parameters.max_epochs * len(train_steps)
            trainer = _trainer(parameters, processes, epochs, folder, progress)
            progress.line(f"{said}: {len(training)} units, on {_device(trainer)}, {trainer.precision}")
            # Own generators for the seeds of the loaders: torch's generator would advance with every epoch.
            train_loader, validation_loader = (
                DataLoader(steps, batch_size=None, generator=torch.Generator())
                for steps in (train_steps, validation_steps)
            )
            trainer.fit(module, train_loader, validation_loader)
        if processes > 1 and torch.distributed.is_initialized():
            torch.distributed.barrier()
        best = states.newest()
    if best is None:
        raise DatasetError(f"{said}: the state of the best epoch is missing in {folder}; train again")
    module = module.cpu()
    module.resumed = None
    module.load_state_dict(best["weights"])
    module.eval()
    history = progress.history if progress.history else progress.of(best)
    return Fitted(module, tuple(history), int(best["epoch"]))


class _Progress(Callback):
    """Actions between epochs: seeds, saved states, early stopping, progress messages."""

    def __init__(
        self,
        states: States,
        parameters: DeepParameters,
        seed: int,
        rank: int,
        tell: Tell,
        said: str,
        state: dict[str, Any] | None,
    ) -> None:
        self._states, self._parameters, self._seed, self._rank = states, parameters, seed, rank
        self._tell, self._said = tell, said
        self.history = self.of(state) if state else list[Epoch]()

    @staticmethod
    def of(state: dict[str, Any]) -> list[Epoch]:
        """The history in a state."""
        return [Epoch(*losses) for losses in state["history"]]

    @property
    def epoch(self) -> int:
        """Number of the current or next epoch."""
        return len(self.history)

    @property
    def best(self) -> int:
        """The last epoch that improved."""
        best = 0
        for number, epoch in enumerate(self.history):
            if epoch.validation < self.history[best].validation - self._parameters.min_improvement:
                best = number
        return best

    @property
    def done(self) -> bool:
        """Whether the training has ended."""
        waited = bool(self.history) and len(self.history) - 1 - self.best >= self._parameters.patience
        return waited or len(self.history) >= self._parameters.max_epochs

    def line(self, text: str) -> None:
        """Send a message, in the first process only."""
        if self._rank == 0:
            self._tell(text)

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Seed the epoch by its number; draws by unit (`DeepModule.drawn`) do not depend on the rank."""
        torch.manual_seed(_mixed(self._seed, self.epoch, self._rank))
        _module(module).draws = _generator(_mixed(self._seed, self.epoch, 0), module.device)

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Use the same draws in every epoch, so that validation losses differ only by the weights."""
        _module(module).draws = _generator(_mixed(self._seed, -1, 0), module.device)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """After the validation: save the state if it improved, and stop early if it no longer does."""
        fitted = _module(module)
        now = Epoch(fitted.training_loss, fitted.validation_loss)
        if not (math.isfinite(now.training) and math.isfinite(now.validation)):
            raise DatasetError(
                f"{self._said}: the loss of epoch {self.epoch + 1} is not finite ({now.training}, {now.validation}): "
                "lower learning_rate, or look for unbounded values in the inputs"
            )
        self.history.append(now)
        number = len(self.history) - 1
        if self.best == number and self._rank == 0:
            state = {
                "epoch": number,
                "weights": module.state_dict(),
                "optimiser": trainer.optimizers[0].state_dict(),
                "schedule": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
                "history": [[epoch.training, epoch.validation] for epoch in self.history],
            }
            self._states.save(state, number, now.validation)
        better = ", better" if self.best == number else ""
        self.line(f"{self._said}: epoch {number + 1}, loss {now.training:.6f}, validation {now.validation:.6f}{better}")
        trainer.should_stop = self.done


def _module(module: LightningModule) -> DeepModule:
    if not isinstance(module, DeepModule):
        raise TypeError(f"{type(module).__name__} is not a DeepModule")
    return module


def _generator(seed: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def _size(module: DeepModule) -> int:
    """Bytes of a state's tensors: the weights, and AdamW's two moments of each trained weight."""
    weights: int = sum(tensor.nbytes for tensor in module.state_dict().values())
    trained: int = sum(tensor.nbytes for tensor in module.parameters() if tensor.requires_grad)
    return weights + 2 * trained


def _mixed(seed: int, epoch: int, rank: int) -> int:
    """A 63-bit seed for an epoch and a process."""
    return ((seed * 1_000_003 + epoch) * 1_009 + rank) & 0x7FFF_FFFF_FFFF_FFFF


def _trainer(parameters: DeepParameters, processes: int, epochs: int, folder: Path, progress: _Progress) -> Trainer:
    on_device = torch.cuda.is_available()
    strategy: Any = "auto"
    if processes > 1:
        from lightning.pytorch.strategies import DDPStrategy

        strategy = DDPStrategy(process_group_backend="nccl" if on_device else "gloo")
    half = parameters.precision == "bf16" or (
        parameters.precision == "auto" and on_device and torch.cuda.is_bf16_supported()
    )
    return Trainer(
        accelerator="cuda" if on_device else "cpu",
        devices=processes,
        strategy=strategy,
        precision="bf16-mixed" if half else "32-true",
        max_epochs=epochs,
        gradient_clip_val=parameters.clip or None,
        callbacks=[progress],
        default_root_dir=folder,
        # Only Lightning's fit, without its extras.
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=0,
    )


def _device(trainer: Trainer) -> str:
    if trainer.accelerator.__class__.__name__ == "CPUAccelerator":
        return f"the CPU ({trainer.world_size} process{'es' if trainer.world_size > 1 else ''})"
    return f"{trainer.world_size} device{'s' if trainer.world_size > 1 else ''}"


@contextmanager
def _settled(parameters: DeepParameters, seed: int) -> Iterator[None]:
    """Set torch's seed, threads and deterministic algorithms on the CPU for a training, and restore them afterwards."""
    threads, repeats = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    logs = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in logs]
    with torch.random.fork_rng(), warnings.catch_warnings():
        # Advice on loader workers and on the missing logger.
        warnings.filterwarnings("ignore", module="lightning.*")
        warnings.filterwarnings("ignore", module="torch.distributed.*")
        torch.manual_seed(seed)
        torch.set_num_threads(parameters.num_threads)
        if not torch.cuda.is_available():
            torch.use_deterministic_algorithms(True)
        for logger in logs:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(repeats)
            torch.set_num_threads(threads)
            for logger, level in zip(logs, levels, strict=True):
                logger.setLevel(level)

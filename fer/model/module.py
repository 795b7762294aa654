"""The LightningModule: network, losses and curves, optimizer and schedule, and the rule of when the backbone is frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fer.config import LossConfig, ModelConfig, OptimizerConfig, SchedulerConfig
from fer.data.faces import N_LANDMARKS
from fer.errors import FerError
from fer.labels import MISSING_TARGET
from fer.model.across import n_processes, summed
from fer.model.backbone import Backbone
from fer.model.checkpoints import CARD
from fer.model.epoch_scores import EpochScores
from fer.model.features import frozen_features
from fer.model.landmark_maps import LANDMARKS, LandmarkMaps, heat_loss
from fer.model.losses import HeadLosses, TaskBalance, landmark_loss
from fer.model.network import IMAGENET_MEAN, IMAGENET_STD, Logits, TwoHeadNetwork
from fer.model.optimizers import PARTS, make_optimizer, make_schedule, parameter_groups

BACKBONE = "network.backbone."
"""How the names of the backbone's tensors begin in a `state_dict`."""

HEAT = 0.05
"""Weight of the landmarks' heat beside the distance of their places."""

BEGUN = "scores_begun"
"""Where a checkpoint keeps what was seen of an epoch in which the run was stopped."""


def without_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is left of a `state_dict`."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(BACKBONE)}


class TrainingStep(NamedTuple):
    """What one step computes."""

    logits: Logits
    losses: dict[str, Tensor]
    """Of each task."""
    labels: Mapping[str, Tensor]
    """`au` and `emotion` to score the logits by: of blended pictures, those of the one that shows most."""
    total: Tensor
    """The weighted sum of the losses, to minimise."""


class FaceModule(lightning.LightningModule):
    """A `TwoHeadNetwork` in training.

    Every argument but the last is of plain dictionaries, lists and numbers: a checkpoint holds them and is loaded without unpickling
    objects.

    Args:
        labels: `aus`, the units of the AU head, and `emotions`, the classes of the emotion head, in tensor order; either may be empty.
        preprocessing: `image_size`, `crop`, `color`, `reference`, `pixels_version`, and `mean` and `std` of the weights.
        model, loss, optimizer, scheduler: the settings of these groups (`fer.config`).
        class_weights: `au` [A][2] for absent and present, `emotion` [E]; or `au_shift` [A], `emotion_shift` [E]; empty for none.
        max_epochs: length of the schedule.
        seed: with the step, fixes dropout and mixing.
        mixup: alpha of `_mixed`, 0 for none.
        au_given_emotion: [E][A], for `loss.consistency_weight`.
        backbone: to use instead of a new one; not kept in checkpoints, which hold its weights or name them.
    """

    def __init__(
        self,
        labels: dict[str, Any],
        preprocessing: dict[str, Any],
        model: dict[str, Any],
        loss: dict[str, Any],
        optimizer: dict[str, Any],
        scheduler: dict[str, Any],
        class_weights: dict[str, Any],
        max_epochs: int,
        seed: int,
        mixup: float = 0.0,
        au_given_emotion: list[list[float]] | None = None,
        backbone: Backbone | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False, ignore=["backbone"])
        self.aus, self.emotions = list(labels["aus"]), list(labels["emotions"])
        self.model, self.loss = ModelConfig(**model), LossConfig(**loss)
        self.optimizer, self.scheduler = OptimizerConfig(**optimizer), SchedulerConfig(**scheduler)
        self.max_epochs, self.seed, self.mixup = max_epochs, seed, mixup
        self.network = TwoHeadNetwork(
            backbone or self.model.backbone,
            preprocessing["image_size"],
            self.model.dense,
            self.model.dropout,
            n_aus=len(self.aus),
            n_emotions=len(self.emotions),
            mean=tuple(preprocessing.get("mean", IMAGENET_MEAN)),
            std=tuple(preprocessing.get("std", IMAGENET_STD)),
            flip_average=self.model.flip_average,
            reference=preprocessing.get("reference", False),
            levels=self.model.levels,
            grid=self.model.grid,
            landmarks=self.model.landmarks,
        ).to(memory_format=torch.channels_last)
        heads = {"au": self.aus, "emotion": self.emotions}
        self.balance = TaskBalance(self.loss, absent=[head for head, labels in heads.items() if not labels])
        if self.loss.landmark_weight:
            self._landmark_maps.taught = True
        self.losses = HeadLosses(self.loss, class_weights, au_given_emotion)
        self.card: dict[str, Any] = {}
        self.scores: dict[str, Tensor] = {}
        self.rates: dict[str, Tensor] = {}
        self.frozen = False
        self.epoch_scores = EpochScores(self.aus, emotions=bool(self.emotions), total=self._total)

    def forward(self, images: Tensor) -> Logits:
        """[N, 3, H, W] in [0, 1] to logits; [N, 6, H, W] with a neutral picture each."""
        logits: Logits = self.network(images.contiguous(memory_format=torch.channels_last))
        return logits

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the card: what a user of the model needs beside the weights (`checkpoints.CARD`).

        Leaves out a frozen backbone: `fer.steps.best.judge_best` puts it into the best checkpoint, once.
        """
        checkpoint[CARD] = self.card
        checkpoint[BEGUN] = self.epoch_scores.begun("train")  # of a run that is stopped within an epoch
        if self.model.finetune == "frozen":
            checkpoint["state_dict"] = without_backbone(checkpoint["state_dict"])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Fills in what `on_save_checkpoint` left out, and goes on with the scores of an epoch that was begun."""
        checkpoint["state_dict"] = {**self.backbone_state(), **checkpoint["state_dict"]}
        begun = checkpoint.get(BEGUN, {}) if self.global_rank == 0 else {}  # the first process has what all had seen
        self.epoch_scores.go_on("train", begun)

    def backbone_state(self) -> dict[str, Tensor]:
        """The part of the `state_dict` that is the backbone's."""
        return self.network.backbone.state_dict(prefix=BACKBONE)

    # --- losses and curves

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        logits, losses, labels, total = self.learn_from(batch)
        self._keep_batch("train", losses, logits, labels)
        return total

    def learn_from(self, batch: dict[str, Tensor]) -> TrainingStep:
        """What a training step computes."""
        logits, losses, labels = self._mixed(batch) if self.mixup else (*self._plain(batch), batch)
        return TrainingStep(logits, losses, labels, self.balance(*self._of_whole_batch(losses, batch)))

    def _of_whole_batch(
        self, losses: dict[str, Tensor], batch: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """The losses, so scaled that their mean over the processes is that over the labelled cells of the whole batch, and who has any.

        For DDP takes the mean of the gradients, whoever has how many labelled cells.
        """
        if n_processes() == 1 and self.loss.balance == "fixed":
            return losses, None
        # what is missing is -1 among labels and nan among landmarks; answers agree or not on every picture
        cells = [batch["index" if head == "consistency" else head] for head in losses]
        n = torch.stack([((cell != MISSING_TARGET) & ~cell.isnan()).sum() for cell in cells]).float()
        if n_processes() == 1:
            return losses, n > 0
        values = torch.stack([loss.detach() for loss in losses.values()])
        n_all, sums = summed(torch.stack((n, n * values)))
        self._refuse_nan(sums)  # found by all at once: none waits for another that has given up
        shares = n_processes() * n / n_all.clamp(min=1)
        return {head: share * loss for (head, loss), share in zip(losses.items(), shares, strict=True)}, n_all > 0

    def _plain(self, batch: dict[str, Tensor]) -> tuple[Logits, dict[str, Tensor]]:
        features, logits = self._answered(batch)
        losses = self.losses(logits, batch)
        if self.training and self.loss.landmark_weight and not self.frozen:
            places, heat = features[:, -2 * N_LANDMARKS :].view(-1, N_LANDMARKS, 2), self._landmark_maps.heat
            assert heat is not None
            losses["landmarks"] = landmark_loss(places, batch["landmarks"]) + HEAT * heat_loss(heat, batch["landmarks"])
        return logits, losses

    @property
    def _landmark_maps(self) -> LandmarkMaps:
        found = self.network.backbone.get_submodule(LANDMARKS)
        assert isinstance(found, LandmarkMaps)  # config.check
        return found

    def _answered(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Logits]:
        """Features and logits: of features that are there; else of pictures, by a frozen backbone just as those would have been made."""
        network = self.network
        if "features" in batch:
            features, mirrored = batch["features"], batch.get("mirrored")
        elif self.model.finetune == "frozen":
            features = frozen_features(network, batch["image"])
            mirrored = frozen_features(network, batch["image"].flip(-1)) if network.averages else None
        else:
            return network.with_features(batch["image"].contiguous(memory_format=torch.channels_last))
        return features, network.answer(features, mirrored)

    def _mixed(self, batch: dict[str, Tensor]) -> tuple[Logits, dict[str, Tensor], dict[str, Tensor]]:
        """Each picture blended with another one of the batch: logits, the losses with the labels of both, the labels of what shows most.

        Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018.
        """
        images = batch["image"]
        share = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
        partner = torch.randperm(len(images), device=images.device)
        logits = self._answered({"image": share * images + (1 - share) * images[partner]})[1]
        blended = {**batch, **{head: batch[head][partner] for head in ("au", "emotion")}}
        own, other = self.losses(logits, batch), self.losses(logits, blended)
        losses = {head: share * own[head] + (1 - share) * other[head] for head in own}
        return logits, losses, batch if share >= 0.5 else blended

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        logits, losses = self._plain(batch)
        self._keep_batch("val", losses, logits, batch)

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Of a batch, on the CPU: `index` [N], `features` [N, F] in half precision, and the logits `au` [N, A] and `emotion` [N, E]."""
        features, logits = self._answered(batch)
        found = {name: head.float().cpu() for name, head in logits._asdict().items() if head is not None}
        return {"index": batch["index"].cpu(), "features": features.half().cpu(), **found}

    def _keep_batch(self, stage: str, losses: dict[str, Tensor], logits: Logits, labels: Mapping[str, Tensor]) -> None:
        self._refuse_nan(torch.stack([loss.detach() for loss in losses.values()]))
        self.epoch_scores.add(stage, losses, logits, labels)

    def _refuse_nan(self, losses: Tensor) -> None:
        if not torch.isfinite(losses).all():
            raise FerError(
                f"the loss is not a number in epoch {self.current_epoch}: try a smaller optimizer.lr, or trainer.precision=32"
            )

    def on_validation_start(self) -> None:
        # the epoch's last training step is behind us; on_train_epoch_end would be after the callbacks that read the scores
        self.scores = self.epoch_scores.taken("train")
        self.scores |= self.rates

    def on_validation_epoch_end(self) -> None:
        self.scores |= self.epoch_scores.taken("val")
        parts = [self.scores[name] for name in ("val/au_ap", "val/emotion_f1") if name in self.scores]
        if parts:
            self.scores["val/score"] = torch.stack(parts).mean()
        # not by `self.log`, whose bookkeeping of forty values took longer than an epoch of training on features
        self.trainer.callback_metrics.update(self.scores)
        shown = {name: float(value) for name, value in self.scores.items()}
        for logger in self.loggers:
            logger.log_metrics({**shown, "epoch": self.current_epoch}, self.global_step)

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        # with learned task weights the sum of training falls as they move; the plain sum is comparable between epochs
        return self.balance(losses) if self.loss.balance == "fixed" else torch.stack(list(losses.values())).sum()

    # --- what is trained, and how fast

    def train(self, mode: bool = True) -> FaceModule:
        """As ever, but a frozen backbone stays in eval mode: its BatchNorm statistics must not drift."""
        super().train(mode)
        if self.frozen:
            self.network.backbone.eval()
        return self

    def freeze_for(self, epoch: int) -> None:
        """Sets the backbone free, or not, as `model.finetune` has it in this epoch, and the modes of all parts for training."""
        self.frozen = self.model.finetune == "frozen" or (
            self.model.finetune == "gradual" and epoch < self.model.freeze_epochs
        )
        self.network.backbone.requires_grad_(not self.frozen)
        self.train()

    def _note_rates(self) -> None:
        groups = self.trainer.optimizers[0].param_groups
        self.rates = {f"lr/{group['name']}": torch.tensor(group["lr"]) for group in groups if group["name"] in PARTS}

    def setup(self, stage: str) -> None:
        # before DDP looks which parameters there are to wait for
        self.network.backbone.requires_grad_(self.model.finetune != "frozen")

    def on_train_start(self) -> None:
        # a run resumed in the middle of an epoch gets no on_train_epoch_start for it
        self.freeze_for(self.current_epoch)
        self._note_rates()

    def on_train_epoch_start(self) -> None:
        self.freeze_for(self.current_epoch)
        self._note_rates()  # now: when the epoch is logged the schedule has gone on

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Leaves plateau schedules to `on_train_epoch_end`: Lightning steps them after the checkpoint of the epoch is written."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    def on_train_epoch_end(self) -> None:
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(self.trainer.callback_metrics["val/loss"])

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # dropout becomes a function of (seed, step, process), whatever was drawn before; torch takes the last 32 bits
        seed = torch.default_generator.manual_seed if self.device.type == "cpu" else torch.manual_seed
        seed(self.seed * 1_000_003 + self.global_step + self.global_rank * 2_654_435_761)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """By the norm over all parameters, as ever; but Lightning refuses it to fused optimizers, for the sake of fp16's scaler."""
        if gradient_clip_val:
            nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], gradient_clip_val)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.optimizer_of_settings()
        schedule = make_schedule(self.scheduler, optimizer, self.max_epochs)
        if schedule is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "epoch", "monitor": "val/loss"},
        }

    def optimizer_of_settings(self) -> Optimizer:
        """The optimizer without its schedule."""
        groups = parameter_groups(
            self.optimizer, self.named_parameters(), BACKBONE, frozen=self.model.finetune == "frozen"
        )
        return make_optimizer(self.optimizer, list(groups))

"""Dense layer and heads that travel with a backbone: what a network has learned to say, taken over name by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fer.errors import FerError
from fer.labels import BASIC_TO_HIGH_LEVEL
from fer.model.network import TwoHeadNetwork

PARTS = ("standardised.", "dense.", "au_head.", "emotion_head.")
"""How the names of these tensors begin in a network's `state_dict`; the first are there where the features are of several maps or cells."""


@dataclass(frozen=True)
class CarriedHeads:
    """The dense layer and the heads of a trained network.

    Attributes:
        state: their tensors, by the network's names.
        aus, emotions: names of the heads' rows, in order; empty for a head that the network did not have.
        pairs: whether they have learned from differences to a neutral picture.
        maps: `model.levels`, `model.grid` and `model.landmarks` of the features that they see.
    """

    state: dict[str, Tensor]
    aus: tuple[int, ...]
    emotions: tuple[str, ...]
    pairs: bool = False
    maps: tuple[int, int, bool] = (1, 1, False)

    def names(self) -> dict[str, str]:
        """As metadata of a `.safetensors` file."""
        names = {"aus": json.dumps(self.aus), "emotions": json.dumps(self.emotions)}
        names |= {"pairs": "true"} if self.pairs else {}
        return names | {"maps": json.dumps(self.maps)}

    def load_into(self, network: TwoHeadNetwork, aus: Sequence[int], emotions: Sequence[str]) -> list[str]:
        """Copies the dense layer, and the rows of the heads that have a counterpart here; the others stay as they are.

        A high-level emotion starts from the mean of the basic ones that fold into it. A network that compares with a neutral picture may
        start from heads of single pictures; the reverse is refused.

        Returns:
            The names of the rows that were found.

        Raises:
            FerError: the dense layers differ in their shape or see other maps, or these heads compare and this network does not.
        """
        dense = network.dense[1]
        assert isinstance(dense, nn.Linear)
        weight = self.state["dense.1.weight"]
        if self.pairs and not network.reference:
            raise FerError(
                "model.carry_heads=true: the heads in model.weights compare a picture with a neutral one: set data.reference=neutral, "
                "or model.carry_heads=false"
            )
        if self.maps != _maps(network):
            levels, grid, landmarks = self.maps
            raise FerError(
                f"model.carry_heads=true: the heads in model.weights see model.levels={levels} model.grid={grid} "
                f"model.landmarks={str(landmarks).lower()}: set these, or model.carry_heads=false"
            )
        if weight.shape != dense.weight.shape:
            way = f"model.dense={len(weight)}, or " if len(weight) != dense.out_features else ""
            raise FerError(
                f"model.carry_heads=true: the dense layer in model.weights has {len(weight)} units of {weight.shape[1]} features, this one "
                f"{dense.out_features} of {dense.in_features}: set {way}model.carry_heads=false"
            )
        with torch.no_grad():
            dense.weight.copy_(weight)
            dense.bias.copy_(self.state["dense.1.bias"])
        if self.pairs == network.reference:  # differences have other means and deviations than features
            own = network.standardised.state_dict()
            network.standardised.load_state_dict({name: self.state[f"standardised.{name}"] for name in own})
        members = {
            name: [basic for basic, folded in BASIC_TO_HIGH_LEVEL.items() if folded == name] for name in emotions
        }
        found = self._copy("au_head", network.au_head, self.aus, [[au] for au in aus])
        found += self._copy(
            "emotion_head",
            network.emotion_head,
            self.emotions,
            [[name] if name in self.emotions else members[name] for name in emotions],
        )
        return found

    def _copy(
        self,
        head: str,
        to: nn.Linear | None,
        names: tuple[int, ...] | tuple[str, ...],
        wanted: Sequence[Sequence[object]],
    ) -> list[str]:
        if to is None:
            return []
        found = []
        for row, parts in enumerate(wanted):
            rows = [names.index(part) for part in parts if part in names]
            if rows:
                found += [f"AU{part}" if head == "au_head" else str(part) for part in parts if part in names]
                with torch.no_grad():
                    to.weight[row] = self.state[f"{head}.weight"][rows].mean(0)
                    to.bias[row] = self.state[f"{head}.bias"][rows].mean()
        return found


def heads_of(network: TwoHeadNetwork, aus: Sequence[int], emotions: Sequence[str]) -> CarriedHeads:
    """What `model.carry_heads` takes over from this network, whose heads say `aus` and `emotions`."""
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items() if name.startswith(PARTS)}
    return CarriedHeads(state, tuple(aus), tuple(emotions), network.reference, _maps(network))


def _maps(network: TwoHeadNetwork) -> tuple[int, int, bool]:
    return network.levels, network.grid, network.landmarks

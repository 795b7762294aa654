"""The network as it leaves the house: pictures in, calibrated probabilities out, and nothing left for the user to get wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fer.model.network import Logits, TwoHeadNetwork
from fer.use.facts import Facts
from fer.use.runtime_torch import calibrated


class AnsweringNetwork(nn.Module):
    """[N, 3, H, W] in [0, 1] to the probabilities of the heads that there are, AUs first.

    Normalisation, the mean over the mirror image (if the model takes it) and the temperature are inside.
    """

    def __init__(self, network: TwoHeadNetwork, facts: Facts) -> None:
        super().__init__()
        self.network, self.temperature = network, dict(facts.temperature)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(calibrated(self._logits(image), self.temperature).values())

    def _logits(self, image: Tensor) -> Logits:
        """What `TwoHeadNetwork.forward` gives; picture and mirror image in one batch, so that the graph holds the network once."""
        if not self.network.flip_average:
            return self.network.heads(self.network.features(image))
        both = self.network.heads(self.network.features(torch.cat((image, image.flip(-1)))))
        return Logits(*(None if head is None else head.reshape(2, -1, head.shape[1]).mean(0) for head in both))

"""A task of one's own: an autoencoder must still tell broken machines, which it cannot repeat."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

import autocompress

torch.manual_seed(0)
sound = torch.sin(6 * torch.rand(2000, 1) + torch.linspace(0, 9, 64)) + torch.randn(2000, 64) / 5
broken = sound + torch.randn(2000, 64) / 10
model = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 4), nn.Linear(4, 64))


class BrokenFound(autocompress.Task):
    """How often a broken machine is further from what the model repeats than a sound one."""

    metric, direction = "auc", "maximize"

    def evaluate(self, model: nn.Module, split: str) -> float:
        part = slice(1000, 1500) if split == "valid" else slice(1500, 2000)
        low, high = ((model(x[part]) - x[part]).square().sum(1) for x in (sound, broken))
        return (high > low[:, None]).float().mean().item()

    def calibration_batches(self) -> Iterator[Tensor]:
        return iter(sound[:1000].split(50))

    def training_losses(self, model: nn.Module, *how: object) -> Iterator[Tensor]:
        yield from ((model(x) - x).square().mean() for x in self.calibration_batches())


optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
for loss in (loss for _ in range(20) for loss in BrokenFound().training_losses(model)):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
result = autocompress.search(model, BrokenFound(), budget="5x", trials=6, out="runs/own_task")
print(result)

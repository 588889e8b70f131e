"""An objective of one's own: the bytes that are read to classify a text, a few rows of a table."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import autocompress
from autocompress.tasks import Classification

ROWS, WORDS = 4000, 20
torch.manual_seed(0)
texts = torch.randint(ROWS, (20000, WORDS))  # odd words are of one topic, even ones of the other
topics = (2 * (texts % 2).sum(1) > WORDS).long()
batches = list(zip(texts.split(400), topics.split(400), strict=True))
model = nn.Sequential(nn.EmbeddingBag(ROWS, 16), nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for inputs, labels in 9 * batches[:40]:
    optimizer.zero_grad()
    cross_entropy(model(inputs), labels).backward()
    optimizer.step()


def bytes_read(measured: autocompress.Measured) -> float:
    """Return the bytes of all weights, but of the table those of a text's rows alone."""
    weights = measured.artifact.report()
    return sum(w.size_bytes * (WORDS / ROWS if w.name == "0.weight" else 1) for w in weights)


read = autocompress.Objective("bytes_read", "minimize", bytes_read, limit=1500, phase="file")
task = Classification(batches[:40], batches[40:45], batches[45:])
result = autocompress.search(model, task, objectives=[read], trials=6, out="runs/own_objective")
print(result.to_dataframe()[["size_bytes", "accuracy", "bytes_read", "feasible"]])

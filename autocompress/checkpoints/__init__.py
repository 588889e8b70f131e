"""Checkpoints as people have them: files of weights, read without running code, and their names.

reading     which files a path stands for; safetensors, in one file or sharded
pickled     what `torch.save` wrote, under `weights_only=True`
containers  the state dict within what a training run saves
dtypes      one number format into another, without loss where possible
names       prefixes and other names by which the same weights are known
fitting     a checkpoint onto the tensors of a model
loading     all of it at once: `load_checkpoint`
"""

from autocompress.checkpoints.fitting import fitted
from autocompress.checkpoints.loading import load_checkpoint
from autocompress.checkpoints.names import Renaming, renamings
from autocompress.checkpoints.reading import Checkpoint, read_checkpoint

__all__ = ["Checkpoint", "Renaming", "fitted", "load_checkpoint", "read_checkpoint", "renamings"]

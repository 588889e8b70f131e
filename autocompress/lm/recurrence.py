"""Which recurrent layers are so small that threads only disturb them."""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch import nn

from autocompress.support.threads import modules_on_one_thread

# Below this size one step of a layer is shorter than handing it to a second thread.
_SMALL_LAYER = 512


def recurrence_on_one_thread(model: nn.Module) -> AbstractContextManager[None]:
    """Run the small recurrent layers of a model on one thread, all else on as many as before.

    Each step of a recurrence waits for all threads. When another process has one of the cores,
    that wait takes a hundred times as long as the step itself (measured: 2x200 LSTM, 7 ms for
    70 steps on one thread, 800 ms on two threads that compete with another process).
    """
    return modules_on_one_thread(
        module
        for module in model.modules()
        if isinstance(module, nn.RNNBase) and module.hidden_size <= _SMALL_LAYER
    )

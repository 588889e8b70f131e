"""Weights that a module computes from other tensors, such as by weight normalisation.

What is compressed is the weight that the module computes with, and a module that is filled gets
this weight as a parameter of its own: what computed it goes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook
from torch.nn.utils.weight_norm import WeightNorm

from autocompress.errors import ModelError


def is_parametrized(model: nn.Module) -> bool:
    """Whether a model computes some of its weights from other tensors."""
    return any(parametrize.is_parametrized(m) or any(_hooked(m)) for m in model.modules())


def make_plain(model: nn.Module) -> None:
    """Make every weight that a model computes a parameter of its own, of the value that it has.

    Known are `torch.nn.utils.parametrize` with all that builds on it, the hooks of
    `torch.nn.utils.weight_norm` and `spectral_norm`, and the masks of `torch.nn.utils.prune`.

    Args:
        model: In evaluation mode, as its values may depend on it; changed in place.

    Raises:
        ModelError: If a weight cannot be computed.
    """
    for path, module in list(model.named_modules()):
        try:
            if parametrize.is_parametrized(module):
                _set_values(module)
            for name, hook in list(_hooked(module)):
                _remove(module, name, hook)
        except Exception as error:  # whatever a user's parametrization raises
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ModelError(
                f"the weights that '{path or type(model).__name__}' computes from others cannot "
                f"be made its own ({reason}); remove what computes them before compression"
            ) from error


def _hooked(module: nn.Module) -> Iterator[tuple[str, object]]:
    """Yield the names of weights that a hook computes before each call, with the hook."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm | SpectralNorm):
            yield hook.name, hook
        elif isinstance(hook, prune.BasePruningMethod):
            yield hook._tensor_name, hook


def _remove(module: nn.Module, name: str, hook: object) -> None:
    if isinstance(hook, WeightNorm):
        remove_weight_norm(module, name)
    elif isinstance(hook, SpectralNorm):
        remove_spectral_norm(module, name)
        # PyTorch leaves one behind, which asks for what is not there any more.
        for key, left in list(module._load_state_dict_pre_hooks.items()):
            if isinstance(getattr(left, "hook", left), SpectralNormLoadStateDictPreHook):
                del module._load_state_dict_pre_hooks[key]
    else:
        prune.remove(module, name)  # type: ignore[no-untyped-call]


def _set_values(module: nn.Module) -> None:
    # PyTorch's own way of removing takes the name off a class that copies of the module share.
    found = {}
    lists = module.parametrizations
    assert isinstance(lists, nn.ModuleDict)
    for name, steps in lists.items():
        with torch.no_grad():
            value = getattr(module, name).detach().clone()
        originals = list(steps.parameters(recurse=False))
        trained = any(original.requires_grad for original in originals)
        found[name] = nn.Parameter(value, trained) if originals else value
    del module._modules["parametrizations"]
    module.__class__ = type(module).__bases__[0]
    for name, value in found.items():
        if isinstance(value, nn.Parameter):
            setattr(module, name, value)
        else:
            module.register_buffer(name, value)

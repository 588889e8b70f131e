"""Models and tasks of a user's own, named on the command line as package.module:factory."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from torch import nn

    from autocompress.knowledge.task import Task

_FORM = "package.module:factory"


def own_model(spec: str, weights: Path | None = None) -> nn.Module:
    """Call what makes a user's model, and fill it with a checkpoint.

    Args:
        spec: Such as `package.module:factory`; the current directory can be imported from.
        weights: What `load_checkpoint` reads; None leaves the model as it is made.

    Raises:
        click.ClickException: If nothing can be imported or called under that name, or it raises,
            or returns no module.
        ModelError: If the checkpoint does not fit.
    """
    from torch import nn

    from autocompress.checkpoints import load_checkpoint

    model = _made("--model", spec)
    if not isinstance(model, nn.Module):
        raise _wrong("--model", spec, f"returned a {type(model).__name__}, not an `nn.Module`")
    return model if weights is None else load_checkpoint(weights, model)


def own_task(spec: str) -> Task:
    """Call what makes a user's task.

    Args:
        spec: Such as `package.module:factory`, which a subclass of `Task` is too.

    Raises:
        click.ClickException: As `own_model`.
    """
    from autocompress.knowledge.task import Task

    task = _made("--task", spec)
    if not isinstance(task, Task):
        raise _wrong("--task", spec, f"returned a {type(task).__name__}, not an autocompress.Task")
    return task


def how_to_load(spec: str, artifact: Path) -> str:
    """Say in one line of Python how a file is loaded that a search has made."""
    module, _, name = spec.partition(":")
    top = name.partition(".")[0]
    return (
        f"load: from {module} import {top}; autocompress.load({str(artifact)!r}, model={name}())"
    )


def _made(option: str, spec: str) -> Any:
    factory = _imported(option, spec)
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise _wrong(option, spec, f"must be called without arguments: {error}") from None
    except ValueError:
        pass  # some functions that are not of Python tell no signature
    return _guarded(option, spec, factory)


def _imported(option: str, spec: str) -> Callable[[], Any]:
    from torch import nn

    module, colon, name = spec.partition(":")
    if not (module and colon and name) or not all(part.isidentifier() for part in name.split(".")):
        raise click.BadParameter(f"{option} takes {_FORM}, got {spec!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as for `python -m`; processes of --jobs inherit it
    found = _guarded(option, spec, lambda: import_module(module))
    try:
        factory = attrgetter(name)(found)
    except AttributeError:
        raise _wrong(option, spec, f"is not there: {module} has no {name!r}") from None
    kind = type(factory).__name__
    if not callable(factory):
        raise _wrong(option, spec, f"is a {kind}, which cannot be called; name a function")
    if isinstance(factory, nn.Module):
        raise _wrong(option, spec, f"is a {kind} itself; name a function that returns one")
    return factory  # type: ignore[no-any-return]


def _guarded(option: str, spec: str, call: Callable[[], Any]) -> Any:
    """Run code of the user; what it raises becomes one line that says where."""
    try:
        return call()
    except (Exception, SystemExit) as error:
        raise _wrong(option, spec, f"raised {told(error)}") from error


def told(error: BaseException) -> str:
    """Return type, message, file and line of an exception of the user's code, on one line."""
    text = " ".join(str(error).split())
    name = type(error).__name__ + (f": {text}" if text else "")
    if isinstance(error, SyntaxError):
        return f"{name} ({error.filename}, line {error.lineno})"
    own = str(Path(__file__).parents[1])
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((own, "<frozen")) and "importlib" not in frame.filename
    ]
    return f"{name} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else name


def _wrong(option: str, spec: str, what: str) -> click.ClickException:
    return click.ClickException(f"{option} {spec} {what}")

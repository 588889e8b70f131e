"""The process of a user, left as it was found."""

from __future__ import annotations

import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def randomness_kept() -> Iterator[None]:
    """Put the states of Python's, numpy's and torch's random numbers back in the end.

    A library that nobody has imported yet has no state that anyone could rely upon.
    """
    numpy, torch = (sys.modules.get(name) for name in ("numpy", "torch"))
    python = random.getstate()
    arrays = numpy.random.get_state() if numpy else None
    tensors = torch.get_rng_state() if torch else None
    devices = _states_on_devices(torch)
    try:
        yield
    finally:
        random.setstate(python)
        if numpy:
            numpy.random.set_state(arrays)
        if torch:
            torch.set_rng_state(tensors)
            if devices:  # none where no GPU was in use
                torch.cuda.set_rng_state_all(devices)


def _states_on_devices(torch: Any) -> list[Any]:
    """Return the states of the generators of GPUs, if these are in use."""
    if torch is None or not torch.cuda.is_initialized():
        return []
    return list(torch.cuda.get_rng_state_all())


@contextmanager
def same_randomness() -> Iterator[None]:
    """Begin Python's, numpy's and torch's random numbers anew, and put their states back."""
    with randomness_kept():
        random.seed(0)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(0)
        if "torch" in sys.modules:
            sys.modules["torch"].manual_seed(0)
        yield


@contextmanager
def process_kept() -> Iterator[None]:
    """Put back in the end what libraries change in a process: when imported, or when used.

    That is the state of random numbers, the environment, the filters of warnings, and the levels
    and handlers of logging.
    """
    environment, loggers = dict(os.environ), _loggers()
    try:
        with randomness_kept(), warnings.catch_warnings():
            yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        for logger, (fields, handlers) in loggers.items():
            vars(logger).update(fields)
            logger.handlers[:] = handlers
        logging.root.manager._clear_cache()  # type: ignore[attr-defined]


def _loggers() -> dict[logging.Logger, tuple[dict[str, Any], list[logging.Handler]]]:
    known = [
        each
        for each in logging.root.manager.loggerDict.values()
        if isinstance(each, logging.Logger)
    ]
    return {
        logger: (
            {name: getattr(logger, name) for name in ("level", "disabled", "propagate")},
            list(logger.handlers),
        )
        for logger in (logging.root, *known)
    }


@contextmanager
def logging_at(level: int, *names: str) -> Iterator[None]:
    """Set the level of some loggers, and put it back."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, old in zip(loggers, before, strict=True):
            logger.setLevel(old)

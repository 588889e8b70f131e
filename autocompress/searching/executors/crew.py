"""The workers of a cluster: who is there, and who can be used."""

from __future__ import annotations

import hashlib
import pickle
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import cloudpickle
from torch import Tensor

from autocompress.errors import SearchError
from autocompress.searching.executors import probe, remote
from autocompress.support import progress

_LOOK_S = 0.5
_PACKAGE = "autocompress"
_SETTLING_S = 120.0  # to look at all workers that are there at the start

Answers = dict[str, str | Exception | None]
"""By worker, why it cannot be used, or None; an exception where it did not answer."""


class Crew:
    """Knows the workers of a cluster, and hands each of them once what all jobs work with.

    Attributes:
        digest: Hash of that.
        usable: By address, the resources that a worker offers.
        refused: By address, why a worker is not used.
    """

    def __init__(self, client: Any, bench: bytes) -> None:
        """Ask the workers that are there.

        Args:
            client: Of Dask.
            bench: What jobs work with, pickled.

        Raises:
            SearchError: If there are workers, and none of them can be used.
        """
        self.digest = hashlib.sha256(bench).hexdigest()
        self.usable: dict[str, dict[str, float]] = {}
        self.refused: dict[str, str] = {}
        self._client, self._bench = client, bench
        self._known: dict[str, tuple[str, dict[str, float]]] = {}
        self._asked: set[str] = set()
        self._answers: SimpleQueue[Answers] = SimpleQueue()
        self._looked = 0.0
        self._settle()

    def _settle(self) -> None:
        self.look()
        until = time.monotonic() + _SETTLING_S
        while self._asked and time.monotonic() < until:
            time.sleep(_LOOK_S / 5)
            self.look()
        if self.refused and not self.usable:
            address, reason = next(iter(self.refused.items()))
            raise SearchError(f"no worker of the cluster can be used; {address}: {reason}")

    def look(self) -> list[str]:
        """Notice who has come, answered and gone; return usable workers that are gone.

        Raises:
            SearchError: If the scheduler is gone.
        """
        while not self._answers.empty():
            self._take(self._answers.get())
        if time.monotonic() < self._looked + _LOOK_S:
            return []
        self._looked = time.monotonic()
        there = self._there()
        gone = [address for address, own in self._known.items() if there.get(address) != own]
        lost = [address for address in gone if address in self.usable]
        for address in gone:
            self.dismiss(address)
        new = there.keys() - self._known.keys()
        if new:
            self._known |= {address: there[address] for address in new}
            self._asked |= new
            self._in_background(sorted(new))
        return lost

    def dismiss(self, address: str) -> None:
        """Forget a worker; if it is still there, it is asked again."""
        for known in (self._known, self.usable, self.refused):
            known.pop(address, None)
        self._asked.discard(address)

    def _there(self) -> dict[str, tuple[str, dict[str, float]]]:
        """Return by address what tells a worker from its successor, and what it offers."""
        if self._client.status not in ("running", "connecting"):
            raise SearchError(
                "the scheduler of the cluster is gone; the same search again continues this one"
            )
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return {
            address: (str(worker["local_directory"]), dict(worker["resources"]))
            for address, worker in workers.items()
            if worker["status"] == "running"
        }

    def _take(self, answers: Answers) -> None:
        for address, answer in answers.items():
            if address not in self._asked:
                continue
            self._asked.discard(address)
            if isinstance(answer, Exception):
                progress.say(f"worker {address} does not answer ({answer}): asked again")
                self.dismiss(address)
            elif answer is None:
                self.usable[address] = self._known[address][1]
            else:
                self.refused[address] = answer
                progress.say(f"worker {address} is not used: {answer}")

    def _in_background(self, addresses: list[str]) -> None:
        def ask() -> None:
            try:
                answers = self._ask(addresses)
            except Exception as error:  # the client was closed, or the scheduler is gone
                answers = dict.fromkeys(addresses, error)
            self._answers.put(answers)

        threading.Thread(target=ask, daemon=True).start()

    def _ask(self, addresses: list[str]) -> Answers:
        """Compare versions, and then hand over the bench where it is missing."""
        answers = self._run(addresses, _ByValue(probe.facts), _PACKAGE)
        for address, there in answers.items():
            if not isinstance(there, Exception):
                answers[address] = probe.misfit(remote.HERE, there)
        answers |= self._run(_fit(answers), remote.lacks, self.digest, remote.HERE["code"])
        missing = [address for address, lacking in answers.items() if lacking is True]
        answers |= self._run(missing, remote.adopt, self.digest, self._bench)
        return {address: answer or None for address, answer in answers.items()}

    def _run(self, addresses: list[str], function: object, *arguments: object) -> dict[str, Any]:
        if not addresses:
            return {}
        found: dict[str, Any] = self._client.run(
            function, *arguments, workers=addresses, on_error="return"
        )
        return found


def _fit(answers: Answers) -> list[str]:
    return [address for address, answer in answers.items() if answer is None]


class OnProcessor(cloudpickle.Pickler):  # type: ignore[misc]
    """Copies tensors as if they lay in ordinary memory: a worker need not have another."""

    def reducer_override(self, obj: Any) -> Any:
        """Copy a tensor from where it lies; all else, of parameters too, as always."""
        if type(obj) is Tensor and is_elsewhere(obj):
            here: Any = obj.detach().cpu()
            return here.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return super().reducer_override(obj)


def is_elsewhere(tensor: Tensor) -> bool:
    """Whether a tensor lies on a device beside the processor."""
    return tensor.device.type != "cpu"


class _ByValue:
    """A function of the probe, sent as its code: a worker may have no such module."""

    def __init__(self, function: Callable[..., object]) -> None:
        cloudpickle.register_pickle_by_value(probe)
        try:
            self._code: bytes = cloudpickle.dumps(function)
        finally:
            cloudpickle.unregister_pickle_by_value(probe)

    def __reduce__(self) -> tuple[Callable[[bytes], object], tuple[bytes]]:
        return pickle.loads, (self._code,)

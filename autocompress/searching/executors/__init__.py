"""Where jobs are done: in this process, side by side in others on this machine, or on a cluster.

Executors are told what to do and give results back; study, folder and tracking remain with the
one process that owns them.
"""

from autocompress.searching.executors.base import Executor, Outcome
from autocompress.searching.executors.local_processes import LocalProcesses
from autocompress.searching.executors.places import Place, ThisMachine, place_of
from autocompress.searching.executors.this_process import ThisProcess

__all__ = [
    "Executor",
    "LocalProcesses",
    "Outcome",
    "Place",
    "ThisMachine",
    "ThisProcess",
    "place_of",
]

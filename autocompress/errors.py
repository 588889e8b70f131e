"""The exceptions that users meet. All inherit `AutocompressError`, and each one a built-in kind.

AutocompressError
├── ModelError(ValueError)      a model folder or module that cannot be used
├── TaskError(ValueError)       a task that raised an exception, or gave what it must not
├── CorpusError(ValueError)     a text that cannot be read or encoded
├── PlanError(ValueError)       a plan that does not fit the weights
├── ArtifactError(ValueError)   a file that is no valid artifact
├── SpaceError(ValueError)      a search space that is malformed or fits no weight
├── BudgetError(ValueError)     a budget that cannot be understood
├── DeviceError(ValueError)     a device that is not there
├── ExportError(ValueError)     a model that cannot be exported, or whose export differs from it
├── OutputError(OSError)         a place where a file cannot be written
├── ObjectiveError(ValueError)  an objective that is malformed, raised, or gave no finite number
├── OutOfMemoryError(MemoryError)  a trial, or a fine-tuning, that needs more memory than there is
├── RegistryError(KeyError)     a name that nothing is registered by, or that is taken
└── SearchError(RuntimeError)   an output folder that cannot be used, or a search that broke off

Messages name the rule, the values and the remedy, on one line.
"""


def printable(text: str) -> str:
    """Return a text on one line, with escapes for what a terminal or a file would not show.

    Names that come from files of strangers may hold line breaks, control sequences and halves of
    characters.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode()
        for one in " ".join(text.split())
    )


class AutocompressError(Exception):
    """Root of all errors that this package raises on purpose; their messages are `printable`."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(printable(one) if isinstance(one, str) else one for one in arguments))


class ModelError(AutocompressError, ValueError):
    """A model folder is incomplete, or a model holds weights that cannot be compressed."""


class TaskError(AutocompressError, ValueError):
    """A task lacks something, raised an exception, or gave something else than it is to give.

    What the code of a user raised is the `__cause__`, with its traceback; what it raised in
    another process has the traceback from there as a note.
    """


class CorpusError(AutocompressError, ValueError):
    """A corpus is missing, empty, or has words that the vocabulary cannot encode."""


class PlanError(AutocompressError, ValueError):
    """A plan names a weight that does not exist, or a treatment that does not fit its weight."""


class ArtifactError(AutocompressError, ValueError):
    """A file is not an artifact, is damaged, or was written by a later version."""


class SpaceError(AutocompressError, ValueError):
    """A search space does not parse, or offers nothing for some weight."""


class BudgetError(AutocompressError, ValueError):
    """A budget does not parse, or names an unknown objective."""


class DeviceError(AutocompressError, ValueError):
    """A name of a device is unknown, or the machine has no such device."""


class ExportError(AutocompressError, ValueError):
    """A model has no form in ONNX, or what was exported does not compute what it should."""


class OutputError(AutocompressError, OSError):
    """Something else than an ordinary file stands where a file is to be written."""


class ObjectiveError(AutocompressError, ValueError):
    """An objective is defined wrongly, raised, or gave something else than a finite number.

    What its function raised is the `__cause__`, as with `TaskError`.
    """


class OutOfMemoryError(AutocompressError, MemoryError):
    """A trial or a fine-tuning needs more memory than there is."""


class RegistryError(AutocompressError, KeyError):
    """Nothing is registered by a name, or something is already."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError would put it in quotes


class SearchError(AutocompressError, RuntimeError):
    """A search cannot start, cannot continue what lies in its folder, or keeps failing."""


class LostWorkersError(SearchError):
    """Several workers of a cluster, one after the other, were lost at the same job."""

"""MLflow: one parent run for a search, one child run for every finished trial.

MLflow is imported when a `Tracker` is made and not before, since that takes seconds.
"""

from autocompress.tracking.outcome import Outcome
from autocompress.tracking.patient import Kept, PatientTracker
from autocompress.tracking.relay import RelayTracker
from autocompress.tracking.tracker import Tracker
from autocompress.tracking.yardstick import Yardstick

AnyTracker = Tracker | PatientTracker | RelayTracker

__all__ = [
    "AnyTracker",
    "Kept",
    "Outcome",
    "PatientTracker",
    "RelayTracker",
    "Tracker",
    "Yardstick",
]

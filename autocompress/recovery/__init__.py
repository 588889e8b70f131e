"""Recovery: fine-tuning of what an artifact stores, so that the model regains what it lost."""

from autocompress.recovery.settings import RecoveryBudget, RecoverySettings
from autocompress.recovery.training import clean_up, is_under_way, recover

__all__ = ["RecoveryBudget", "RecoverySettings", "clean_up", "is_under_way", "recover"]

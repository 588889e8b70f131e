"""What a search has learnt. Knows neither torch nor Optuna."""

from autocompress.reporting.insight.choices import (
    ELSEWHERE,
    FEWEST_TRIALS,
    Explained,
    Importance,
    MethodMean,
    importance,
    method,
)
from autocompress.reporting.insight.front import FrontUse, front_uses
from autocompress.reporting.insight.markdown import insight_lines, predicted_table, write_insight
from autocompress.reporting.insight.volume import (
    WORST,
    halvings,
    hypervolume,
    volumes,
    worsening,
)

__all__ = [
    "ELSEWHERE",
    "FEWEST_TRIALS",
    "WORST",
    "Explained",
    "FrontUse",
    "Importance",
    "MethodMean",
    "front_uses",
    "halvings",
    "hypervolume",
    "importance",
    "insight_lines",
    "method",
    "predicted_table",
    "volumes",
    "worsening",
    "write_insight",
]

"""Objectives of one's own: one that the plan tells, and one that the model does."""

from autocompress import Objective


def count_methods(measured):
    """Count the ways in which weights are stored: fewer are easier to write a decoder for."""
    return len({one.structure.method for one in measured.plan.treatments.values()})


def largest_weight(measured):
    """Return the largest magnitude of all weights."""
    return max(float(weight.abs().max()) for weight in measured.model.state_dict().values())


METHODS = Objective("methods", "minimize", count_methods, phase="plan", unit="kinds")
LARGEST = Objective("largest", "minimize", largest_weight)

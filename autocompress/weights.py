"""The weights of a model by name: what a plan written by hand needs to know.

Plans name weights and sites. `ModelWeights.of(model)` tells the names, roles and values of all
weights of a model, and which names are tied; a site is the name of a vector that several weights
multiply.
"""

from autocompress.knowledge.weights import ModelWeights, Site, Weight

__all__ = ["ModelWeights", "Site", "Weight"]

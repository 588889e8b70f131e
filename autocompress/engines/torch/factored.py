"""Artifact -> torch module that computes with the stored factors, where that takes less."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from autocompress.artifact import Artifact
from autocompress.artifact.records import ItemRecord
from autocompress.layers.modules import FactoredEmbedding, FactoredLinear, FactoredRecurrent
from autocompress.layers.operators import (
    DenseOperator,
    GroupedOperator,
    LowRankOperator,
    Operator,
    Projection,
    TensorTrainOperator,
)
from autocompress.lm.model import LanguageModel
from autocompress.structures import (
    GroupReduce,
    LowRank,
    Matrix,
    Pruned,
    Shape,
    Structure,
    TensorTrain,
    matrix_shape,
    stacked_shape,
)

_DECODER = "decoder"


def factorized(model: nn.Module, artifact: Artifact) -> nn.Module:
    """Replace the modules of a filled model whose weights are stored as factors.

    Low rank, GroupReduce and tensor trains, pruned or not, run as such where the factors take
    fewer multiplications a vector than the dense weight; all else stays dense. Embedding, Linear
    and unidirectional recurrent modules are replaced.

    Args:
        model: A module that holds the artifact's weights.
        artifact: The artifact.
    """
    operators = {
        name: operator
        for item, factors in artifact.factors()
        for name, operator in operators_of(item, factors)
    }
    for name, module in list(model.named_modules()):
        factored = _factored(name, module, operators, model)
        if factored is not None:
            model.set_submodule(name, factored)
    return model.eval()


def operators_of(
    item: ItemRecord, factors: Mapping[str, Matrix]
) -> Iterator[tuple[str, Operator]]:
    """Yield an operator for each weight of an item that had better not be decoded."""
    structure = item.treatment.structure
    structure = structure.of if isinstance(structure, Pruned) else structure
    shape = stacked_shape([member.shape for member in item.members])
    operator: Operator | None
    size = shape[0] * shape[1]
    if isinstance(structure, LowRank) and factors["left"].size + factors["right"].size < size:
        projection, first = Projection(factors["right"]), 0
        for member in item.members:
            last = first + matrix_shape(member.shape)[0]
            operator = LowRankOperator(factors["left"][first:last], projection)
            first = last
            yield from ((name, operator) for name in (member.name, *member.aliases))
        return
    operator = _alone(structure, shape, factors) if len(item.members) == 1 else None
    if operator is not None and operator.multiplications < size:
        member = item.members[0]
        yield from ((name, operator) for name in (member.name, *member.aliases))


def _alone(structure: Structure, shape: Shape, factors: Mapping[str, Matrix]) -> Operator | None:
    if isinstance(structure, GroupReduce):
        return GroupedOperator(structure, factors)
    if isinstance(structure, TensorTrain):
        return TensorTrainOperator(structure, shape, factors)
    return None


def _factored(
    name: str, module: nn.Module, operators: Mapping[str, Operator], model: nn.Module
) -> nn.Module | None:
    """Return what takes the place of a module, or None if it stays."""
    own = {
        key: operators[f"{name}.{key}"]
        for key, _ in module.named_parameters(recurse=False)
        if f"{name}.{key}" in operators
    }
    if not own:
        return None
    if isinstance(module, nn.Embedding) and module.max_norm is None:
        return FactoredEmbedding(own["weight"])
    if isinstance(module, nn.Linear):
        projected = name == _DECODER and _projects_for_decoder(model, operators)
        return FactoredLinear(own["weight"], module.bias, projected=projected)
    if isinstance(module, nn.RNNBase) and not module.bidirectional and not module.proj_size:
        weights = {
            key: own.get(key) or DenseOperator(value.detach())
            for key, value in module.named_parameters()
            if key.startswith("weight")
        }
        emits = _projects_for_decoder(model, operators)
        return FactoredRecurrent(module, weights, emits_projections=emits)
    return None


def _projects_for_decoder(model: nn.Module, operators: Mapping[str, Operator]) -> bool:
    """Whether the decoder of a language model goes on from the last layer's projections.

    In other models, the states may have other readers.
    """
    if not isinstance(model, LanguageModel):
        return False
    last = f"{model.config.cell}.weight_hh_l{model.config.num_layers - 1}"
    pair = [operators.get(key) for key in (last, f"{_DECODER}.weight")]
    if pair[0] is None or pair[1] is None:
        return False
    return pair[0].projection is not None and pair[0].projection is pair[1].projection

"""The conformance kit: what must hold for a method, a layer, an objective or an engine.

For the tests of a package that brings its own:

    from autocompress.testing import check_structure


    def test_my_structure_conforms():
        check_structure(BlockDiagonal(blocks=2))

Each check raises an AssertionError that names the rule that is broken, and the values.
"""

from autocompress.testing.coders import check_coder
from autocompress.testing.engines import check_engine
from autocompress.testing.layers import check_layer
from autocompress.testing.objectives import check_objective
from autocompress.testing.precisions import check_precision
from autocompress.testing.structures import check_structure

__all__ = [
    "check_coder",
    "check_engine",
    "check_layer",
    "check_objective",
    "check_precision",
    "check_structure",
]

"""What some tests need of the machine that they run on."""

from __future__ import annotations

import os

import pytest

needs_posix = pytest.mark.skipif(
    os.name != "posix",
    reason="signals to other processes, their groups, links, pipes and /dev are POSIX's",
)

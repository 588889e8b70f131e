"""Limits on threads: where they hold, and that they end."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from autocompress.support.threads import modules_on_one_thread, one_thread


class Asking(nn.Module):
    """Notes how many threads there are."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(torch.get_num_threads())
        if x.numel() == 0:
            raise ValueError("nothing to read")
        return x


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_one_thread_ends_with_the_block() -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_one_thread_ends_with_a_failure() -> None:
    with pytest.raises(ValueError, match="nothing to read"), one_thread():
        Asking()(torch.ones(0))
    assert torch.get_num_threads() == 2


def test_only_the_given_modules_run_on_one_thread() -> None:
    small, large = Asking(), Asking()
    model = nn.Sequential(large, small)
    with modules_on_one_thread([small]):
        model(torch.ones(1))
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="nothing to read"):
            model(torch.ones(0))
        with pytest.raises(ValueError, match="nothing to read"):
            small(torch.ones(0))
        assert torch.get_num_threads() == 2
    model(torch.ones(1))
    assert small.seen == [1, 1, 2]
    assert large.seen == [2, 2, 2]
    assert not small._forward_pre_hooks
    assert not small._forward_hooks

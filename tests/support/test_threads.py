"""Limits on threads: where they hold, and that they end."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from autocompress.support.threads import (
    Threads,
    clip_gradients,
    modules_on_one_thread,
    one_thread,
)


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


def test_modules_go_back_to_the_threads_around_them() -> None:
    module = Asking()
    with modules_on_one_thread([module]):
        torch.set_num_threads(3)
        module(torch.ones(1))
        assert torch.get_num_threads() == 3
    assert module.seen == [1]
    assert torch.get_num_threads() == 2


class Machine:
    """Tells the time of steps that take as long as is said for their number of threads."""

    def __init__(self, seconds: Callable[[int, float], float]) -> None:
        self.now, self._seconds = 0.0, seconds
        self.spent: dict[int, float] = {}
        self.threads = Threads((1, 2, 4), clock=lambda: self.now)

    def work(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            with self.threads.step():
                count = torch.get_num_threads()
                step = self._seconds(count, self.now)
                self.now += step
                self.spent[count] = self.spent.get(count, 0.0) + step


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 0.15, 2: 3.0, 4: 6.0}, 1),
        ({1: 0.15, 2: 0.1, 4: 0.2}, 2),
        ({1: 1.0, 2: 0.6, 4: 0.4}, 4),
        ({1: 0.1, 2: 0.1, 4: 0.1}, 1),
    ],
)
def test_the_quickest_number_of_threads_gets_nearly_all_time(
    seconds: dict[int, float], best: int
) -> None:
    machine = Machine(lambda count, _: seconds[count])
    machine.work(20)  # within which all numbers are tried
    machine.spent.clear()
    machine.work(1000)
    assert machine.spent[best] > 0.9 * sum(machine.spent.values())
    assert set(machine.spent) == {1, 2, 4}
    assert torch.get_num_threads() == 2


def test_a_machine_that_is_busy_for_a_while_is_noticed() -> None:
    def seconds(count: int, now: float) -> float:
        is_busy = 100 < now < 400
        return (1.0 if count == 1 else 5.0 * count) if is_busy else 1.0 / count

    machine = Machine(seconds)
    machine.work(100)
    assert machine.threads.count == 4
    machine.work(100)
    machine.spent.clear()
    machine.work(150)
    assert machine.spent[1] > 0.7 * sum(machine.spent.values())
    machine.work(200)
    machine.spent.clear()
    machine.work(100)
    assert machine.spent[4] > 0.8 * sum(machine.spent.values())


def test_a_step_that_fails_leaves_all_as_it_was() -> None:
    threads = Threads((1, 2, 4))
    with pytest.raises(ValueError, match="no"), threads.step():
        raise ValueError("no")
    assert torch.get_num_threads() == 2


def test_numbers_that_change_bits_are_not_chosen() -> None:
    values = torch.randn(1000)
    drawn = Threads.exact(lambda: [values * 2, torch.randn(3)])  # the same random numbers
    assert drawn._counts == [1, 2]
    by_threads = Threads.exact(lambda: [values * torch.get_num_threads()])
    assert by_threads._counts == [2]
    with by_threads.step():
        assert torch.get_num_threads() == 2


def test_gradients_are_clipped_alike_on_any_number_of_threads() -> None:
    clipped = []
    for count in (1, 2):
        torch.set_num_threads(count)
        weight = torch.zeros(2_000_000, requires_grad=True)
        weight.grad = torch.randn(2_000_000, generator=torch.Generator().manual_seed(0))
        clip_gradients([weight], 1.0)
        clipped.append(weight.grad)
        assert torch.get_num_threads() == count
    assert torch.equal(*clipped)

"""A user's objective has a name of its own."""

import pytest

from autocompress.errors import ObjectiveError
from autocompress.outcome.names import check_names


@pytest.mark.parametrize(
    "name",
    [
        *("size_bytes", "latency", "latency_ms", "trial", "artifact", "label", "onnx", "seconds"),
        *(
            "rise",
            "accuracy",
            "valid_accuracy",
            "test_accuracy",
            "test_speed",
            "rejected",
            "front",
        ),
    ],
)
def test_names_of_the_tool_are_taken(name: str) -> None:
    with pytest.raises(ObjectiveError, match=f"'{name}' is taken") as error:
        check_names([name], "accuracy")
    assert "\n" not in str(error.value)


def test_no_two_have_the_same_name() -> None:
    with pytest.raises(ObjectiveError, match="'mine' is taken"):
        check_names(["mine", "other", "mine"], "accuracy")


def test_other_names_are_free() -> None:
    check_names(["mine", "perplexity", "labels", "latency_on_phone"], "accuracy")

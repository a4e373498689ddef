"""Types and shapes are checked while the tests run, and only then."""

import importlib.util
import subprocess
import sys

import pytest
import torch
from jaxtyping import TypeCheckError

from hardprompt.optimizers.qlearning.replay import Replay
from tests.conftest import LAYERS

WRONG = (
    "import torch; from hardprompt.optimizers.qlearning.replay import Replay;"
    "Replay(capacity=4, length=3).add(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 1))"
)


def test_a_wrong_shape_raises() -> None:
    with pytest.raises(TypeCheckError, match=r"'rewards'"):
        Replay(capacity=4, length=3).add(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 1))


def test_shapes_that_do_not_fit_together_raise() -> None:
    with pytest.raises(TypeCheckError, match=r"'rewards'"):
        Replay(capacity=4, length=3).add(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3))


@pytest.mark.unchecked
def test_a_test_that_says_so_may_give_a_wrong_shape() -> None:
    Replay(capacity=4, length=3).add(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 1))


def test_users_are_spared_the_check() -> None:
    subprocess.run([sys.executable, "-c", WRONG], check=True)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_is_checked(layer: str) -> None:
    if (spec := importlib.util.find_spec(f"hardprompt.{layer}")) is None:
        pytest.skip(f"there is no {layer} yet")
    assert type(spec.loader).__name__ == "_JaxtypingLoader"

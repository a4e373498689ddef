"""Adam's moments as plain values, so that a resumed search takes the very same steps."""

import copy
from collections.abc import Mapping
from typing import Any

from torch.optim import Adam


def adam_state(adam: Adam) -> dict[str, Any]:
    """The moments of every parameter, by its number; none before the first step."""
    return {str(number): copy.deepcopy(moments) for number, moments in adam.state_dict()["state"].items()}


def load_adam(adam: Adam, state: Mapping[str, Any]) -> None:
    """Restore what ``adam_state`` returned for an optimiser of the same parameters."""
    whole = adam.state_dict()
    whole["state"] = {int(number): copy.deepcopy(moments) for number, moments in state.items()}
    adam.load_state_dict(whole)

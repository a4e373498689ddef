"""Any reward: a user's own function or class, named on the command line, held to what a reward promises."""

import contextlib
import inspect
import math
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import HardpromptError, InputError, RewardError
from hardprompt.search.plugins import load_object, said

Scorer = Callable[[list[str]], Sequence[float]]


def load_reward(name: str) -> Scorer:
    """The reward called ``package.module:name``: a function from prompts to numbers, or a class that makes one.

    A class is called without arguments; what it makes is called with prompts.

    Raises:
        InputError: as ``load_object``, or the class fails to make a reward.
    """
    found = load_object("reward", name)
    if inspect.isclass(found):
        try:
            found = found()
        except HardpromptError:
            raise
        except (Exception, SystemExit) as error:
            raise InputError(f"reward {name!r}: making a {name.partition(':')[2]} raised {said(error)}.") from error
        if not callable(found):
            raise InputError(f"reward {name!r} makes a {type(found).__name__}, which cannot be called with prompts.")
    scorer: Scorer = found
    return scorer


@dataclass(eq=False)
class FunctionReward:
    """A user's function as a reward; every way in which it can fail is one error that names a prompt."""

    function: Scorer  # takes a list of prompts, returns as many finite numbers, higher is better
    _: KW_ONLY
    timeout: float | None = None  # seconds that one call may take; None waits for ever

    def __call__(self, prompts: list[str]) -> Float[Tensor, " n"]:
        """One number per prompt, float64.

        Raises:
            RewardError: an exception, too long a time, the wrong length, or what is no finite number.
        """
        texts = list(prompts)
        numbers = self._call(texts)
        if len(numbers) != len(texts):
            raise RewardError(f"the reward returned {len(numbers)} numbers for {_of(texts)}; one each was expected.")
        for text, number in zip(texts, numbers, strict=True):
            try:
                good = not isinstance(number, str | bytes) and math.isfinite(float(number))
            except (TypeError, ValueError, OverflowError):
                good = False
            if not good:
                raise RewardError(f"the reward of {text!r} is {_short(number)}; a finite number was expected.")
        return torch.tensor([float(number) for number in numbers], dtype=torch.float64)

    def _call(self, texts: list[str]) -> list[Any]:
        outcome: dict[str, Any] = {}

        def work() -> None:
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    outcome["values"] = values = self.function(list(texts))
                    if isinstance(values, Iterable) and not isinstance(values, str | bytes):
                        # Here, where the clock runs: a generator computes while it is read.
                        outcome["numbers"] = values.tolist() if isinstance(values, Tensor) else list(values)
            except BaseException as error:  # also a SystemExit: it is the reward's, not ours
                outcome["error"] = error

        # A thread of its own cannot be stopped, but it can be left behind: a daemon does not hold the program.
        thread = threading.Thread(target=work, daemon=True)
        if self.timeout is None:
            work()
        else:
            thread.start()
            thread.join(self.timeout)
            if thread.is_alive():
                raise RewardError(
                    f"the reward gave no answer within {self.timeout:g} seconds (--reward-timeout) for {_of(texts)}."
                )
        error = outcome.get("error")
        if isinstance(error, KeyboardInterrupt | HardpromptError):
            raise error
        if error is not None:
            raise RewardError(f"the reward raised {said(error)} for {_of(texts)}.") from error
        numbers = outcome.get("numbers")
        if not isinstance(numbers, list):
            raise RewardError(
                f"the reward returned {_short(outcome['values'])} for {_of(texts)}; a list of {len(texts)} numbers was "
                "expected."
            )
        return numbers


def _of(texts: Sequence[str]) -> str:
    return f"the prompt {texts[0]!r}" if len(texts) == 1 else f"{len(texts)} prompts, the first {texts[0]!r}"


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."

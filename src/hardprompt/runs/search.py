"""A whole search in memory: a task, a method and what it needs, put together and run."""

import dataclasses
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from hardprompt import optimizers
from hardprompt.errors import HardpromptError, InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.models import Models
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.vocabulary import Tokens
from hardprompt.optimizers import Need
from hardprompt.search.engine import Result, optimize
from hardprompt.search.plugins import said
from hardprompt.tasks.checks import check_settings
from hardprompt.tasks.protocol import Task
from hardprompt.tasks.settings import DEFAULT_METHOD, DEFAULT_MODEL


@dataclass(eq=False)
class Search:
    """A task and the method that looks for its prompt.

    Raises:
        InputError: anything about method or settings.
    """

    task: Task  # loaded
    _: KW_ONLY
    policy_lm: CausalLM  # proposes prompts
    method: str = DEFAULT_METHOD  # by name
    settings: Mapping[str, Any] | None = None  # of the method, where they differ from what the name stands for
    suggested: Mapping[str, Any] | None = None  # those that suit the task; ``settings`` go before them
    length: int = 5  # tokens of the prompt
    seed: int = 0  # of everything random
    tokens: Tokens | None = None  # what a prompt is made of; None is as the method has it
    script: str = "latin"  # of its words
    start: str | None = None  # what the policy LM imagines before the prompt; None is as task and method have it

    def __post_init__(self) -> None:
        found = optimizers.find(self.method)
        if found.leads and not self.task.leads:
            raise InputError(f"prompts of {self.method!r} stand before everything: load the task with leads=True.")
        own = self.settings or {}
        check_settings(self.method, found, own)
        chosen = {**found.settings, **(self.suggested or {}), **own}
        if "top_k" not in own and chosen.get("top_k"):
            # A method's own k is meant for a vocabulary of 50,000; a smaller one is kept whole.
            chosen["top_k"] = min(chosen["top_k"], len(self.policy_lm.packed.head.weight))
        alphabet = self.tokens or found.tokens

        def given(need: Need) -> Any:
            if need is Need.POLICY:
                lm, imagined = self.policy_lm, self.task.start if found.in_place else ""
                return PolicyLM(
                    lm.model, lm.tokenizer, start=imagined if self.start is None else self.start, tokens=alphabet,
                    script=self.script, spaced=self.task.spaced, probed=lm.packed,
                )  # fmt: skip
            if need is Need.LENGTH:
                return self.length
            return self.seed if need is Need.SEED else self.task.give(need, tokens=alphabet, script=self.script)

        needed = {need.value: given(need) for need in sorted(found.needs)}
        try:
            self.optimizer = found.build(**needed, **chosen)
        except HardpromptError:
            raise
        except Exception as error:
            if ":" not in self.method:
                raise
            raise InputError(f"method {self.method!r} could not be built: {said(error)}.") from error

    def run(self, **how: Any) -> Result:
        """Search until the budget is spent; the best trial is the one that the task chooses.

        Args:
            how: arguments of ``search.optimize``, beside optimizer, reward and validation.

        Raises:
            InputError: as ``search.optimize``.
            RewardError: the reward broke its contract.
        """
        found = optimize(self.optimizer, self.task.reward, validate=self.task.validate, **how)
        if found.stopped == "interrupt" or not found.trials:
            return found
        return dataclasses.replace(found, best=self.task.choose(found.trials, self.policy_lm.perplexity))

    def state_dict(self) -> dict[str, Any]:
        """Everything that an exact resume needs, beside the engine's progress."""
        return {"optimizer": self.optimizer.state_dict(), "reward": self.task.reward.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.task.reward.load_state_dict(state["reward"])


def find_prompt(
    task: Task,
    *,
    method: str = DEFAULT_METHOD,
    evaluations: int = 192,
    policy_model: str | CausalLM = DEFAULT_MODEL,
    settings: Mapping[str, Any] | None = None,
    length: int = 5,
    seed: int = 0,
    validate_every: int = 6,
    **how: Any,
) -> Result:
    """Find a prompt for a task, in memory.

    Args:
        task: loaded, such as a ``ClassifyTask``.
        method: of search, by name.
        evaluations: budget in prompts scored.
        policy_model: proposes prompts.
        settings: of the method, where they differ.
        length: tokens of the prompt.
        seed: of everything random.
        validate_every: steps between validations.
        how: further arguments of ``search.optimize``, such as ``callbacks`` or ``seconds``.

    Returns:
        The result, whose ``best`` is the prompt that the task chooses of those validated.

    Raises:
        InputError: anything about method, model or settings.
        RewardError: the reward broke its contract.
    """
    policy_lm = policy_model if isinstance(policy_model, CausalLM) else Models().causal(policy_model)
    search = Search(task, policy_lm=policy_lm, method=method, settings=settings, length=length, seed=seed)
    return search.run(evaluations=evaluations, validate_every=validate_every, **how)

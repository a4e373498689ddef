"""The registry of search methods: what each is called, what it needs, its settings and where they come from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hardprompt.errors import InputError, unknown
from hardprompt.search.plugins import load_object, named_in_code

# No method is imported before it is used: listing them must not wait for torch.
if TYPE_CHECKING:
    from hardprompt.lms.vocabulary import Tokens


class Need(StrEnum):
    """What a method asks a search for; the value is what its constructor calls it. All else there is a setting."""

    POLICY = "policy"
    LENGTH = "length"
    SEED = "seed"
    MANUAL = "manual"
    INSTRUCTION = "instruction"
    PHRASE = "phrase"
    EXAMPLES = "examples"
    OBJECTIVE = "objective"


DESCRIBED = {
    Need.POLICY: "a policy language model",
    Need.LENGTH: "a number of tokens",
    Need.SEED: "a seed",
    Need.MANUAL: "a hand-written prompt",
    Need.INSTRUCTION: "an instruction",
    Need.PHRASE: "a prompt to begin with",
    Need.EXAMPLES: "labelled texts",
    Need.OBJECTIVE: "the gradient of a loss",
}


FLAGS = ("q", "alpha", "prior", "top_k")
"""Settings of methods that a command line has flags for; those that a method takes stand in its entry below."""

_PARTS = ("ask", "tell", "recommend")  # by which a method is known


@dataclass(frozen=True)
class Method:
    """A named way to search.

    Args:
        where: ``module:name`` of the class or function that builds the optimizer.
        summary: what it is, in a few words.
        source: where its settings come from.
        needs: what its constructor asks a search for.
        settings: those that the name stands for, where they are not the constructor's own.
        tokens: what a prompt may be made of, unless the user says otherwise.
        in_place: whether the policy LM reads a training text in the template before it proposes, unless the user says
            otherwise. The papers' do not.
        leads: whether its prompts stand before everything, the rest of the template as it is with the hand-written
            prompt.
    """

    where: str
    summary: str
    source: str
    needs: frozenset[Need]
    settings: Mapping[str, Any] = field(default_factory=dict)
    tokens: Tokens = "words"
    in_place: bool = True
    leads: bool = False

    @property
    def build(self) -> Callable[..., Any]:
        """What builds the optimizer, imported."""
        found: Callable[..., Any] = named_in_code("method", self.where)
        return found

    def accepted(self) -> dict[str, Any]:
        """The settings that the constructor takes, with the values that they would have.

        Raises:
            InputError: a class of a user's whose constructor does not say what it takes.
        """
        try:
            parameters = inspect.signature(self.build).parameters.values()
        except (TypeError, ValueError) as error:  # it is made of C, or inherits such a constructor
            raise InputError(
                f"method {self.where!r} does not say what it takes; give its class an __init__ with named arguments."
            ) from error
        return {p.name: self.settings.get(p.name, p.default) for p in parameters if p.name not in set(Need)}


def methods() -> dict[str, Method]:
    """Every registered method by name."""
    return dict(sorted(_METHODS.items()))


def find(name: str) -> Method:
    """The method called ``name``, or the user's own class ``package.module:Class``, which has ``needs``.

    Raises:
        InputError: no such method, module or class, or one that is no method or does not say what it needs.
    """
    if ":" in name:
        build = load_object("method", name)
        lacking = [part for part in _PARTS if not (inspect.isclass(build) and callable(getattr(build, part, None)))]
        if lacking:
            raise InputError(f"method {name!r} is no class with {', '.join(_PARTS)}: it lacks {', '.join(lacking)}.")
        method = Method(name, _first_line(build), "the user's own", _needs(name, build))
        method.accepted()
        return method
    if name not in _METHODS:
        raise unknown("method", name, _METHODS)
    return _METHODS[name]


def _first_line(build: Any) -> str:
    return (inspect.getdoc(build) or build.__name__).splitlines()[0]


def _needs(name: str, build: Any) -> frozenset[Need]:
    """What a user's own class says that it needs."""
    try:
        return frozenset(map(Need, build.needs))
    except AttributeError:
        said = "does not say what it needs"
    except (TypeError, ValueError):
        said = f"needs {build.needs!r}"
    raise InputError(f"method {name!r} {said}; give the class a set `needs` of: {', '.join(Need)}; or an empty one.")


# Shared by PIN and RLPrompt (PIN App. A and B.1; RLPrompt's few-shot configuration): MLP of 2048, Adam at 5e-5,
# 16 prompts a step, one update a step, rho = 0.001, rewards z-scored over the step.
_PAPER = {
    "hidden": 2048, "learning_rate": 5e-5, "proposals": 16, "updates": 1, "batch": 256, "rho": 0.001,
    "normalise": "step", "gamma": 1.0, "prior": 0.0, "redraws": 0,
}  # fmt: skip
_PIN = {**_PAPER, "q": 2.0, "alpha": 1.0, "loss": "monte_carlo", "replay": 100_000, "top_k": 10_000}
# RLPrompt's few-shot classification configuration: reward scale 5 (PIN App. B.3), path consistency (its released
# loss, coefficient unset), on-policy, top-256 sampling by Q.
_RLPROMPT = {
    **_PAPER, "q": 1.0, "alpha": 0.2, "loss": "path_consistency", "replay": 0, "top_k": None, "sample_top": 256,
}  # fmt: skip
_FLUENCY = {"top_k": 10_000}  # the value that PIN found best for RLPrompt (App. D.3)
_REPLAY = {"replay": 100_000}
_OURS = {"prior": 0.2, "normalise": "replay", "updates": 8, "learning_rate": 5e-4, "redraws": 5}

_SAMPLED = {Need.LENGTH, Need.SEED, Need.POLICY}
_GRADIENT = {Need.LENGTH, Need.SEED, Need.OBJECTIVE}
_FREE: dict[str, Any] = {"tokens": "any", "in_place": False}  # as in the papers
_BASELINE = "a baseline; nothing is learned"


def _ours(
    where: str, needs: set[Need], summary: str, source: str, settings: Mapping[str, Any] = MappingProxyType({}),
    **differs: Any,
) -> Method:  # fmt: skip
    return Method(f"hardprompt.optimizers.{where}", summary, source, frozenset(needs), settings, **differs)


def _learner(summary: str, source: str, settings: Mapping[str, Any], **differs: Any) -> Method:
    return _ours("qlearning.learner:QLearner", _SAMPLED, summary, source, settings, **differs)


_METHODS = {
    "manual": _ours("fixed:manual", {Need.MANUAL}, "the hand-written prompt", "the user's own (--manual)"),
    "instruction": _ours(
        "fixed:instruction", {Need.INSTRUCTION}, "an instruction in a sentence", "the user's own (--instruction)"
    ),
    "demonstrations": _ours(
        "fixed:demonstrations", {Need.EXAMPLES, Need.SEED},
        "worked examples before the text, drawn by the seed, no more than the context holds",
        "Brown et al., 2020; 4 of each class are ours (RLPrompt and PIN: 1)", leads=True,
    ),
    "random": _ours(
        "random_search:RandomSearch", _SAMPLED, "tokens drawn uniformly, the best prompt by training reward", _BASELINE,
        in_place=False,
    ),
    "best-of-n": _ours(
        "best_of_n:BestOfN", _SAMPLED, "samples of the policy LM itself, the best by training reward", _BASELINE
    ),
    "grips": _ours(
        "grips:GrIPS", {Need.POLICY, Need.PHRASE, Need.SEED},
        "edits of an instruction's phrases, kept when the reward rises", "Prasad et al., EACL 2023",
        {"candidates": 5, "edits": 1, "patience": 2}, in_place=False,
    ),
    "autoprompt": _ours(
        "gradient.coordinate:autoprompt", _GRADIENT,
        "one place a step, the best of the tokens that the gradient puts first",
        "Shin et al., 2020; 15 candidates (the paper: 10 or 100) and one gradient make a step of 16 evaluations",
        **_FREE,
    ),
    "gcg": _ours(
        "gradient.coordinate:gcg", _GRADIENT,
        "random single changes among the tokens that the gradient puts first, the best taken over",
        "Zou et al., 2023 (k = 256); 15 candidates (the paper: 512) and one gradient make a step of 16 evaluations",
        {"top_k": 256},
        **_FREE,
    ),
    "pez": _ours(
        "gradient.pez:PEZ", _GRADIENT, "gradient descent on vectors, each gradient taken at the nearest tokens",
        "Wen et al., 2023 (AdamW, 0.1 and 0.1); 7 gradients and one prompt make a step of 8 evaluations", **_FREE,
    ),
    "soft-prompt": _ours(
        "gradient.soft_prompt:SoftPrompt", _GRADIENT,
        "vectors trained by gradient: no text, not readable, not transferable",
        "Lester et al., 2021, by PEFT; Adam at 0.01 is ours; 15 gradients and one prompt make a step of 16 evaluations",
        **_FREE,
    ),
    "bbt": _ours(
        "gradient.bbt:BBT", _GRADIENT,
        "CMA-ES over vectors from rewards alone: no text, not readable, not transferable",
        "Sun et al., 2022 (500 dimensions, sigma 1), by the cma package; a population of 16 (the paper: 20)", **_FREE,
    ),
    "pin": _learner(
        "sparse Tsallis entropy over the 10,000 likeliest tokens, with replay",
        "PIN Algorithm 1, App. A and B.1 (k = 10,000, 1/alpha = 1); loss of the released commands", _PIN, **_FREE,
    ),
    "pin-no-fluency": _learner(
        "PIN without the filter of ignorable tokens", "PIN section 5.4", {**_PIN, "top_k": None}, **_FREE
    ),
    "pin-prior": _learner(
        "PIN with the language model as prior of the sparse policy", "this project; measured in docs/results.md",
        {**_PIN, **_OURS},
    ),
    "rlprompt": _learner(
        "softmax policy over all tokens, on-policy soft Q-learning", "Deng et al., 2022; PIN App. B.3", _RLPROMPT,
        **_FREE,
    ),
    "rlprompt-fluency": _learner(
        "RLPrompt over the 10,000 likeliest tokens", "PIN App. D.3", {**_RLPROMPT, **_FLUENCY}, **_FREE
    ),
    "rlprompt-rb": _learner("RLPrompt with a replay buffer", "PIN section 5.4", {**_RLPROMPT, **_REPLAY}, **_FREE),
    "rlprompt-rb-fluency": _learner(
        "RLPrompt with both", "PIN section 5.4", {**_RLPROMPT, **_FLUENCY, **_REPLAY}, **_FREE
    ),
}  # fmt: skip

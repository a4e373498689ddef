"""hardprompt: finds short, readable text prompts for a frozen language model."""

import importlib
from typing import TYPE_CHECKING, Any

from hardprompt.version import __version__

if TYPE_CHECKING:
    from hardprompt.data.tables import Example
    from hardprompt.lms.causal import CausalLM
    from hardprompt.lms.image_text import load_image_text
    from hardprompt.lms.load import load_causal, load_task_lm
    from hardprompt.lms.masked import MaskedLM
    from hardprompt.lms.models import Models
    from hardprompt.lms.policy import PolicyLM
    from hardprompt.optimizers.best_of_n import BestOfN
    from hardprompt.optimizers.qlearning.entropy import TsallisEntropy
    from hardprompt.optimizers.qlearning.learner import QLearner
    from hardprompt.optimizers.qlearning.qhead import QHead
    from hardprompt.runs.search import find_prompt
    from hardprompt.search.engine import Progress, Proposal, Result, Step, Trial, optimize
    from hardprompt.search.rewards import Cached
    from hardprompt.tasks.classify.reward import Classification
    from hardprompt.tasks.classify.task import ClassifyTask
    from hardprompt.tasks.invert.reward import Inversion
    from hardprompt.tasks.recipe import Recipe
    from hardprompt.tasks.restyle.reward import Restyle
    from hardprompt.tasks.template import Template

# Each name is imported from its module on first use, so that `import hardprompt` costs nothing.
_WHERE = {
    "BestOfN": "optimizers.best_of_n",
    "Cached": "search.rewards",
    "CausalLM": "lms.causal",
    "Classification": "tasks.classify.reward",
    "ClassifyTask": "tasks.classify.task",
    "Example": "data.tables",
    "Inversion": "tasks.invert.reward",
    "MaskedLM": "lms.masked",
    "Models": "lms.models",
    "PolicyLM": "lms.policy",
    "Progress": "search.engine",
    "Proposal": "search.engine",
    "QHead": "optimizers.qlearning.qhead",
    "QLearner": "optimizers.qlearning.learner",
    "Recipe": "tasks.recipe",
    "Restyle": "tasks.restyle.reward",
    "Result": "search.engine",
    "Step": "search.engine",
    "Template": "tasks.template",
    "Trial": "search.engine",
    "TsallisEntropy": "optimizers.qlearning.entropy",
    "find_prompt": "runs.search",
    "load_causal": "lms.load",
    "load_image_text": "lms.image_text",
    "load_task_lm": "lms.load",
    "optimize": "search.engine",
}
__all__ = [
    "BestOfN",
    "Cached",
    "CausalLM",
    "Classification",
    "ClassifyTask",
    "Example",
    "Inversion",
    "MaskedLM",
    "Models",
    "PolicyLM",
    "Progress",
    "Proposal",
    "QHead",
    "QLearner",
    "Recipe",
    "Restyle",
    "Result",
    "Step",
    "Template",
    "Trial",
    "TsallisEntropy",
    "__version__",
    "find_prompt",
    "load_causal",
    "load_image_text",
    "load_task_lm",
    "optimize",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'hardprompt' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hardprompt.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)

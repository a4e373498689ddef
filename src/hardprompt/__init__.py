"""hardprompt: finds short, readable text prompts for a frozen language model."""

import importlib

from hardprompt.version import __version__

TYPE_CHECKING = False  # typing's own is not imported: `python -m` would look for it where the user stands
if TYPE_CHECKING:
    from typing import Any

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
_NAMES = {
    "data.tables": "Example",
    "lms.causal": "CausalLM",
    "lms.image_text": "load_image_text",
    "lms.load": "load_causal load_task_lm",
    "lms.masked": "MaskedLM",
    "lms.models": "Models",
    "lms.policy": "PolicyLM",
    "optimizers.best_of_n": "BestOfN",
    "optimizers.qlearning.entropy": "TsallisEntropy",
    "optimizers.qlearning.learner": "QLearner",
    "optimizers.qlearning.qhead": "QHead",
    "runs.search": "find_prompt",
    "search.engine": "Progress Proposal Result Step Trial optimize",
    "search.rewards": "Cached",
    "tasks.classify.reward": "Classification",
    "tasks.classify.task": "ClassifyTask",
    "tasks.invert.reward": "Inversion",
    "tasks.recipe": "Recipe",
    "tasks.restyle.reward": "Restyle",
    "tasks.template": "Template",
}
_WHERE = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = [
    "BestOfN", "Cached", "CausalLM", "Classification", "ClassifyTask", "Example", "Inversion", "MaskedLM", "Models",
    "PolicyLM", "Progress", "Proposal", "QHead", "QLearner", "Recipe", "Restyle", "Result", "Step", "Template",
    "Trial", "TsallisEntropy", "__version__", "find_prompt", "load_causal", "load_image_text", "load_task_lm",
    "optimize",
]  # fmt: skip


def __getattr__(name: str) -> "Any":
    if name not in _WHERE:
        raise AttributeError(f"module 'hardprompt' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hardprompt.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)

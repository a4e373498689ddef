"""hardprompt: finds short, readable text prompts for a frozen language model."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hardprompt.engine import Progress, Proposal, Result, Step, Trial, optimize
    from hardprompt.entropy import TsallisEntropy
    from hardprompt.lms.causal import CausalLM
    from hardprompt.lms.masked import MaskedLM
    from hardprompt.models import load_causal, load_task_lm
    from hardprompt.optimizers.best_of_n import BestOfN
    from hardprompt.optimizers.pin import QLearner
    from hardprompt.policy import PolicyLM, QHead
    from hardprompt.rewards import Cached
    from hardprompt.tasks.classification import Classification, Example
    from hardprompt.tasks.inversion import Inversion
    from hardprompt.tasks.restyle import Restyle
    from hardprompt.tasks.template import Template
    from hardprompt.towers import load_image_text

# Each name is imported from its module on first use, so that `import hardprompt` costs nothing.
_WHERE = {
    "BestOfN": "optimizers.best_of_n",
    "Cached": "rewards",
    "CausalLM": "lms.causal",
    "Classification": "tasks.classification",
    "Example": "tasks.classification",
    "Inversion": "tasks.inversion",
    "MaskedLM": "lms.masked",
    "PolicyLM": "policy",
    "Progress": "engine",
    "Proposal": "engine",
    "QHead": "policy",
    "QLearner": "optimizers.pin",
    "Restyle": "tasks.restyle",
    "Result": "engine",
    "Step": "engine",
    "Template": "tasks.template",
    "Trial": "engine",
    "TsallisEntropy": "entropy",
    "load_causal": "models",
    "load_image_text": "towers",
    "load_task_lm": "models",
    "optimize": "engine",
}
__all__ = [
    "BestOfN", "Cached", "CausalLM", "Classification", "Example", "Inversion", "MaskedLM", "PolicyLM", "Progress",
    "Proposal", "QHead", "QLearner", "Restyle", "Result", "Step", "Template", "Trial", "TsallisEntropy", "load_causal",
    "load_image_text", "load_task_lm", "optimize",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'hardprompt' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hardprompt.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

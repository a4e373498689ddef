"""The promises that every extension keeps, as functions that fail with the reason: a plug-in tests itself with them.

``check_optimizer(build)`` runs all of ``OPTIMIZER_CHECKS``, and so for the others; to have them one by one:

    @pytest.mark.parametrize("check", testing.OPTIMIZER_CHECKS)
    def test_my_optimizer(check):
        check(build)

Nothing here needs a test framework.
"""

from hardprompt.testing.image_text import IMAGE_TEXT_CHECKS, check_image_text
from hardprompt.testing.language_model import LANGUAGE_MODEL_CHECKS, check_language_model
from hardprompt.testing.optimizer import OPTIMIZER_CHECKS, check_optimizer
from hardprompt.testing.recipe import check_recipe
from hardprompt.testing.reward import ITEM_REWARD_CHECKS, REWARD_CHECKS, check_reward
from hardprompt.testing.task import TASK_CHECKS, TaskCase, check_task

__all__ = [
    "IMAGE_TEXT_CHECKS", "ITEM_REWARD_CHECKS", "LANGUAGE_MODEL_CHECKS", "OPTIMIZER_CHECKS", "REWARD_CHECKS",
    "TASK_CHECKS", "TaskCase", "check_image_text", "check_language_model", "check_optimizer", "check_recipe",
    "check_reward", "check_task",
]  # fmt: skip

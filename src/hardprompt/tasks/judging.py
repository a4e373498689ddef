"""The model that measures naturalness: one that took no part, or the policy model where that one is absent."""

import logging
from typing import TYPE_CHECKING

from hardprompt.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from hardprompt.lms.causal import CausalLM
    from hardprompt.lms.models import Models

_LOG = logging.getLogger(__name__)


def judge_of(
    models: "Models", judge: str, *, policy_lm: "CausalLM", policy_model: str, what: str
) -> "tuple[CausalLM, str]":
    """The judge and its name; the policy model stands in for it, with a warning that says what is measured by that."""
    if judge == policy_model:
        return policy_lm, policy_model
    try:
        return models.causal(judge), judge
    except (MissingExtra, InputError) as error:  # the result of a search is not lost for want of a judge
        _LOG.warning("%s is measured by the policy model instead: %s", what, error)
        return policy_lm, policy_model

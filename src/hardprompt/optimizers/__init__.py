"""Search methods: each proposes prompts and learns from their rewards, and knows nothing of the task that it serves."""

from hardprompt.optimizers.registry import DESCRIBED, FLAGS, Method, Need, find, methods

__all__ = ["DESCRIBED", "FLAGS", "Method", "Need", "find", "methods"]

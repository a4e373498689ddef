"""A task of one's own: the shortest prompt that makes a model answer in JSON.

Run it with: hardprompt optimize examples.json_answers:JsonAnswers --length 3 --start "..." (see docs/tasks.md)
"""

import json

from hardprompt import CausalLM, load_causal

QUESTIONS = ("Name a fruit and its colour.", "Who wrote Hamlet?", "Give two prime numbers.", "Where is Kyoto?")


class JsonAnswers:
    """Half a point for a text that opens an object, one for a whole object, less a hundredth for each character."""

    def __init__(self, model: str = "embedded:smollm2") -> None:
        self.lm = CausalLM(*load_causal(model))

    def __call__(self, prompts: list[str]) -> list[float]:
        contexts = [f"{question}\n{prompt}\n" for prompt in prompts for question in QUESTIONS]
        answers = iter(self.lm.generate(contexts, samples=2, longest=24, stop=("\n",)))
        points = [[point(text) for _ in QUESTIONS for text in next(answers)] for _ in prompts]
        return [sum(own) / len(own) - 0.01 * len(prompt) for own, prompt in zip(points, prompts, strict=True)]


def point(answer: str) -> float:
    try:
        return 1.0 if isinstance(json.loads(answer), dict) else 0.0
    except json.JSONDecodeError:
        return 0.5 if answer.lstrip().startswith("{") else 0.0

"""Correlates the reward on training texts with accuracy on other texts, for several sharpnesses of the reward.

    python benchmarks/sharpness.py      # 60 sampled prompts and a few hand-written ones; about ten minutes

Uses the demonstration's training and validation films; no test text is read.
"""

import sys
import tempfile
from pathlib import Path

import torch

from hardprompt import BestOfN, Classification, PolicyLM, Template
from hardprompt.data.films import MANUAL, TEMPLATE, VERBALIZERS, write_data
from hardprompt.data.tables import read_rows
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.load import load_causal

HAND_WRITTEN = [
    MANUAL, "Sentiment:", "The sentiment is", "The tone of this review is", "The review is", "My opinion of it is",
    "The verdict is", "It is", "The film is rated as", "The critic's view was", "This film has become an",
    "The movie was", "Overall the review is", "The mood is", "The text is",
]  # fmt: skip


def main() -> int:
    model, tokenizer = load_causal("embedded:smollm2")
    template = Template(TEMPLATE)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_data(Path(folder), seed=0)
        train, validation = (
            [r.example for r in read_rows(paths[name], text="text", label="label")] for name in ("train", "validation")
        )
    policy = PolicyLM(
        model, tokenizer, start=template.before_prompt("A film that is hard to forget."), spaced=template.spaced
    )
    prompts = list(dict.fromkeys([*BestOfN(policy=policy, seed=5, proposals=60).ask().prompts, *HAND_WRITTEN]))
    lm = CausalLM(model, tokenizer)
    tasks = [
        Classification(lm=lm, examples=e, template=template, verbalizers=VERBALIZERS, keep=False)
        for e in (train, validation)
    ]
    probabilities = [task.probabilities(prompts) for task in tasks]
    accuracy = (probabilities[1].argmax(-1) == tasks[1].labels).double().mean(-1)
    for sharpness in (1.0, 2.0, 4.0, 8.0, 16.0, 1000.0):
        task = Classification(
            lm=lm, examples=train, template=template, verbalizers=VERBALIZERS, keep=False, sharpness=sharpness
        )
        rewards = task.rewards(probabilities[0])
        correlation = torch.corrcoef(torch.stack([rewards, accuracy]))[0, 1]
        print(
            f"sharpness {sharpness:6g}: correlation {correlation:.3f} over {len(prompts)} prompts, {len(train)} texts"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

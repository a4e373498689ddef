"""Learn a prompt for film reviews in ten lines of Python, with any model and any texts."""

from hardprompt import Classification, Example, PolicyLM, QLearner, Template, load_causal, load_task_lm, optimize


def main(model: str = "embedded:smollm2", evaluations: int = 64) -> str:
    texts = [("A joy from start to end.", "good"), ("Two hours that I want back.", "bad"),
             ("Warm, witty and wise.", "good"), ("Loud, long and empty.", "bad")]  # fmt: skip
    template = Template("Review: {text}\n{prompt}")
    reward = Classification(
        lm=load_task_lm(model), template=template, verbalizers={"good": " positive", "bad": " negative"},
        examples=[Example(text, label) for text, label in texts], sharpness=8.0,
    )  # fmt: skip
    policy = PolicyLM(*load_causal(model), start=template.before_prompt(texts[0][0]), spaced=template.spaced)
    learner = QLearner(
        policy=policy, length=4, prior=0.2, normalise="replay", updates=8, learning_rate=5e-4, top_k=None
    )
    result = optimize(learner, reward, evaluations=evaluations)
    return f"{result.best.prompt!r} has reward {result.best.score:.1f} after {result.evaluations} evaluations"


if __name__ == "__main__":
    print(main())

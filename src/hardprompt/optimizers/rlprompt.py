"""RLPrompt and its ablations: the Q-learner with a softmax policy."""

from hardprompt.optimizers import Method
from hardprompt.optimizers.pin import QLearner

# RLPrompt's few-shot classification configuration: reward scale 5 (PIN App. B.3), path consistency (its released
# loss, coefficient unset), on-policy, top-256 sampling by Q, and the settings that it shares with PIN.
_RLPROMPT = {
    "q": 1.0, "alpha": 0.2, "loss": "path_consistency", "replay": 0, "top_k": None, "sample_top": 256,
    "hidden": 2048, "learning_rate": 5e-5, "proposals": 16, "updates": 1, "batch": 256, "rho": 0.001,
    "normalise": "step", "gamma": 1.0, "prior": 0.0, "redraws": 0,
}  # fmt: skip
_FLUENCY = {"top_k": 10_000}  # the value that PIN found best for it (App. D.3)
_REPLAY = {"replay": 100_000}

METHODS = {
    "rlprompt": Method(
        QLearner,
        "softmax policy over all tokens, on-policy soft Q-learning",
        "Deng et al., 2022; PIN App. B.3",
        _RLPROMPT,
        tokens="any",
        in_place=False,
    ),
    "rlprompt-fluency": Method(
        QLearner,
        "RLPrompt over the 10,000 likeliest tokens",
        "PIN App. D.3",
        {**_RLPROMPT, **_FLUENCY},
        tokens="any",
        in_place=False,
    ),
    "rlprompt-rb": Method(
        QLearner,
        "RLPrompt with a replay buffer",
        "PIN section 5.4",
        {**_RLPROMPT, **_REPLAY},
        tokens="any",
        in_place=False,
    ),
    "rlprompt-rb-fluency": Method(
        QLearner,
        "RLPrompt with both",
        "PIN section 5.4",
        {**_RLPROMPT, **_FLUENCY, **_REPLAY},
        tokens="any",
        in_place=False,
    ),
}

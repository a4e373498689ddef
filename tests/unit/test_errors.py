"""What an error says of a name that nobody has: a nearest one for what is mistyped, none for what is another word."""

import itertools

import pytest

from hardprompt.errors import near, unknown
from hardprompt.optimizers import methods
from hardprompt.tasks import TASKS
from hardprompt.tasks.recipe import setting_names

NAMES = {
    "methods": list(methods()),
    "tasks": list(TASKS),
    "settings": setting_names("classify"),
    "columns": ["text", "label", "id", "sentence", "author name"],
}
MEANT = [
    ("methods", "pim", "pin"),
    ("methods", "PIN-Prior", "pin-prior"),
    ("methods", "pin_prior", "pin-prior"),
    ("methods", "rl-prompt", "rlprompt"),
    ("methods", "autopromt", "autoprompt"),
    ("methods", "best_of", "best-of-n"),
    ("methods", "gripps", "grips"),
    ("methods", "demos", None),
    ("tasks", "clasify", "classify"),
    ("tasks", "classification", None),
    ("tasks", "re-style", "restyle"),
    ("settings", "lenght", "length"),
    ("settings", "max-text-tokens", "max_text_tokens"),
    ("settings", "eval", "evaluations"),
    ("settings", "verbalizer", "verbalizers"),
    ("settings", "sead", "seed"),
    ("settings", "batch_size", None),
    ("settings", "optimizer", None),
    ("settings", "epochs", None),
    ("columns", "txt", "text"),
    ("columns", "Text", "text"),
    ("columns", "lable", "label"),
    ("columns", "sent", "sentence"),
    ("columns", "author", "author name"),
    ("columns", "text_raw", "text"),
    ("columns", "textile", None),
    ("columns", "ix", None),
    ("columns", "score", None),
    ("columns", "sentiment", None),
    ("columns", "content", None),
    ("columns", "x", None),
    ("columns", "", None),
    ("columns", "t" * 100_000, None),
]


@pytest.mark.parametrize(("kind", "value", "meant"), MEANT)
def test_a_name_is_proposed_for_a_slip_and_none_for_another_word(kind: str, value: str, meant: str | None) -> None:
    assert next(iter(near(value, NAMES[kind])), None) == meant
    said = str(unknown("name", value, NAMES[kind]))
    assert ("Did you mean" in said) == (meant is not None)
    assert f"Valid: {', '.join(sorted(NAMES[kind]))}." in said


@pytest.mark.parametrize("kind", NAMES)
def test_every_slip_of_one_key_is_found(kind: str) -> None:
    for name in NAMES[kind]:
        if len(name) < 4:
            continue
        slips = {name[:i] + name[i + 1 :] for i in range(len(name))}
        slips |= {name[:i] + name[i] + name[i:] for i in range(len(name))}
        slips |= {name[:i] + name[i + 1] + name[i] + name[i + 2 :] for i in range(len(name) - 1)}
        slips |= {name[:i] + "x" + name[i + 1 :] for i in range(len(name))}
        assert [slip for slip in slips - {*NAMES[kind]} if name not in near(slip, NAMES[kind])[:2]] == []


def test_no_name_is_proposed_for_one_that_shares_few_letters() -> None:
    words = ["colour", "reward", "accuracy", "split", "polarity", "rating", "stars"]
    for one, other in itertools.permutations(words, 2):
        assert near(one, [other]) == []

"""The embedded model with its real weights, on real texts."""

import re
from pathlib import Path
from typing import Any

import pytest

from hardprompt.cli import demo
from hardprompt.data.tables import read_rows
from hardprompt.errors import MissingExtra
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.embedded import EMBEDDED
from hardprompt.lms.load import load_causal
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.vocabulary import survives
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template


@pytest.fixture(scope="module")
def smollm2() -> CausalLM:
    try:
        return CausalLM(*load_causal("embedded:smollm2"))
    except MissingExtra as error:
        pytest.skip(str(error))


def test_a_sentence_is_likelier_than_its_shuffle(smollm2: CausalLM) -> None:
    sense, shuffle = smollm2.perplexity(
        ["The cat sat on the mat and looked out of the window.", "window mat the of cat looked on out the and sat The."]
    ).tolist()
    assert sense * 10 < shuffle


def test_a_hand_written_prompt_beats_chance_on_film_reviews(smollm2: CausalLM, tmp_path: Path) -> None:
    rows = read_rows(demo.write_data(tmp_path, seed=0)["validation"], text="text", label="label")[::4]
    task = Classification(
        lm=smollm2, examples=[r.example for r in rows], template=Template(demo.TEMPLATE), verbalizers=demo.VERBALIZERS
    )
    accuracy = (task.predictions([demo.MANUAL])[0] == task.labels).double().mean()
    assert accuracy > 0.6  # 50 texts, half of each class: chance stays below this 19 times in 20


def test_words_are_whole_and_survive(smollm2: CausalLM) -> None:
    tokenizer: Any = smollm2.tokenizer
    policy = PolicyLM(smollm2.packed.model, tokenizer, spaced=False)
    texts = [tokenizer.decode([i]) for i in policy.follows.nonzero()[:, 0].tolist()]
    assert 5_000 < len(texts) < 40_000  # of 49,152
    assert all(text == text.strip() or text.startswith(" ") for text in texts)
    assert not any("\n" in text or "�" in text for text in texts)
    ids = tokenizer(" The film was", add_special_tokens=False)["input_ids"]
    assert survives(tokenizer, ids)
    assert bool(policy.follows[ids].all())


def test_each_embedded_package_names_its_install_command() -> None:
    """One version is pinned, and the Makefile installs it as the message says: with or without what it depends on."""
    root = Path(__file__).parents[2]
    pinned = [line.partition("==")[0] for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines()]
    makefile = (root / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    alone = re.findall(r"\$\(PIP\) --no-deps (.+)", makefile)
    whole = re.findall(r"\$\(PIP\) (?!--no-deps)(.+)", makefile)
    for entry in EMBEDDED.values():
        command, *flags, package = entry.install.partition(" -m pip ")[2].split()
        assert (command, pinned.count(package)) == ("install", 1)
        lines, others = (alone, whole) if flags == ["--no-deps"] else (whole, alone)
        assert package in " ".join(lines).split()
        assert package not in " ".join(others).split()

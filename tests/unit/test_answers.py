"""What is said of answers before and after a search: length, rivals, spaces, and classes that are never said."""

import logging
from typing import Any

import numpy as np
import pytest
import torch

from hardprompt.data.tables import Example, Row
from hardprompt.errors import InputError
from hardprompt.lms import TaskLM
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.own import load_own
from hardprompt.runs.older import as_meant
from hardprompt.tasks.classify.answers import notes
from hardprompt.tasks.classify.metrics import classification_metrics
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.classify.table import show
from hardprompt.tasks.classify.task import ClassifyTask
from hardprompt.tasks.template import Template
from tests.conftest import Tiny


def said(tokenizer: Any, *words: str, template: str = "{text}{prompt}", **how: Any) -> list[str]:
    settings = {"how": "mean", "blank": "", **how}
    return notes(tokenizer, {str(i): word for i, word in enumerate(words)}, Template(template), **settings)


def test_there_is_nothing_to_say_of_words_of_one_token(tiny_tokenizer: Any) -> None:
    assert said(tiny_tokenizer, " good", " bad", how="sum") == []


def test_an_answer_of_several_tokens_is_said_with_those_of_its_words_that_are_one(tiny_tokenizer: Any) -> None:
    (note,) = said(tiny_tokenizer, " good film", " bad")
    assert "' good film' has 2 tokens" in note
    assert note.endswith("such as ' good' or ' film'.")
    (note,) = said(tiny_tokenizer, " good film", " good")  # its first word is another answer
    assert note.endswith("such as ' film'.")
    (note,) = said(tiny_tokenizer, " xylophone", " good")
    assert note.endswith("but no word of it is one token.")


def test_an_answer_that_begins_another_is_said_where_the_longer_can_only_lose(
    tiny_causal: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    model, tokenizer = tiny_causal
    rival = "' good film' begins with the answer ' good'"
    assert any(rival in note for note in said(tokenizer, " good", " good film", how="sum"))
    assert not any(rival in note for note in said(tokenizer, " good", " good film", how="mean"))
    scores = CausalLM(model, tokenizer).score(["The film was", "It is"], [" good", " good film"])
    assert (scores[:, 0] > scores[:, 1]).all()  # and it does, in every context
    with pytest.raises(InputError, match="same token"):
        said(tokenizer, " good", " good film", how="first")
    rows = [Row("The film", "0"), Row("The dog", "1")]
    with caplog.at_level(logging.WARNING):
        ClassifyTask(
            lm=CausalLM(model, tokenizer), train=rows, validation=rows, test=rows, how="sum",
            template=Template("{text}{prompt}"), verbalizers={"0": " good", "1": " good film"},
        )  # fmt: skip
    assert rival in caplog.text


@pytest.mark.parametrize(
    ("template", "word", "blank", "warned"),
    [
        ("{text}{prompt} ", " good", "", True),
        ("{text}{prompt} is {mask}.", " good", "", True),
        ("{text}{prompt} ", "good", "", False),
        ("{text}{prompt}:", " good", "", False),
        ("{text} {prompt}", " good", "", False),  # the prompt ends it
        ("{text}{prompt} {mask}.", " good", "<mask>", False),
    ],
)
def test_two_spaces_before_an_answer_are_said(
    tiny_tokenizer: Any, template: str, word: str, blank: str, warned: bool
) -> None:
    found = said(tiny_tokenizer, word, " bad" if word[0] == " " else "bad", template=template, blank=blank)
    assert any("ends in a space" in note for note in found) == warned


def test_an_answer_that_holds_the_mask_is_refused(tiny_tokenizer: Any) -> None:
    with pytest.raises(InputError, match="' <mask>' holds the mask token"):
        said(tiny_tokenizer, " <mask>", " bad", blank="<mask>")


def test_a_text_that_holds_the_mask_is_read_as_letters_and_named_and_the_others_are_as_ever(
    tiny_masked: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    lm = MaskedLM(*tiny_masked)
    texts = ["The film was cold.", "A good <mask> and a dog.", "The sea"]
    common: dict[str, Any] = {"template": Template("{text}{prompt}{mask}."), "verbalizers": {"a": " good", "b": " bad"}}
    whole = Classification(lm=lm, examples=[Example(t, "a") for t in texts], **common)
    assert "'<mask>' stands in 1 of 3 texts" in caplog.text
    assert "text 2 ('A good <mask> and a dog.')" in caplog.text
    others = Classification(lm=lm, examples=[Example(t, "a") for t in texts[::2]], **common)
    found = whole.probabilities([" It was"])[0]
    torch.testing.assert_close(found[::2], others.probabilities([" It was"])[0], atol=1e-6, rtol=1e-5)
    read = tiny_masked.tokenizer("A good < mask> and a dog. It was<mask>.")["input_ids"]
    assert read.count(tiny_masked.tokenizer.mask_token_id) == 1
    logits = tiny_masked.model(input_ids=torch.tensor([read])).logits[
        0, read.index(tiny_masked.tokenizer.mask_token_id)
    ]
    words = [tiny_masked.tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in (" good", " bad")]
    torch.testing.assert_close(found[1].float(), logits[words].softmax(-1), atol=1e-5, rtol=1e-4)


def test_a_class_that_has_texts_and_is_never_predicted_is_named() -> None:
    labels, predictions = np.array([0, 0, 1, 1]), np.array([0, 0, 2, 0])
    assert classification_metrics(labels, predictions, ["a", "b", "c", "d"])["never_predicted"] == ["b"]
    assert classification_metrics(labels, np.array([0, 1, 1, 1]), ["a", "b"])["never_predicted"] == []


def test_a_report_names_what_is_never_predicted_on_validation_and_test(tiny_causal: Tiny) -> None:
    rows = [Row("The film was cold", "0"), Row("The dog", "1"), Row("The sea and the sun", "2")]
    task = ClassifyTask(
        lm=CausalLM(*tiny_causal), train=rows, validation=rows, test=rows, template=Template("{text}{prompt}"),
        verbalizers={"0": " good", "1": " bad", "2": " great"},
    )  # fmt: skip
    report = task.report(" It was")
    found = report["test"]["never_predicted"]
    counts = np.array(report["test"]["confusion"]).sum(0)
    assert found == [name for name, count in zip("012", counts, strict=True) if count == 0]
    assert report["never_predicted_in_validation"] == found  # the same texts
    assert found  # three texts, and a model that knows nothing
    names = ", ".join(f"`{name}`" for name in found)
    assert f"It never predicted there: {names}." in task.card({**report, "prompt": " It was"})
    common: dict[str, Any] = {"perplexity": None, "perplexity_by": "a judge", "evaluations": 1, "seconds": 1.0}
    baselines = [{**row, **common} for row in report["baselines"]]
    result = {**report, **common, "method": "pin", "prompt": " It was", "support_size": None, "baselines": baselines}
    shown = [line for line in show(result) if isinstance(line, str)]
    assert f'Never predicted on test with " It was" (pin): {", ".join(found)}.' in shown
    assert f"Never predicted on validation with the found prompt: {', '.join(found)}." in shown


def test_what_version_0_1_wrote_is_read_as_it_was_meant() -> None:
    old = {"task": "classify", "template": r"{text}\n{prompt}", "versions": {"hardprompt": "0.1.0"}}
    assert as_meant(old) == {**old, "template": "{text}\n{prompt}"}
    new = {**old, "template": r"{text} $\nabla$ {prompt}", "versions": {"hardprompt": "0.2.0"}}
    assert as_meant(new) == new
    restyled = {"task": "restyle", "versions": {"hardprompt": "0.1.0"}}
    assert as_meant({**restyled, "test_on": 5}) == {**restyled, "test_rows": 5}
    by_hand = {"template": r"{text} $\nabla$ {prompt}"}
    assert as_meant(by_hand) == by_hand
    for other in ({"task": "invert", "versions": {"hardprompt": "0.1.0"}}, {**by_hand, "versions": 3}):
        assert as_meant(other) == other


def test_a_model_of_ones_own_that_knows_no_way_of_scoring_is_told_so(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_old_model.py").write_text(
        "class Old:\n"
        "    blank, context_length, tokens_run = '', None, 0\n"
        "    def score(self, contexts, choices): ...\n"
        "    def prepare(self, contexts): ...\n"
        "    count = truncate = prepare\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"Old: its score\(\) does not take after, how, as that of TaskLM does"):
        load_own("task model", "my_old_model:Old", TaskLM)  # type: ignore[type-abstract]

"""Style models: logistic regression against numpy and scikit-learn, ready classifiers, and the user's function."""

import logging
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from sklearn.linear_model import LogisticRegression
from transformers import GPT2ForSequenceClassification, RobertaForSequenceClassification

from hardprompt.cli import demo
from hardprompt.errors import InputError, MissingExtra, RewardError
from hardprompt.lms.embedding import Embedder, load_embedder
from hardprompt.tasks.restyle.styles import (
    LEAST,
    FunctionStyle,
    NamedStyle,
    StyleModel,
    TrainedStyle,
    function_style,
    named_style,
    train_style,
)  # fmt: skip
from tests.conftest import ENGLISH, EOS, Tiny, make_tiny

THINGS = ("film", "food", "room", "book", "game", "team", "market", "service", "man", "dog")
GOOD = [f"The {thing} was {word} and we had a good time." for thing in THINGS for word in ("great", "kind", "warm")]
BAD = [f"The {thing} was {word}, and we had no time." for thing in THINGS for word in ("bad", "cold", "slow")]
TEXTS = ["The film was great.", "A good book", "", "The sea", "The film was bad.", "  ", "A cold book"]


@pytest.fixture(scope="module")
def embedder(tiny_masked: Tiny) -> Embedder:
    return Embedder(tiny_masked.model.base_model, tiny_masked.tokenizer, name="tiny")


def classifier(arch: str, **changes: Any) -> Any:
    """A tiny random classifier with three labels."""
    config = make_tiny(arch).config
    config.update({"num_labels": 3, "id2label": {0: "calm", 1: "angry", 2: "1"}, **changes})
    cls: Any = {"roberta": RobertaForSequenceClassification, "gpt2": GPT2ForSequenceClassification}[arch]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return cls(config).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_masked: Tiny) -> Path:
    """A folder that holds a tiny random classifier."""
    path = tmp_path_factory.mktemp("classifier")
    classifier("roberta").save_pretrained(path)
    tiny_masked.tokenizer.save_pretrained(path)
    return path


class TestTrained:
    def test_it_is_the_sigmoid_of_a_line(self, embedder: Embedder) -> None:
        rng = np.random.default_rng(0)
        weight, bias = rng.normal(size=32), 0.3
        found = TrainedStyle(embedder, weight=torch.from_numpy(weight), bias=bias).target(TEXTS)
        logits = embedder.sentences(TEXTS).double().numpy() @ weight + bias
        expected = np.where([bool(t.strip()) for t in TEXTS], 1 / (1 + np.exp(-logits)), 0.0)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)

    def test_each_classifier_is_scikit_learns_on_its_own_half(self, embedder: Embedder) -> None:
        reward, test, report = train_style(embedder, BAD, GOOD, seed=3)
        shuffled = [random.Random(f"3 {i}").sample(texts, len(texts)) for i, texts in enumerate((BAD, GOOD))]
        held = 6
        assert report["held_out"] == 2 * held
        halves = ([t[held::2] for t in shuffled], [t[held + 1 :: 2] for t in shuffled])
        assert not {*halves[0][0], *halves[0][1]} & {*halves[1][0], *halves[1][1]}
        probe = [t for texts in shuffled for t in texts[:held]]
        for name, model, (bad, good) in zip(("reward", "test"), (reward, test), halves, strict=True):
            x = embedder.sentences([*bad, *good]).double().numpy()
            fitted = LogisticRegression(class_weight="balanced", max_iter=1000).fit(x, [0] * len(bad) + [1] * len(good))
            expected = fitted.predict_proba(embedder.sentences(probe).double().numpy())[:, 1]
            np.testing.assert_allclose(model.target(probe).numpy(), expected, atol=1e-6)
            right = (expected > 0.5) == np.repeat([False, True], held)
            assert report[name]["accuracy"] == pytest.approx(right.mean())
            low, high = report[name]["interval"]
            assert low <= right.mean() <= high

    def test_the_seed_parts_the_texts_and_the_order_of_repeats_does_not_matter(self, embedder: Embedder) -> None:
        once, other, again = (train_style(embedder, BAD, GOOD, seed=seed)[0] for seed in (0, 1, 0))
        assert torch.equal(once.weight, again.weight)
        assert not torch.equal(once.weight, other.weight)

    def test_repeats_count_once_and_what_stands_in_both_styles_not_at_all(
        self, embedder: Embedder, caplog: pytest.LogCaptureFixture
    ) -> None:
        shared = ["The film was new.", "The dog was old."]
        with caplog.at_level(logging.WARNING):
            first, _, report = train_style(
                embedder, [*BAD, BAD[0], f" {BAD[1]} ", *shared], [*GOOD, "", "  ", *shared], seed=0
            )
        assert report["texts"] == {"source": len(BAD), "target": len(GOOD)}
        assert (report["duplicates"], report["dropped"]) == (2, 2)
        assert "2 texts stand in both styles" in caplog.text
        assert torch.equal(first.weight, train_style(embedder, BAD, GOOD, seed=0)[0].weight)

    def test_as_many_of_each_style_are_held_out(self, embedder: Embedder) -> None:
        many = [f"{text} {more}" for text in BAD for more in ("She said.", "He said.", "We said.")]
        reward, _, report = train_style(embedder, many, GOOD, seed=0)
        assert report["held_out"] == 12
        # A classifier that ignored the balance would call nearly everything the style with more texts.
        assert float(reward.target(GOOD).mean()) > 0.5 > float(reward.target(many).mean())

    def test_too_few_texts_are_refused_with_their_number(self, embedder: Embedder) -> None:
        with pytest.raises(InputError, match=rf"30 source and 19 target texts .* 21 given; {LEAST} different"):
            train_style(embedder, BAD, [*GOOD[:19], GOOD[0], ""], seed=0)

    def test_a_weak_classifier_says_so(self, embedder: Embedder, caplog: pytest.LogCaptureFixture) -> None:
        numbers = [f"{a}{b}{c}" for a in range(5) for b in range(5) for c in range(4)]  # of no style at all
        with caplog.at_level(logging.WARNING):
            *_, report = train_style(embedder, numbers[::2], numbers[1::2], seed=0)
        for name in ("reward", "test"):
            assert (report[name]["accuracy"] < 0.7) == (f"classifier of the {name} is right for" in caplog.text)
        assert "its scores say little" in caplog.text

    def test_a_file_keeps_it_to_the_last_bit(self, embedder: Embedder, tmp_path: Path) -> None:
        model = train_style(embedder, BAD, GOOD, seed=0)[0]
        model.save(tmp_path / "style.safetensors")
        assert [p.name for p in tmp_path.iterdir()] == ["style.safetensors"]
        with safe_open(tmp_path / "style.safetensors", "pt") as file:
            assert file.metadata() == {"embedder": "tiny"}
            weight, bias = file.get_tensor("weight"), file.get_tensor("bias")
        assert torch.equal(weight, model.weight)
        assert weight.dtype == bias.dtype == torch.float64
        again = TrainedStyle(embedder, weight=weight, bias=float(bias))
        assert torch.equal(again.target(TEXTS), model.target(TEXTS))

    def test_real_weights_tell_liked_films_from_others(self) -> None:
        try:
            minilm, rows = load_embedder("embedded:minilm"), demo.films()
        except MissingExtra as error:
            pytest.skip(str(error))
        liked, not_liked = (
            random.Random(0).sample([text for text, found, _ in rows if found == label], 250)
            for label in ("positive", "negative")
        )
        both = train_style(minilm, not_liked[:150], liked[:150], seed=0)[:2]
        right = [
            (model.target(texts) > 0.5) == wanted
            for model in both
            for texts, wanted in ((not_liked[150:], False), (liked[150:], True))
        ]
        # 200 texts, each judged twice: chance stays below this 99 times in 100.
        assert float(torch.cat(right).double().mean()) > 0.6


class TestNamed:
    def test_it_is_the_softmax_of_a_plain_pass(self, folder: Path, tiny_masked: Tiny) -> None:
        model = classifier("roberta")
        found = named_style(str(folder), "angry")
        assert found.name == f"{folder}, label angry"
        assert isinstance(found, StyleModel)
        lines = [*TEXTS, *ENGLISH.strip().splitlines()]
        for text, chance in zip(lines, found.target(lines).tolist(), strict=True):
            with torch.no_grad():
                logits = model(torch.tensor([tiny_masked.tokenizer(text)["input_ids"]])).logits[0]
            expected = float(logits.exp()[1] / logits.exp().sum()) if text.strip() else 0.0
            assert chance == pytest.approx(expected, abs=1e-5)
        assert found.target([]).shape == (0,)
        assert found.target([" ".join(lines)]).shape == (1,)  # beyond the model's limit

    def test_a_label_is_a_name_or_an_index_and_the_name_wins(self, folder: Path) -> None:
        all_labels = torch.stack([named_style(str(folder), label).target(TEXTS) for label in ("calm", "angry", "1")])
        assert all_labels.sum(0).tolist() == pytest.approx([float(bool(t.strip())) for t in TEXTS], abs=1e-6)
        assert torch.equal(named_style(str(folder), "2").target(TEXTS), all_labels[2])
        assert torch.equal(named_style(str(folder), "0").target(TEXTS), all_labels[0])
        with pytest.raises(InputError, match=r"'angri'. Did you mean 'angry'\? Valid: 1, angry, calm"):
            named_style(str(folder), "angri")

    def test_labels_that_do_not_exclude_each_other_have_a_chance_each(self, tiny_masked: Tiny) -> None:
        model = classifier("roberta", problem_type="multi_label_classification")
        found = NamedStyle(model, tiny_masked.tokenizer, label=1, name="many").target(TEXTS[:1])
        with torch.no_grad():
            logits = model(torch.tensor([tiny_masked.tokenizer(TEXTS[0])["input_ids"]])).logits[0]
        assert found.tolist() == pytest.approx([1 / (1 + math.exp(-float(logits[1])))], abs=1e-5)

    @pytest.mark.parametrize("padding", [None, EOS])
    def test_a_model_that_reads_from_left_to_right(self, padding: int | None, tiny_causal: Tiny) -> None:
        model = classifier("gpt2", pad_token_id=padding)
        found = NamedStyle(model, tiny_causal.tokenizer, label=0, name="left").target(TEXTS)
        for text, chance in zip(TEXTS, found.tolist(), strict=True):
            with torch.no_grad():
                logits = model(torch.tensor([tiny_causal.tokenizer(text)["input_ids"]])).logits[0]
            assert chance == pytest.approx(float(logits.softmax(-1)[0]) if text.strip() else 0.0, abs=1e-5)

    def test_a_model_without_a_trained_head_is_refused(self, tmp_path: Path, tiny_masked: Tiny) -> None:
        tiny_masked.model.save_pretrained(tmp_path)
        tiny_masked.tokenizer.save_pretrained(tmp_path)
        with pytest.raises(InputError, match=r"is a masked language model .* a classifier of texts is needed here"):
            named_style(str(tmp_path), "0")

    def test_other_models_are_refused(self, tmp_path: Path, tiny_of: Any, tiny_masked: Tiny) -> None:
        tiny = tiny_of("gpt2")
        cohere, single = tmp_path / "cohere", tmp_path / "single"
        tiny_of("cohere").model.save_pretrained(cohere)
        tiny.tokenizer.save_pretrained(cohere)
        with pytest.raises(InputError, match=r"is a causal language model \(cohere"):
            named_style(str(cohere), "0")
        classifier("roberta", num_labels=1, id2label={0: "only"}).save_pretrained(single)
        tiny_masked.tokenizer.save_pretrained(single)
        with pytest.raises(InputError, match="has one label"):
            named_style(str(single), "only")
        with pytest.raises(InputError, match=r"a folder without config\.json"):
            named_style(str(tmp_path), "0")


class TestFunction:
    @given(texts=st.lists(st.text(max_size=5), max_size=6))
    def test_it_is_asked_about_what_is_there(self, texts: list[str]) -> None:
        asked: list[str] = []

        def half(given: list[str]) -> list[float]:
            asked.extend(given)
            return [0.5] * len(given)

        found = FunctionStyle(half, name="half").target(texts)
        assert found.tolist() == [0.5 if text.strip() else 0.0 for text in texts]
        assert asked == [text for text in texts if text.strip()]

    @pytest.mark.parametrize("values", [[0, True], (0.0, 1), np.array([0.0, 1.0]), torch.tensor([0.0, 1.0])])
    def test_any_numbers_will_do(self, values: Any) -> None:
        assert FunctionStyle(lambda texts: values, name="f").target(["a", "b"]).tolist() == [0.0, 1.0]

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([0.5], "returned 1 values for 2 texts, the first 'a'"),
            ([0.5, 1.5], "returned '1.5' for 'b'; a number from 0 to 1"),
            ([-0.1, 0.5], "returned '-0.1' for 'a'"),
            ([0.5, math.nan], "returned 'nan' for 'b'"),
            ([0.5, "0.5x"], "returned '0.5x' for 'b'"),
            (["0.5", 0.5], "returned '0.5' for 'a'"),
            ([0.5, None], "returned 'None' for 'b'"),
            (torch.ones(2, 2), "for 'a'; a number"),
            (np.ones((2, 2)), "for 'a'; a number"),
            (None, "failed for 2 texts, the first 'a': TypeError"),
            (0.5, "failed for 2 texts"),
        ],
    )
    def test_what_is_no_probability_names_the_text(self, values: Any, message: str) -> None:
        with pytest.raises(RewardError, match=message) as caught:
            FunctionStyle(lambda texts: values, name="m:f").target(["a", "b"])
        assert "'m:f'" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_its_own_failure_is_told_in_a_line(self) -> None:
        def fail(texts: list[str]) -> list[float]:
            raise KeyError("no such word\nand a long story")

        with pytest.raises(RewardError, match=r"'m:f' failed for 1 texts, the first 'a': KeyError: .*no such word"):
            FunctionStyle(fail, name="m:f").target(["a"])

    def test_it_is_found_where_the_user_stands(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "my_styles.py").write_text(
            "CONSTANT = 3\ndef polite(texts):\n    return [float('please' in t) for t in texts]\n", encoding="utf-8"
        )
        (tmp_path / "my_broken.py").write_text("raise RuntimeError('not today\\nnor tomorrow')\n", encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))  # so that it is taken back
        found = function_style("my_styles:polite")
        assert isinstance(found, StyleModel)
        assert found.name == "my_styles:polite"
        assert found.target(["Sit down, please.", "Sit!"]).tolist() == [1.0, 0.0]
        for name, message in (
            ("my_styles:rude", "unknown name in my_styles 'rude'"),
            ("my_styles:CONSTANT", "is a int, which cannot be called"),
            ("my_broken:polite", "RuntimeError: not today"),
            ("no_such_module:polite", "No module named 'no_such_module'"),
            ("my_styles", "is not MODULE:NAME"),
            (":polite", "is not MODULE:NAME"),
        ):
            with pytest.raises(InputError, match=message) as caught:
                function_style(name)
            assert "\n" not in str(caught.value)

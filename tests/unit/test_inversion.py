"""The caption that is scored and pasted, and the reward of pictures."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.tasks.invert.reward import Inversion

PICTURE = Image.new("RGB", (4, 4))


class Wordy:
    """A model that counts words, for which pictures are (1, 0) and a text's cosine is given by a table."""

    name = "wordy"
    stand_in: str | None = None
    text_limit = 40

    def __init__(self, cosines: dict[str, float] | None = None) -> None:
        self.cosines = cosines or {}
        self.embedded = 0

    def images(self, images: Sequence[Any]) -> Tensor:
        self.embedded += len(images)
        return torch.tensor([[1.0, 0.0]] * len(images))

    def texts(self, texts: Sequence[str]) -> Tensor:
        cosines = torch.tensor([self.cosines.get(text, 0.5) for text in texts])
        return torch.stack([cosines, (1 - cosines**2).sqrt()], -1)

    def count(self, text: str) -> int:
        return len(text.split()) + 2

    tokenizer: Any = None
    embedding: Any = None

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        raise NotImplementedError

    def padding(self, tokens: int, /) -> int:
        raise NotImplementedError

    def read(self, ids: Sequence[Sequence[int]]) -> Tensor:
        raise NotImplementedError


def task(**changes: Any) -> Inversion:
    return Inversion(**{"model": Wordy(), "images": [PICTURE], **changes})


@pytest.mark.parametrize(
    ("before", "require", "prompt", "caption"),
    [
        ("", [], " a cat ", "a cat"),
        ("a photo of", [], " a cat", "a photo of a cat"),
        ("a photo of", [], "a cat", "a photo of a cat"),
        ("a photo of ", [], "  a\n cat", "a photo of a cat"),
        ("a photo", [], ", sharp", "a photo, sharp"),
        ("a photo of", [], "", "a photo of"),
        ("", [], "", ""),
        ("", ["cat"], "", "cat"),
        ("a photo of", ["cat"], " a dog", "a photo of a dog, cat"),
        ("a photo of", ["cat", "sea"], " a dog", "a photo of a dog, cat, sea"),
        ("a photo of", ["cat"], " a CAT!", "a photo of a CAT!"),
        ("a photo of", ["cat"], " a category", "a photo of a category, cat"),
        ("a photo of", ["cat"], " a cat_1", "a photo of a cat_1, cat"),
        ("a photo of", ["photo"], " a dog", "a photo of a dog"),
        ("", ["red  cat", "cat"], "dog", "dog, red cat"),
        ("", ["cat", "Cat"], "dog", "dog, cat"),
        ("", ["c++"], "c", "c, c++"),
        ("", ["c++"], "I like C++.", "I like C++."),
        ("", ["a.c"], "abc", "abc, a.c"),
        ("", ["Straße"], "die straße", "die straße"),
    ],
)
def test_captions_are_exact(before: str, require: list[str], prompt: str, caption: str) -> None:
    assert task(before=before, require=require).complete(prompt) == caption


letters = st.text(alphabet="abA é,.-_\t\n", max_size=12)
words = letters.filter(str.strip)


@pytest.mark.parametrize(
    ("before", "said", "prompt"),
    [
        ("a photo", "a photograph of a cat", "a photograph of a cat"),
        ("a photo", "a photo-realistic cat", "a photo-realistic cat"),
        ("a photo", "a  photo\nof a cat", "of a cat"),
        ("a photo", "a photo, of a cat", ", of a cat"),
        ("a photo of", "a photo of", ""),
        ("a photo of", "A cat", "A cat"),
        ("", "a cat", "a cat"),
    ],
)
def test_a_written_caption_loses_its_beginning_by_words(before: str, said: str, prompt: str) -> None:
    it = task(before=before)
    assert it.prompt_of(said) == prompt
    if " ".join(said.split()).startswith(before) and prompt != said:
        assert it.complete(prompt) == " ".join(said.split())


@given(before=letters, require=st.lists(words, max_size=3), prompt=letters)
def test_a_caption_begins_as_asked_and_has_the_required_words(before: str, require: list[str], prompt: str) -> None:
    it = task(before=before, require=require)
    caption = it.complete(prompt)
    assert caption.startswith(" ".join(before.split()))
    assert " ".join(prompt.split()) in caption
    assert caption == " ".join(caption.split())
    for word in require:
        assert " ".join(word.split()).lower() in caption.lower()
    if not before.strip():
        assert it.complete(caption) == caption


def test_forbidden_words_are_whole_words_in_any_case_and_cost_more_than_a_cosine_can_mend() -> None:
    cosines = {"the worst": -1.0, "the best dog": 1.0, "a Dog and a CAT": 1.0, "hotdog": 0.25}
    model = Wordy(cosines)
    it = task(model=model, forbid=["dog", "cat"])
    prompts = list(cosines)
    torch.testing.assert_close(it(prompts), torch.tensor([-1.0, -1.0, -3.0, 0.25], dtype=torch.float64))
    assert [it.allowed(prompt) for prompt in prompts] == [True, False, False, True]
    assert it.scores(prompts)[:, 0].tolist() == list(cosines.values())


def test_a_phrase_may_be_forbidden() -> None:
    it = task(before="a hot", forbid=["hot  air balloon"])
    assert not it.allowed("air balloon")
    assert it.allowed("balloon")


def test_pictures_are_embedded_once_and_averaged() -> None:
    model = Wordy({"x": 0.2})
    it = task(model=model, images=[PICTURE] * 3)
    assert it.scores(["x"]).shape == (1, 3)
    torch.testing.assert_close(it(["x"]), torch.tensor([0.2], dtype=torch.float64))
    assert model.embedded == 3


def test_an_overlong_proposal_is_worse_than_a_forbidden_word_and_ends_no_search() -> None:
    it = task(model=Wordy({"dog": -1.0, "a cat": 0.9}), forbid=["dog"])
    fine, forbidden, long = it(["a cat", "dog", "word " * 60]).tolist()
    assert fine == pytest.approx(0.9)
    assert long <= forbidden == pytest.approx(-3.0)
    assert [it.allowed(p) for p in ("a cat", "dog", "word " * 60)] == [True, False, False]


def test_an_overlong_caption_is_refused_with_the_limit() -> None:
    it = task(before="a photo of", require=["cat"])
    assert it.allowed("dog " * 34)
    assert not it.allowed("dog " * 35)
    with pytest.raises(InputError, match="has 62 tokens; 'wordy' reads at most 40"):
        task(before="dog " * 60)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": []}, "no image"),
        ({"require": ["cat", " "]}, "a required word is empty"),
        ({"forbid": [""]}, "a forbidden word is empty"),
        ({"require": ["Cat"], "forbid": ["cat"]}, "'cat' is forbidden, and required in 'Cat'"),
        ({"require": ["red cat"], "forbid": ["cat"]}, "required in 'red cat'"),
        ({"before": "a Photo of", "forbid": ["photo"]}, "'photo' is in the beginning 'a Photo of'"),
    ],
)
def test_contradictions_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        task(**changes)

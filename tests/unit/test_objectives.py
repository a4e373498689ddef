"""Losses with gradients: the same numbers as the rewards' own scoring, and the slopes of finite differences."""

import copy
import math
from typing import Any

import pytest
import torch
from tokenizers import AddedToken

from hardprompt.data.tables import Example
from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.tokens import special_ids
from hardprompt.optimizers.gradient.objective import gradient
from hardprompt.optimizers.gradient.soft import SoftPrompts
from hardprompt.tasks.classify import loss as loss_module
from hardprompt.tasks.classify.prior import Calibration
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template
from tests.conftest import ARCHITECTURES, RESCALED, WINDOWED, make_tiny
from tests.kinds import KINDS, tiny_with

EXAMPLES = [
    Example("The film was a great story", "good"),
    Example("It was not bad ", "bad"),  # as a table may have it
    Example("The service was slow and the food was cold, but the room was clean", "bad"),
    Example("What a great day it was", "good"),
]
ONE = {"good": " great", "bad": " bad"}
MANY = {"good": " it is kind and warm", "bad": " it is cold"}  # several tokens, the first of them shared
PROMPT = " the man said"


def task(lm: Any, template: str, words: dict[str, str], **options: Any) -> Classification:
    return Classification(lm=lm, examples=EXAMPLES, template=Template(template), verbalizers=words, **options)


def vectors(objective: Any, *prompts: str) -> torch.Tensor:
    return torch.stack(
        [objective.table[objective.tokenizer(p, add_special_tokens=False)["input_ids"]] for p in prompts]
    )


def typed(objective: Any, prompt: str) -> str:
    """What a search would put into the template for the tokens of this prompt."""
    return str(objective.text(objective.tokenizer(prompt, add_special_tokens=False)["input_ids"]))


@pytest.mark.parametrize("words", [ONE, MANY], ids=["one token", "several tokens"])
@pytest.mark.parametrize(
    "template", ["{text}{prompt}", "{prompt}\n{text}", "{text}{prompt}. In a word:", "{text} {prompt} so"]
)
@pytest.mark.parametrize("arch", [*ARCHITECTURES, *WINDOWED, *RESCALED, "phi"])
def test_a_causal_loss_at_a_prompts_own_vectors_is_the_rewards_view_of_its_text(
    tiny_of: Any, arch: str, template: str, words: dict[str, str]
) -> None:
    reward = task(CausalLM(*tiny_of(arch)), template, words)
    objective = reward.objective()
    prompts = [PROMPT, " a good book"]
    expected = reward.probabilities([typed(objective, prompt) for prompt in prompts])
    found = objective.scores(vectors(objective, *prompts)).softmax(-1).double()
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    cross_entropy = -expected.log()[:, torch.arange(len(EXAMPLES)), reward.labels].mean(-1)
    torch.testing.assert_close(
        objective.loss(vectors(objective, *prompts)).double(), cross_entropy, atol=1e-4, rtol=1e-3
    )


@pytest.mark.parametrize("words", [ONE, MANY], ids=["one token", "several tokens"])
@pytest.mark.parametrize(
    "template",
    [
        "{text}{prompt}{mask}.", "{mask}{prompt} {text}", "{prompt} {text} it was{mask}", "{text}{mask}{prompt}",
        "{text} {prompt} {mask} .", "{mask} {prompt} {text}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("swallows", [False, True], ids=["mask", "mask that takes the space before it"])
def test_a_masked_loss_at_a_prompts_own_vectors_is_the_rewards_view_of_its_text(
    tiny_masked: Any, template: str, words: dict[str, str], swallows: bool
) -> None:
    tokenizer = copy.deepcopy(tiny_masked.tokenizer)
    if swallows:  # as RoBERTa's does
        tokenizer.add_special_tokens({"mask_token": AddedToken("<mask>", lstrip=True, special=True)})
    reward = task(MaskedLM(tiny_masked.model, tokenizer), template, words)
    objective = reward.objective()
    found = objective.scores(vectors(objective, PROMPT)).softmax(-1).double()
    torch.testing.assert_close(found, reward.probabilities([typed(objective, PROMPT)]), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{text}\n{prompt}", {"good": " good", "bad": " bad"}),
        ("{text}\n{prompt}{mask}.", {"good": "good", "bad": "bad story"}),
        ("{text} {prompt} It was", {"good": "good", "bad": "bad story"}),
        ("{text}{prompt} so", {"good": " good", "bad": " bad"}),
        ("{prompt} {text} is", {"good": " good", "bad": " bad"}),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_causal_loss_is_of_the_tokens_that_are_read(kind: str, template: str, words: dict[str, str]) -> None:
    """However the tokenizer begins a text, each answer's probability is that of one plain forward of the whole."""
    lm = tiny_with(kind)
    tokenizer = lm.tokenizer
    objective = task(lm, template, words).objective(tokens="words")
    opening = next(i for i in objective.opens.nonzero()[:, 0].tolist() if len(objective.text([i]).strip()) > 2)
    ids = [opening, int(tokenizer("a film", add_special_tokens=False)["input_ids"][-1])]
    expected = torch.zeros(2, 2)
    closing = len(special_ids(tokenizer)[1])
    for i, example in enumerate(EXAMPLES[:2]):
        before, after = Template(template).fill(example.text, objective.text(ids))
        whole = tokenizer(before)["input_ids"]
        start = len(whole) - closing
        for j, word in enumerate(words.values()):
            read = tokenizer(before + word + after)["input_ids"]
            read = read[: len(read) - closing]
            assert read[:start] == whole[:start]
            with torch.no_grad():
                log_p = lm.model(input_ids=torch.tensor([read])).logits[0].log_softmax(-1)
            expected[i, j] = sum(log_p[k - 1, read[k]] for k in range(start, len(read)))
    found = objective.scores(objective.table[torch.tensor([ids])])[0, :2]
    torch.testing.assert_close(found.softmax(-1), expected.softmax(-1), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "template",
    ["{text}\n{prompt}{mask}.", "{text} {prompt} {mask}", "{mask} {prompt} {text}", "{prompt}\n{text} it{mask}"],
)
@pytest.mark.parametrize("kind", ["whole words", "wordpiece"])
def test_a_masked_loss_is_of_the_tokens_that_are_read(kind: str, template: str) -> None:
    """However the tokenizer takes white space, each answer's probability is that of one plain forward of the whole."""
    tokenizer = tiny_with(kind).tokenizer
    lm, (one, other) = (
        MaskedLM(make_tiny("roberta"), tokenizer),
        tokenizer("the was", add_special_tokens=False)["input_ids"],
    )
    objective = task(lm, template, {"good": " the", "bad": " was"}).objective(tokens="words")
    opens = objective.opens.nonzero()[:, 0].tolist()
    ids = [
        [first, int(tokenizer("a film", add_special_tokens=False)["input_ids"][-1])]
        for first in opens[:: len(opens) // 4]
    ]
    expected = torch.zeros(len(ids), len(EXAMPLES), 2)
    for p, prompt in enumerate(ids):
        for i, example in enumerate(EXAMPLES):
            read = tokenizer(lm.blank.join(Template(template).fill(example.text, objective.text(prompt))))["input_ids"]
            with torch.no_grad():
                logits = lm.model(input_ids=torch.tensor([read])).logits[0, read.index(tokenizer.mask_token_id)]
            expected[p, i] = logits[[one, other]]
    found = objective.scores(objective.table[torch.tensor(ids)])
    torch.testing.assert_close(found.softmax(-1), expected.softmax(-1), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("calibrate", ["none", "batch", "affine"])
@pytest.mark.parametrize("arch", ["llama", "gpt2", "roberta"])
def test_the_gradient_is_that_of_finite_differences(
    tiny_of: Any, arch: str, calibrate: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_module, "_ROWS", 4)  # several groups of texts
    tiny = tiny_of(arch)
    lm = MaskedLM(*tiny) if arch == "roberta" else CausalLM(*tiny)
    template = "{text}{prompt}{mask}." if arch == "roberta" else "{text}{prompt}"
    objective = task(lm, template, MANY, calibrate=calibrate).objective()
    at = vectors(objective, PROMPT)
    loss, slope = gradient(objective, at)
    assert slope.shape == at.shape
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        direction = torch.randn(at.shape, generator=generator)
        step = 1e-2 / float(direction.norm())
        ahead, behind = (objective.loss(at + s * step * direction) for s in (1, -1))
        assert float((ahead - behind) / (2 * step)) == pytest.approx(
            float((slope * direction).sum()), rel=2e-2, abs=2e-4
        )
    assert float(loss) == pytest.approx(float(objective.loss(at)))


def test_a_gradient_leaves_the_model_as_it_was(tiny_causal: Any) -> None:
    reward = task(CausalLM(*tiny_causal), "{text}{prompt}", ONE)
    before = reward.probabilities([PROMPT])
    objective = reward.objective()
    gradient(objective, vectors(objective, PROMPT))
    assert all(p.grad is None for p in tiny_causal.model.parameters())
    assert torch.equal(task(CausalLM(*tiny_causal), "{text}{prompt}", ONE).probabilities([PROMPT]), before)


def test_many_prompts_at_once_are_each_prompt_alone(tiny_causal: Any) -> None:
    objective = task(CausalLM(*tiny_causal), "{text}{prompt}", ONE).objective()
    several = torch.randn(70, 3, objective.table.shape[1], generator=torch.Generator().manual_seed(1))
    whole = objective.loss(several)
    alone = torch.cat([objective.loss(v[None]) for v in several])
    torch.testing.assert_close(whole, alone, atol=1e-5, rtol=1e-5)


def test_a_prompt_behind_the_answer_is_refused_with_the_reason(tiny_causal: Any) -> None:
    with pytest.raises(InputError, match=r"before \{mask\}"):
        task(CausalLM(*tiny_causal), "{text}{mask}{prompt}", ONE).objective()


@pytest.mark.unchecked
def test_a_model_without_gradients_is_refused_with_the_reason() -> None:
    class Remote:
        blank, context_length = "", None

        def prepare(self, contexts: Any) -> None:
            pass

    with pytest.raises(InputError, match="gives no gradients"):
        task(Remote(), "{text}{prompt}", ONE).objective()


def test_a_soft_prompt_is_scored_by_its_vectors(tiny_causal: Any) -> None:
    soft = SoftPrompts()
    reward = task(CausalLM(*tiny_causal), "{text}{prompt}", ONE, soft=soft)
    objective = reward.objective()
    assert objective.soft is soft
    name = soft.add(vectors(objective, PROMPT)[0])
    other = soft.add(torch.zeros(2, objective.table.shape[1]))
    both = reward([name, PROMPT, other])
    assert float(both[0]) == pytest.approx(float(both[1]), abs=1e-2)
    assert float(both[2]) != pytest.approx(float(both[1]), abs=1e-2)
    assert math.isfinite(float(both[2]))


def test_soft_prompts_are_named_after_their_numbers_and_come_back_from_a_state() -> None:
    soft, again = SoftPrompts(), SoftPrompts()
    names = [soft.add(torch.full((2, 3), float(i))) for i in (1, 2, 1)]
    assert names[0] == names[2] != names[1]
    again.restore({name: soft[name] for name in names})
    again.keep([names[1]])
    assert names[0] in soft
    assert names[0] not in again
    assert torch.equal(again[names[1]], torch.full((2, 3), 2.0))


def test_parts_of_the_loss_add_up_and_so_do_their_gradients(tiny_causal: Any) -> None:
    lm = CausalLM(*tiny_causal)
    many = [Example(f"{e.text} {i}", e.label) for i in range(40) for e in EXAMPLES]
    objective = Classification(lm=lm, examples=many, template=Template("{text}{prompt}"), verbalizers=MANY).objective()
    at = vectors(objective, PROMPT)
    assert len(list(objective.parts(at))) > 1
    loss, slope = gradient(objective, at)
    leaf = at.clone().requires_grad_(True)
    whole = objective.loss(leaf)
    torch.testing.assert_close(loss, whole.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(slope, torch.autograd.grad(whole.sum(), leaf)[0], atol=1e-5, rtol=1e-4)


def test_a_template_that_has_the_space_of_a_prompts_first_word_lends_it(tiny_causal: Any) -> None:
    objective = task(CausalLM(*tiny_causal), "{text} {prompt}", ONE).objective()
    starts = objective.tokenizer.batch_decode(objective.opens.nonzero())
    assert all(text.startswith(" ") for text in starts)
    assert typed(objective, " the man") == "the man"

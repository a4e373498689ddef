"""Test metrics of restyled texts: content, style and fluency, what they come to together, and BLEU."""

import math
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError, MissingExtra, pip_install
from hardprompt.tasks.intervals import bootstrap


def joint(
    content: Float[Tensor, " n"], style: Float[Tensor, " n"], fluency: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """The product of each sentence's three scores, float64: only what is good in every respect counts.

    Args:
        content: content that is kept, in [0, 1].
        style: 1 where a classifier sees the target style, else 0.
        fluency: in [0, 1].

    Raises:
        InputError: no scores, not as many of each, or one outside [0, 1].

    Source: PIN C.3; Krishna et al. 2020.
    """
    scores = {"content": content, "style": style, "fluency": fluency}
    for name, values in scores.items():
        if len(values) != len(content) or not len(values):
            raise InputError(f"{len(values)} {name} scores, {len(content)} of content; as many of each are expected.")
        wrong = ~((values >= 0) & (values <= 1))
        if wrong.any():
            raise InputError(f"a {name} score is {float(values[wrong][0])}; one from 0 to 1 is expected.")
    return content.double() * style.double() * fluency.double()


def style_metrics(
    content: Float[Tensor, " n"], style: Float[Tensor, " n"], fluency: Float[Tensor, " n"]
) -> dict[str, Any]:
    """The mean of each score, J, its 95 % bootstrap interval over sentences, and GM; all in [0, 1].

    J = mean of the sentences' products; GM = (mean content · mean style · mean fluency)^(1/3). It takes and raises what
    ``joint`` does.

    Source: PIN C.3; Krishna et al. 2020.
    """
    products = joint(content, style, fluency)
    scores = {"content": content, "style": style, "fluency": fluency}
    means = {name: float(values.double().mean()) for name, values in scores.items()}
    found = {"n": len(products), **means, "j": float(products.mean()), "interval": bootstrap(products.cpu().numpy())}
    return found | {"gm": math.prod(means.values()) ** (1 / 3)}


def paired_joint(products: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> dict[str, Any]:
    """J of one system minus J of another on the same sentences, by what ``joint`` gives, with a paired interval.

    Raises:
        InputError: not as many of each, or none.
    """
    if len(products) != len(other) or not len(products):
        raise InputError(f"{len(products)} and {len(other)} sentences cannot be paired.")
    difference = (products.double() - other.double()).cpu()
    return {"j": float(difference.mean()), "interval": bootstrap(difference.numpy())}


def bleu(outputs: Sequence[str], *references: Sequence[str]) -> dict[str, Any]:
    """Corpus BLEU, from 0 to 100, with the signature that makes it comparable.

    Args:
        outputs: n texts.
        references: one or more lists of n texts by people; the i-th of each rewrites the same text as output i.

    Raises:
        InputError: no texts, no references, or not as many.
        MissingExtra: sacrebleu is not installed.

    Source: Papineni et al. 2002; Post 2018 (sacreBLEU).
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise MissingExtra("BLEU needs sacrebleu: " + pip_install("'hardprompt[bleu]'")) from error
    lengths = [len(texts) for texts in references]
    if not outputs or not lengths or any(length != len(outputs) for length in lengths):
        raise InputError(f"{len(outputs)} outputs and references of lengths {lengths}; as many of each are expected.")
    metric = BLEU()
    score = metric.corpus_score(list(outputs), [list(texts) for texts in references])
    return {"bleu": float(score.score), "signature": str(metric.get_signature())}

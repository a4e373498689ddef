"""How much of a text's content another keeps: the alignment of their tokens' embeddings, in both directions."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.lms.embedding import Embedder


def alignment(x: Float[Tensor, "a d"], y: Float[Tensor, "b d"]) -> Float[Tensor, " a"]:
    """How well each token of x is found in y: its highest cosine with a token of y, in [0, 1]; of unit vectors.

    Source: Deng et al. 2021 (CTC), alignment by embedding matching.
    """
    return (x @ y.T).amax(1).clamp(0.0, 1.0)


def preservation(x: Float[Tensor, "a d"], y: Float[Tensor, "b d"]) -> float:
    """Content that x and y share, in [0, 1]: the harmonic mean of the mean alignments of x with y and of y with x.

    It is symmetric, 1 for equal texts, and 0 where either has no token.

    Source: Deng et al. 2021 (CTC), preservation of transduction tasks, with the factor 2 that their code leaves out;
        max(0, F1) of BERTScore (Zhang et al. 2020) without weights.
    """
    if not len(x) or not len(y):
        return 0.0
    there, back = float(alignment(x, y).double().mean()), float(alignment(y, x).double().mean())
    return 2 * there * back / (there + back) if there + back > 0 else 0.0


def content(embedder: Embedder, sources: Sequence[str], outputs: Sequence[str]) -> Float[Tensor, " n"]:
    """The content of each source that its output keeps, in [0, 1]; an empty output keeps none."""
    vectors = embedder.tokens([*sources, *outputs])
    pairs = zip(vectors[: len(sources)], vectors[len(sources) :], strict=True)
    return torch.tensor([preservation(x, y) for x, y in pairs], dtype=torch.float32)

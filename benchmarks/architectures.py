"""How each architecture of transformers that can be built small is run, and whether it agrees: docs/models.json.

    PYTHONPATH=. python benchmarks/architectures.py

It is the sweep of tests/contract/test_architectures.py, written down.
"""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pages
import transformers
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.masked import MaskedLM
from hardprompt.search.writing import write_json
from tests.contract import test_architectures as sweep

ROOT = Path(__file__).parents[1]

MAPPINGS = {
    "causal": (MODEL_FOR_CAUSAL_LM_MAPPING, transformers.AutoModelForCausalLM),
    "masked": (MODEL_FOR_MASKED_LM_MAPPING, transformers.AutoModelForMaskedLM),
}


def ways(kind: str) -> dict[str, list[str]]:
    """The types of models of that kind, by how they are run."""
    tokenizer = sweep.make_tokenizer()
    found: dict[str, list[str]] = {"quick": [], "padded": [], "alone": [], "refused": [], "wrong": []}
    for _, model in sweep.models(*MAPPINGS[kind]):
        try:
            way, gap = _causal(model, tokenizer) if kind == "causal" else _masked(model, tokenizer)
        except InputError:
            way, gap = "refused", 0.0
        found[way if gap <= 1e-4 else "wrong"].append(model.config.model_type)
    return {way: sorted(types) for way, types in found.items()}


def _causal(model: Any, tokenizer: Any) -> tuple[str, float]:
    lm = CausalLM(model, tokenizer)
    ours = lm.score(sweep.CONTEXTS, sweep.CHOICES).log_softmax(-1)
    gap = float((ours - sweep.continued(model, tokenizer)).abs().max())
    return ("quick" if lm.packed.allows("tree", 8) else "padded" if lm.packed.allows("padded", 8) else "alone"), gap


def _masked(model: Any, tokenizer: Any) -> tuple[str, float]:
    lm = MaskedLM(model, tokenizer)
    ours = lm.score([context + "<mask>." for context in sweep.CONTEXTS], sweep.CHOICES).log_softmax(-1)
    gap = float((ours - sweep.filled(model, tokenizer)).abs().max())
    return ("quick" if lm.in_rows else "padded" if lm.pads else "alone"), gap


def main() -> None:
    """Write docs/models.json, and its table into docs/models.md."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    found = {"transformers": transformers.__version__, **{kind: ways(kind) for kind in MAPPINGS}}
    write_json(ROOT / "docs" / "models.json", found)
    pages.fill_from(ROOT / "docs", "models.md", "architectures", found)
    print(json.dumps({kind: {way: len(types) for way, types in found[kind].items()} for kind in MAPPINGS}))


if __name__ == "__main__":
    main()

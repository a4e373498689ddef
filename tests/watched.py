"""A task model of one's own that writes down what it scores, and has its process stopped by a signal on the way."""

import hashlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor


class Watched:
    """Scores of a text follow from a hash; a context's line in the file ``ASKED`` is written once it is scored.

    Before a context that holds ``STOP``, the first but ``SKIP``, it sends its process the signal ``BY``.
    """

    blank = ""
    context_length: int | None = None
    tokens_run = 0

    def score(self, contexts: Sequence[str], choices: Sequence[str], *, after: str = "", how: str = "sum") -> Tensor:
        found = []
        for context in contexts:
            place, left = os.environ.get("STOP"), int(os.environ.get("SKIP", "0"))
            if place and place in context:
                os.environ["SKIP"] = str(left - 1)
                if left == 0:
                    os.kill(os.getpid(), getattr(signal, os.environ["BY"]))
            with Path(os.environ["ASKED"]).open("a", encoding="utf-8") as stream:
                stream.write(context.replace("\n", "|") + "\n")
            digests = (hashlib.sha256(f"{context}{choice}".encode()).digest() for choice in choices)
            found.append([digest[0] / 100 for digest in digests])
        return torch.tensor(found)

    def prepare(self, contexts: Sequence[str]) -> None:
        pass

    def count(self, text: str) -> int:
        return len(text.split())

    def truncate(self, text: str, tokens: int) -> str:
        return text

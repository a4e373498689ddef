"""A model behind an OpenAI-compatible API as a task model that writes."""

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from hardprompt.errors import InputError, RewardError
from hardprompt.lms.api import ask, check_plain, client_of, open_address
from hardprompt.search.passes import passes

_SIDE_BY_SIDE = 8  # questions under way at a time
_CHARACTERS = 4  # of a token, about: a remote tokenizer cannot be asked

_Question = TypeVar("_Question")


class RemoteLM:
    """Continues contexts by the API's ``completions``; every sample is a question of its own with a seed of its own.

    A server may ignore the seed: a resumed run is then not the same.

    Args:
        model: name of the model, as the server knows it.
        base_url: address of the API, such as ``http://localhost:8000/v1``; the key is in OPENAI_API_KEY.
        timeout: seconds that the server may be silent.
        retries: further tries after a timeout, a lost connection or a server's passing error.

    Raises:
        InputError: no URL of an API, one with a password in it, or no key that can be sent.
        MissingExtra: the package openai is not installed.
    """

    context_length = None

    def __init__(self, model: str, *, base_url: str, timeout: float = 60.0, retries: int = 3) -> None:
        check_plain(base_url)
        self._model, self._address = model, open_address(base_url)
        self._client = client_of(self._address, timeout, retries)

    def generate(
        self, contexts: Sequence[str], *, samples: int, seed: int, longest: Sequence[int], stop: Sequence[str]
    ) -> list[list[str]]:
        """So many continuations of each context, each up to the first of ``stop``.

        Raises:
            InputError: the server turns the question itself down (a wrong key or model, say).
            RewardError: no answer after all tries, or one that is no completion.
        """
        asked = [(context, limit, n) for context, limit in zip(contexts, longest, strict=True) for n in range(samples)]
        texts = []
        answers = _side_by_side(lambda one: self._ask(*one, seed=seed, stop=list(stop)), asked)
        with passes(len(asked)) as more, answers as coming:
            for answer in coming:
                texts.append(answer.result())
                more(1)
        return [texts[i : i + samples] for i in range(0, len(texts), samples)]

    def count(self, text: str) -> int:
        """Tokens of ``text``, as far as can be told from outside."""
        return -(-len(text) // _CHARACTERS)

    def truncate(self, text: str, tokens: int) -> str:
        """The first ``tokens`` tokens of ``text``, as far as can be told from outside."""
        return text[: tokens * _CHARACTERS]

    def _ask(self, context: str, longest: int, number: int, *, seed: int, stop: list[str]) -> str:
        own = int.from_bytes(hashlib.sha256(f"{seed}|{number}|{context}".encode()).digest()[:4], "big") >> 1
        answer = ask(
            self._client.completions, model=self._model, prompt=context, max_tokens=longest, stop=stop[:4],
            temperature=1.0, seed=own,
        )  # fmt: skip
        url, said = self._address.url, self._address.line(answer.said)
        if answer.body is None and not answer.status:
            raise RewardError(f"nothing answers at {url} ({said}).")
        if answer.passing:
            raise RewardError(f"{url} answered HTTP {answer.status}: {said}.")
        if answer.body is None:
            raise InputError(f"{url} turned down the model {self._model!r} with HTTP {answer.status}: {said}.")
        try:
            choice: dict[str, Any] = json.loads(answer.body)["choices"][0]
            # Some servers give it the shape of a chat.
            text = choice["text"] if "text" in choice else choice["message"]["content"]
        except (ValueError, RecursionError, LookupError, TypeError):
            text = None
        if not isinstance(text, str):
            raise RewardError(f"{url} answered with something that is no completion.")
        return text


@contextmanager
def _side_by_side(ask: Callable[[_Question], str], asked: Sequence[_Question]) -> Iterator[list["Future[str]"]]:
    """The answers that come, in their order; behind the block no more is asked and none is waited for."""
    answers: list[Future[str]] = [Future() for _ in asked]
    left = deque(zip(answers, asked, strict=True))

    def work() -> None:
        while True:
            try:
                answer, one = left.popleft()
            except IndexError:
                return
            try:
                answer.set_result(ask(one))
            except BaseException as error:  # it is raised where the answer is asked for
                answer.set_exception(error)

    for _ in range(min(_SIDE_BY_SIDE, len(asked))):
        # A pool's threads would keep the process alive until the server has answered.
        threading.Thread(target=work, daemon=True).start()
    try:
        yield answers
    finally:
        left.clear()

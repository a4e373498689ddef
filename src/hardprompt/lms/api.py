"""Asks an OpenAI-compatible API, and keeps its key out of everything that can be read."""

import base64
import json
import os
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from hardprompt.errors import InputError, MissingExtra, pip_install

_PASSING = (408, 409, 425, 429)  # statuses below 500 that another try may mend
_SHOWN = 200  # characters of what a server said


@dataclass(frozen=True)
class Address:
    """Where to ask, fit to be shown, and what opens it, which is not."""

    url: str
    key: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    def line(self, text: str) -> str:
        """One short line of what a server said, without the secrets that it may have repeated."""
        for secret in self.secrets:
            text = text.replace(secret, "[key]")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def check_plain(base_url: str) -> None:
    """Raise an InputError for what is no URL of an API, or has a secret in it, where URLs are written down."""
    if "@" in base_url:
        raise InputError("the base URL has a user name or password in it, which would be written down; leave it out.")
    open_address(base_url)


def open_address(base_url: str, key: str | None = None) -> Address:
    """Where to ask, by its URL and a key, or the one in OPENAI_API_KEY; an InputError for what cannot be either."""
    # Where a key may be in it no part of it is shown: which part that is, is not clear in a faulty one.
    plain = re.fullmatch(r"\s*([a-zA-Z]*:)?/{0,2}[\w.-]*(:\d*)?(/[\w.~%/-]*)?\s*", base_url)
    shown = repr(base_url.strip()) if plain else "(not shown: it may hold a key)"
    try:
        parts = urlsplit(base_url.strip())
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is no number
        sound = False
    if not sound or re.search("[@;]", parts.path) or parts.query or parts.fragment:
        raise InputError(
            f"base URL {shown} cannot be used; give one such as http://localhost:8000/v1, "
            "without a query, and with %-escapes in a user name or password."
        )
    key = (key or os.environ.get("OPENAI_API_KEY") or "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        # The transport's own message would show the key.
        raise InputError(
            "the API key holds a blank, a line break or a letter that no key has; set OPENAI_API_KEY anew."
        )
    headers = {}
    secrets = {key}
    login, at, host = parts.netloc.rpartition("@")
    if at:
        user, _, password = (unquote(part) for part in login.partition(":"))
        # As a header: the transport writes whole addresses into its log.
        coded = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {coded}"
        secrets |= {login, user, password, coded}
    # A server may repeat them as it got them, inside JSON or inside an address.
    forms = {form for s in secrets if s for form in (s, json.dumps(s)[1:-1], quote(s, safe=""))}
    return Address(
        f"{parts.scheme}://{host}{parts.path.rstrip('/')}",
        key or "none",  # the client insists on one; a server without keys ignores it
        headers,
        tuple(sorted(forms, key=len, reverse=True)),
    )


def client_of(address: Address, timeout: float, retries: int) -> Any:
    """A client of the package openai; raises a MissingExtra where it is not installed."""
    try:
        from openai import OpenAI
    except ImportError as error:
        raise MissingExtra("an API needs the package openai: " + pip_install("'hardprompt[api]'")) from error
    return OpenAI(
        api_key=address.key, base_url=address.url, default_headers=address.headers, timeout=timeout, max_retries=retries
    )


@dataclass(frozen=True)
class Answer:
    """The ``body`` of an answer, or None and what was ``said`` instead, with the HTTP status: 0 if nothing answers."""

    body: str | None = None
    status: int = 0
    code: str = ""
    said: str = ""

    @property
    def passing(self) -> bool:
        """Whether it is an error that another try may mend."""
        return self.status >= 500 or self.status in _PASSING


def ask(completions: Any, **question: Any) -> Answer:
    """One question to a client's completions. No exception leaves it: theirs hold the key, or what was said does."""
    from openai import APIConnectionError, APIStatusError

    try:
        # The raw response: the package would let a body of any shape pass as a completion.
        return Answer(completions.with_raw_response.create(**question).http_response.text)
    except APIStatusError as error:
        code, said = _complaint(error.response.text)
        return Answer(status=error.status_code, code=code, said=said)
    except APIConnectionError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # the first one, which the package's own message leaves out
            cause = cause.__cause__
        system = cause.strerror if isinstance(cause, OSError) else None
        return Answer(said=system or str(cause) or type(cause).__name__)


def _complaint(body: str) -> tuple[str, str]:
    """Code and text of an error, in any of the shapes that servers send it; the whole body where it has none."""
    try:
        found = json.loads(body)
        found = found.get("error", found)
        text = found if isinstance(found, str) else found.get("message") or found.get("detail")
        code = "" if isinstance(found, str) else found.get("code")
    except (ValueError, RecursionError, AttributeError):
        return "", body
    return str(code or ""), text if isinstance(text, str) else body

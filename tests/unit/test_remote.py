"""A task model behind an API, against a server of our own on loopback."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hardprompt.errors import InputError, RewardError
from hardprompt.lms.remote import RemoteLM
from tests.unit.test_judge import CLOSE, KEY, Reply, Server, complains, unused_port


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running = Server()
    yield running
    running.close()


def completes(text: Any) -> Reply:
    return Reply({"choices": [{"index": 0, "text": text}]})


def write(server: Server, contexts: list[str], samples: int = 2) -> list[list[str]]:
    lm = RemoteLM("writer", base_url=server.url, retries=1)
    return lm.generate(contexts, samples=samples, seed=3, longest=[7] * len(contexts), stop=['"', "\n"])


def test_every_sample_is_a_question_with_a_seed_of_its_own(server: Server) -> None:
    server.script = [completes(" fine")]
    assert write(server, ["a", "b"]) == [[" fine", " fine"]] * 2
    seeds = {(r["prompt"], r["seed"]) for r in server.requests}
    assert len(seeds) == 4
    for request in server.requests:
        assert request["path"] == "/v1/completions"
        assert (request["model"], request["max_tokens"], request["stop"]) == ("writer", 7, ['"', "\n"])
    before = sorted(seeds)
    server.requests.clear()
    write(server, ["b", "a"])  # the seed follows from the context, not from the order
    assert sorted((r["prompt"], r["seed"]) for r in server.requests) == before
    assert all(KEY in headers["authorization"] for headers in server.headers)


def test_a_ctrl_c_waits_for_no_silent_server_and_no_more_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    before, began = set(threading.enumerate()), time.monotonic()
    with socket.create_server(("127.0.0.1", 0), backlog=32) as silent:
        lm = RemoteLM("writer", base_url=f"http://127.0.0.1:{silent.getsockname()[1]}/v1", timeout=20.0, retries=0)
        asked, ask = list[str](), lm._ask

        def counted(context: str, *rest: Any, **how: Any) -> str:
            asked.append(context)
            return ask(context, *rest, **how)

        monkeypatch.setattr(lm, "_ask", counted)
        press = threading.Timer(0.5, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        press.start()
        with pytest.raises(KeyboardInterrupt):
            lm.generate([str(i) for i in range(20)], samples=1, seed=0, longest=[5] * 20, stop=["\n"])
        assert time.monotonic() - began < 10
        press.join()
        waiting = set(threading.enumerate()) - before
        assert waiting
        assert all(thread.daemon for thread in waiting)  # none keeps the process alive
    for thread in waiting:  # the server is gone
        thread.join(timeout=30)
    assert sorted(asked, key=int) == [str(i) for i in range(8)]


def test_an_answer_in_the_shape_of_a_chat_is_read(server: Server) -> None:
    server.script = [Reply({"choices": [{"message": {"role": "assistant", "content": "well"}}]})]
    assert write(server, ["a"], 1) == [["well"]]


def test_a_passing_error_is_tried_again(server: Server) -> None:
    server.script = [complains(500, "busy"), completes("well")]
    assert write(server, ["a"], 1) == [["well"]]


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        (complains(401, f"wrong key {KEY}"), InputError, "turned down the model 'writer' with HTTP 401"),
        (complains(404, "no such model"), InputError, "no such model"),
        (complains(503, f"busy {KEY}"), RewardError, "HTTP 503"),
        (CLOSE, RewardError, "nothing answers at"),
        (Reply("no json"), RewardError, "is no completion"),
        (completes(3), RewardError, "is no completion"),
        (Reply({"choices": []}), RewardError, "is no completion"),
    ],
)
def test_what_goes_wrong_is_one_line_without_the_key(
    server: Server, reply: Any, kind: type[Exception], message: str
) -> None:
    server.script = [reply]
    with pytest.raises(kind, match=message) as caught:
        write(server, ["a"], 1)
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nobody_there_is_named(server: Server) -> None:
    lm = RemoteLM("writer", base_url=f"http://127.0.0.1:{unused_port()}/v1", retries=0)
    with pytest.raises(RewardError, match="nothing answers at"):
        lm.generate(["a"], samples=1, seed=0, longest=[4], stop=[])


def test_a_password_is_not_taken_where_it_would_be_written_down() -> None:
    with pytest.raises(InputError, match="leave it out"):
        RemoteLM("writer", base_url="http://me:secret@localhost/v1")

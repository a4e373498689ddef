"""The judge against a server of our own on loopback that answers well, badly, slowly and not at all."""

import base64
import io
import json
import logging
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from hardprompt.errors import InputError, MissingExtra
from hardprompt.runs import start
from hardprompt.search.writing import write_json
from hardprompt.tasks import Recipe
from hardprompt.tasks.invert.judge import judge, judge_folder, table
from hardprompt.tasks.invert.question import TEMPLATE, parse

KEY = "sk-very/secret+0123456789"
GOOD = '{"relevance": 4, "interpretability": 2}'


class Reply:
    """What the server does with one request."""

    def __init__(self, body: Any = None, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.headers = headers or {}


def says(content: Any, **message: Any) -> Reply:
    return Reply({
        "id": "1", "object": "chat.completion", "created": 0, "model": "eye",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": content, **message},
        }],
    })  # fmt: skip


def complains(status: int, message: str, **fields: Any) -> Reply:
    headers = fields.pop("headers", None)
    return Reply({"error": {"message": message, **fields}}, status=status, headers=headers)


CLOSE, HANG = "close", "hang"


class Server:
    """Works off ``script``, whose last entry it repeats, and keeps what it was sent."""

    def __init__(self) -> None:
        self.script: list[Reply | str] = [says(GOOD)]
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.release = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append({"path": self.path, **body})
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                reply = server.script.pop(0) if len(server.script) > 1 else server.script[0]
                if isinstance(reply, str):
                    if reply == HANG:
                        server.release.wait()
                    return  # the connection closes without a word
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *_: Any) -> None:
                pass

        self._inner = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._inner.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.port = self._inner.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        self.release.set()
        self._inner.shutdown()
        self._inner.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture(autouse=True)
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits for a second try; how long it would have been is kept."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_CUSTOM_HEADERS", raising=False)
    return waited


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judged") / "photo.png"
    Image.effect_noise((900, 600), 60).convert("RGB").save(path)
    return path


@pytest.fixture
def ask(server: Server, picture: Path) -> Callable[..., dict[str, Any]]:
    """Judge prompts, all of the one picture, by the server."""

    def call(*prompts: str, **changes: Any) -> dict[str, Any]:
        pairs = [(prompt, [picture]) for prompt in prompts or ("a grey cat",)]
        return judge(pairs, **{"model": "eye", "base_url": server.url, **changes})

    return call


def make_run(folder: Path, picture: Path, prompt: str = "a grey cat", **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text("task: invert\n")
    write_json(folder / "result.json", {"task": "invert", "prompt": prompt, "images": [str(picture)], **changes})
    return folder


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# ---- what is sent


def test_the_server_gets_the_prompt_and_small_jpegs(ask: Any, server: Server, picture: Path) -> None:
    ask("a [grey] cat {caption}")
    (request,) = server.requests
    assert request["path"] == "/v1/chat/completions"
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("eye", 0, 64)
    (message,) = request["messages"]
    text, image = message["content"]
    assert text["text"] == TEMPLATE.replace("{caption}", "a [grey] cat {caption}")
    head, data = image["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    sent = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert (sent.format, sent.mode, sent.size) == ("JPEG", "RGB", (512, 341))
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert picture.stat().st_size > len(data)


def test_all_images_of_a_prompt_go_in_one_question_without_what_else_is_in_their_files(
    server: Server, tmp_path: Path
) -> None:
    paths = [tmp_path / "a.jpg", tmp_path / "b.png"]
    exif = Image.Exif()
    exif[0x010E] = "at home"
    Image.new("RGB", (30, 20), "red").save(paths[0], comment=b"my street", exif=exif)
    Image.new("RGBA", (40, 40)).save(paths[1])
    result = judge([("p", paths)], model="eye", base_url=server.url)
    sent = [
        base64.b64decode(part["image_url"]["url"].split(",")[1])
        for part in server.requests[0]["messages"][0]["content"][1:]
    ]
    assert [Image.open(io.BytesIO(data)).size for data in sent] == [(30, 20), (40, 40)]  # none is enlarged
    assert not any(b"street" in data or b"home" in data for data in sent)
    assert result["answers"][0]["images"] == [str(path) for path in paths]


# ---- what is answered


def test_means_and_standard_errors(ask: Any, server: Server) -> None:
    server.script = [
        says('{"relevance": 5, "interpretability": 1}'),
        says("no"),
        says('{"interpretability": 2, "relevance": 3}'),
    ]
    result = ask("one", "two", "three")
    assert result["relevance"] == {"mean": 4.0, "standard_error": pytest.approx(1.0), "n": 2}
    assert result["interpretability"] == {"mean": 1.5, "standard_error": pytest.approx(0.5), "n": 2}
    assert {k: result[k] for k in ("asked", "answered", "refused", "nonsense", "failed")} == {
        "asked": 3, "answered": 2, "refused": 0, "nonsense": 1, "failed": 0,
    }  # fmt: skip
    assert [(a["prompt"], a["relevance"], a["interpretability"], a["outcome"]) for a in result["answers"]] == [
        ("one", 5, 1, "answered"), ("two", None, None, "nonsense"), ("three", 3, 2, "answered"),
    ]  # fmt: skip
    assert (result["model"], result["base_url"], result["template"]) == ("eye", server.url, TEMPLATE)


def test_repeats_count_as_one_prompt(ask: Any, server: Server) -> None:
    marks = [(5, 5), (4, 4), (1, 2), (2, 2)]
    server.script = [says(json.dumps({"relevance": r, "interpretability": i})) for r, i in marks]
    result = ask("one", "two", repeats=2)
    assert (result["asked"], result["answered"], result["repeats"]) == (4, 4, 2)
    assert result["relevance"] == {"mean": 3.0, "standard_error": pytest.approx(1.5), "n": 2}


def test_one_mark_has_no_standard_error(ask: Any) -> None:
    assert ask()["relevance"] == {"mean": 4.0, "standard_error": None, "n": 1}


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (says(f"```json\n{GOOD}\n```"), "answered"),
        (says(f"Here you are: {GOOD}"), "nonsense"),
        (says(f"```json\n{GOOD}\n```\nI hope this helps."), "nonsense"),
        (says('{"relevance": 6, "interpretability": 2}'), "nonsense"),
        (says('{"relevance": 4.0, "interpretability": 2}'), "nonsense"),
        (says('{"relevance": "4", "interpretability": 2}'), "nonsense"),
        (says('{"relevance": true, "interpretability": 2}'), "nonsense"),
        (says('{"relevance": 4}'), "nonsense"),
        (says('{"relevance": 4, "interpretability": 2'), "nonsense"),
        (says("I'm sorry, I can't help with that."), "nonsense"),
        (says({"relevance": 4, "interpretability": 2}), "nonsense"),
        (says(None, refusal="I cannot judge people."), "refused"),
        (says(GOOD, refusal="I cannot judge people."), "refused"),
        (says(""), "refused"),
        (says(" \n"), "refused"),
        (says(None), "refused"),
        (complains(400, "The response was filtered.", code="content_filter"), "refused"),
        (Reply('{"choices": [{"mess'), "nonsense"),
        (Reply('{"choices": []}'), "nonsense"),
        (Reply("[" * 100_000), "nonsense"),
        (Reply([GOOD]), "nonsense"),
        (Reply("<html>Welcome</html>", headers={"Content-Type": "text/html"}), "nonsense"),
    ],
)
def test_what_is_not_exactly_right_is_counted(ask: Any, server: Server, reply: Reply, outcome: str) -> None:
    server.script = [reply]
    result = ask()
    assert result["answers"][0]["outcome"] == outcome
    assert [result[name] for name in ("asked", outcome)] == [1, 1]
    assert result["relevance"]["mean"] == (4.0 if outcome == "answered" else None)
    assert len(server.requests) == 1


# ---- trouble on the way


def test_a_server_that_recovers_is_asked_again(ask: Any, server: Server, sleeps: list[float]) -> None:
    server.script = [complains(500, "busy"), complains(500, "busy"), says(GOOD)]
    assert ask()["answered"] == 1
    assert len(server.requests) == 3
    assert len(sleeps) == 2
    assert sleeps[0] < sleeps[1]


@pytest.mark.parametrize(("seconds", "waits"), [("0", lambda s: s < 1), ("7", lambda s: s == 7)])
def test_retry_after_is_heeded(
    ask: Any, server: Server, sleeps: list[float], seconds: str, waits: Callable[[float], bool]
) -> None:
    server.script = [complains(429, "slow down", headers={"Retry-After": seconds}), says(GOOD)]
    assert ask()["answered"] == 1
    assert len(sleeps) == 1
    assert waits(sleeps[0])


@pytest.mark.parametrize("trouble", [complains(503, "overloaded"), complains(429, "quota"), CLOSE])
def test_trouble_that_stays_is_counted_and_the_rest_goes_on(ask: Any, server: Server, trouble: Any) -> None:
    server.script = [trouble, trouble, trouble, says(GOOD)]
    lines: list[str] = []
    result = ask("one", "two", retries=2, notify=lines.append)
    assert [answer["outcome"] for answer in result["answers"]] == ["failed", "answered"]
    assert (result["failed"], result["relevance"]["n"]) == (1, 1)
    assert len(server.requests) == 4
    assert lines[0].startswith("asked 1 of 2: failed: ")
    assert lines[1] == "asked 2 of 2: answered"


def test_errors_of_a_server_that_is_there_are_no_missing_server(ask: Any, server: Server) -> None:
    server.script = [complains(500, "broken")]
    result = ask("one", "two", retries=0)
    assert (result["asked"], result["failed"], result["relevance"]["mean"]) == (2, 2, None)


def test_a_slow_server_is_not_waited_for(ask: Any, server: Server) -> None:
    server.script = [HANG, HANG, says(GOOD)]
    result = ask("one", "two", timeout=0.7, retries=1)
    assert [answer["outcome"] for answer in result["answers"]] == ["failed", "answered"]


@pytest.mark.parametrize(("trouble", "reason"), [(HANG, "timed out"), (CLOSE, "disconnected")])
def test_a_server_that_never_says_a_word_is_named(ask: Any, server: Server, trouble: str, reason: str) -> None:
    server.script = [trouble]
    with pytest.raises(InputError, match=reason) as caught:
        ask(*"abcdef", timeout=0.2, retries=0)
    assert server.url in str(caught.value)
    assert len(server.requests) <= 3  # not six: nobody wants to wait for all of them


@pytest.mark.parametrize("host", ["127.0.0.1", "user:hush@127.0.0.1"])
def test_nothing_listens(ask: Any, host: str) -> None:
    port = unused_port()
    with pytest.raises(InputError, match="Connection refused") as caught:
        ask(base_url=f"http://{host}:{port}/v1", retries=1)
    assert f"http://127.0.0.1:{port}/v1" in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_wrong_key_or_model_stops_everything(ask: Any, server: Server, status: int) -> None:
    server.script = [complains(status, f"Incorrect key {KEY}:\nmodel eye\x1b[31m is not yours. {'x' * 500}")]
    with pytest.raises(InputError, match=f"HTTP {status}") as caught:
        ask("one", "two")
    said = str(caught.value)
    assert len(server.requests) == 1
    assert "Incorrect key [key]: model eye [31m is not yours" in said
    assert "'eye'" in said
    assert server.url in said
    assert "\n" not in said
    assert len(said) < 500
    # a traceback prints what an error came from
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error": "model \'eye\' not found"}', "model 'eye' not found"),
        ('{"object": "error", "message": "no such model"}', "no such model"),
        ('{"detail": "Not Found"}', "Not Found"),
        ('{"detail": [{"loc": "body"}]}', '"loc"'),
        ("nginx", "nginx"),
        ("", "no reason given"),
        ("[]", "[]"),
    ],
)
def test_complaints_of_every_shape_are_shown(ask: Any, server: Server, body: str, said: str) -> None:
    server.script = [Reply(body, status=404)]
    with pytest.raises(InputError, match="check the model's name") as caught:
        ask()
    assert said in str(caught.value)


# ---- secrets


def test_secrets_stay_secret(
    ask: Any, server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    coded = base64.b64encode(b"me:pa ss").decode()
    echo = f"{KEY} {json.dumps(KEY)} me:pa%20ss pa ss {coded}"
    server.script = [says(echo), complains(500, echo), says(None, refusal=echo), says(GOOD)]
    lines: list[str] = []
    result = ask(*"abc", base_url=server.url.replace("//", "//me:pa%20ss@"), retries=0, notify=lines.append)
    assert server.headers[0]["authorization"] == f"Basic {coded}"
    assert result["base_url"] == server.url
    assert result["nonsense"] == result["failed"] == result["refused"] == 1
    assert f"{server.url}/chat/completions" in caplog.text  # the transport does log addresses
    lines += [json.dumps(result), caplog.text]
    for secret in (KEY, "pa ss", "pa%20ss", coded):
        assert not [line for line in lines if secret in line]


def test_a_key_given_goes_before_the_environment(ask: Any, server: Server) -> None:
    ask(key=" other\n")
    assert server.headers[0]["authorization"] == "Bearer other"


def test_no_key_is_needed_where_the_server_asks_for_none(
    ask: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert ask()["answered"] == 1


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_not_shown(ask: Any, key: str) -> None:
    with pytest.raises(InputError, match="OPENAI_API_KEY") as caught:
        ask(key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "", "localhost:8000/v1", "me:hush@host/v1", "ftp://me:hush@host/v1", "http://", "http://me:hush@", "http://h:x/",
        "http://me:hu/sh@host/v1", "http://me:1/hush@host/v1", "https://host/v1?key=hush", "http://host/v1#hush",
        "http://[::1/v1", "https://h/v1?key=abc@hush",
    ],
)  # fmt: skip
def test_addresses_that_cannot_be_used(ask: Any, url: str) -> None:
    with pytest.raises(InputError, match="base URL") as caught:
        ask(base_url=url)
    assert not re.search("hush|me:|hu/", str(caught.value))


# ---- settings


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model": " "}, "--model"),
        ({"repeats": 0}, "repeats is 0"),
        ({"retries": -1}, "retries is -1"),
        ({"timeout": 0.0}, "timeout is 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
    ],
)
def test_settings_that_cannot_be_used(ask: Any, server: Server, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        ask(**changes)
    assert not server.requests


def test_nothing_to_judge(server: Server, tmp_path: Path) -> None:
    for pairs, match in (([], "no prompt"), ([("p", [])], "without an image"), ([("p", [tmp_path / "x"])], "is gone")):
        with pytest.raises(InputError, match=match):
            judge(pairs, model="eye", base_url=server.url)
    assert not server.requests


def test_the_package_may_be_absent(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtra, match=r"pip install 'hardprompt\[api\]'"):
        ask()


# ---- folders


def test_a_run_is_judged_in_its_folder(server: Server, picture: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", picture)
    result = judge_folder(run, model="eye", base_url=server.url)
    assert json.loads((run / "judge.json").read_text()) == result
    assert KEY not in (run / "judge.json").read_text()
    assert result["answers"] == [
        {"prompt": "a grey cat", "images": [str(picture)], "relevance": 4, "interpretability": 2,
         "outcome": "answered"},
    ]  # fmt: skip


def test_a_folder_of_runs_goes_on_where_it_was(server: Server, picture: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in "abcd":
        make_run(runs / name, picture, prompt="the same twice" if name in "ab" else name)
    (runs / "notes").mkdir()
    server.script = [says(GOOD), says("no"), complains(500, "busy"), says(GOOD)]
    first = judge_folder(runs, model="eye", base_url=server.url, retries=0)
    assert [answer["outcome"] for answer in first["answers"]] == ["answered", "nonsense", "failed", "answered"]
    server.requests.clear()
    server.script = [says('{"relevance": 1, "interpretability": 1}')]
    second = judge_folder(runs, model="eye", base_url=server.url)
    assert len(server.requests) == 2
    assert [answer["relevance"] for answer in second["answers"]] == [4, 1, 1, 4]
    assert (second["asked"], second["answered"]) == (4, 4)
    # with all answered nobody is asked, so nobody needs to be there
    assert judge_folder(runs, model="eye", base_url=f"http://127.0.0.1:{unused_port()}")["answered"] == 4
    make_run(runs / "e", picture, prompt="e")
    assert judge_folder(runs, model="eye", base_url=server.url)["answered"] == 5
    assert len(server.requests) == 3


def test_a_run_of_a_folder_of_pictures_has_a_prompt_for_each(server: Server, picture: Path, tmp_path: Path) -> None:
    part = {"folder": "x", "prompt": "one", "images": [str(picture)]}
    runs = [part, {**part, "prompt": "two"}]
    folder = tmp_path / "runs"
    folder.mkdir()
    write_json(folder / "result.json", {"task": "invert", "method": "pin", "runs": runs})
    make_run(folder / "x", picture, prompt="one")  # as it is on disk; what the folder says is asked once
    result = judge_folder(folder, model="eye", base_url=server.url)
    assert [answer["prompt"] for answer in result["answers"]] == ["one", "two"]
    (folder / "result.json").unlink()
    (folder / "run.yaml").write_text("task: invert\n")
    with pytest.raises(InputError, match=r"hardprompt resume .*runs$"):
        judge_folder(folder, model="eye", base_url=server.url)


def test_asking_with_fewer_repeats_keeps_what_was_answered(server: Server, picture: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "run", picture, prompt="one")
    server.script = [says(GOOD)]
    first = judge_folder(tmp_path / "run", model="eye", base_url=server.url, repeats=3)
    asked = len(server.requests)
    assert judge_folder(tmp_path / "run", model="eye", base_url=server.url)["answers"] == first["answers"]
    assert len(first["answers"]) == len(server.requests) == asked == 3


def test_what_was_answered_outlives_a_kill(server: Server, picture: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in "abc":
        make_run(runs / name, picture, prompt=name)

    def stop(line: str) -> None:
        if line.startswith("asked 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge_folder(runs, model="eye", base_url=server.url, notify=stop)
    kept = json.loads((runs / "judge.json").read_text())
    assert [answer["outcome"] for answer in kept["answers"]] == ["answered", "pending", "pending"]
    assert (kept["asked"], kept["answered"]) == (1, 1)
    assert sorted(path.name for path in runs.iterdir()) == ["a", "b", "c", "judge.json"]
    server.requests.clear()
    assert judge_folder(runs, model="eye", base_url=server.url)["answered"] == 3
    assert len(server.requests) == 2


def test_a_judging_that_cannot_begin_changes_nothing(server: Server, picture: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", picture)
    for script in ([complains(401, "who are you?")], [CLOSE]):
        server.script = script
        with pytest.raises(InputError):
            judge_folder(run, model="eye", base_url=server.url, retries=0)
        assert not (run / "judge.json").exists()


def test_answers_of_another_model_are_not_lost(server: Server, picture: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", picture)
    server.script = [says("no"), says(GOOD)]
    judge_folder(run, model="wrong", base_url=server.url)
    judge_folder(run, model="eye", base_url=server.url)  # the other had answered nothing
    before = (run / "judge.json").read_text()
    with pytest.raises(InputError, match=r"'eye'.*rename it"):
        judge_folder(run, model="other", base_url=server.url)
    reworded = {**json.loads(before), "template": "Is {caption} nice?"}
    write_json(run / "judge.json", reworded)
    with pytest.raises(InputError, match="other words"):
        judge_folder(run, model="eye", base_url=server.url)
    assert json.loads((run / "judge.json").read_text()) == reworded
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "damage", ["", "[]", "{}", '{"answers": [{"outcome": "answered", "relevance": 9, "interpretability": 1}]}']
)
def test_a_damaged_judgement_is_named(server: Server, picture: Path, tmp_path: Path, damage: str) -> None:
    run = make_run(tmp_path / "run", picture)
    (run / "judge.json").write_text(damage)
    with pytest.raises(InputError, match=r"judge\.json' is damaged.*delete it"):
        judge_folder(run, model="eye", base_url=server.url)


def test_folders_that_cannot_be_judged(server: Server, picture: Path, tmp_path: Path) -> None:
    empty, classify, running, damaged, gone = (tmp_path / name for name in ("empty", "c", "my run", "d", "g"))
    empty.mkdir()
    make_run(classify, picture, task="classify")
    make_run(running, picture)
    (running / "result.json").unlink()
    make_run(damaged, picture, images=None)
    make_run(gone, tmp_path / "moved.jpg")
    for folder, match in (
        (tmp_path / "nowhere", "is no folder"),
        (empty, "holds no run"),
        (classify, "a run of 'classify'"),
        (running, "has not finished; continue it with: hardprompt resume '.*my run'"),
        (damaged, "is damaged"),
        (gone, "moved.jpg' of the prompt 'a grey cat' is gone"),
        (tmp_path, "classify"),  # one that cannot be judged among several
    ):
        with pytest.raises(InputError, match=match):
            judge_folder(folder, model="eye", base_url=server.url)
    assert not server.requests
    assert not list(tmp_path.rglob("judge.json"))


# ---- the table


def test_the_table_shows_marks_means_and_counts(ask: Any, server: Server) -> None:
    server.script = [
        says(GOOD),
        says('{"relevance": 5, "interpretability": 3}'),
        says("no"),
        says(GOOD),
        says(""),
        says("no"),
    ]
    stream = io.StringIO()
    result = ask("a [bold]cat", "b", "c", model="eye[red]", repeats=2)
    Console(file=stream, width=160, markup=False).print(table(result))
    text = stream.getvalue()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    assert "eye[red]" in text
    assert cells == [
        ['"a [bold]cat"', "4.5", "2.5", "2 answered"],
        ['"b"', "4", "2", "1 nonsense, 1 answered"],
        ['"c"', "-", "-", "1 refused, 1 nonsense"],
        ["mean ± standard error", "4.25 ± 0.25", "2.25 ± 0.25", "3 answered, 1 refused, 2 nonsense, 0 failed"],
    ]


def test_the_table_of_nothing(ask: Any, server: Server) -> None:
    server.script = [says("")]
    stream = io.StringIO()
    Console(file=stream, width=160, markup=False).print(table(ask()))
    assert re.search(r"standard error +│ +- +│ +- +│ 0 answered, 1 refused", stream.getvalue())


# ---- the parser

SPACE = r"[ \t\r\n]*"
MARK = rf"{SPACE}:{SPACE}[1-5]{SPACE}"
OBJECT = (
    rf'{SPACE}\{{{SPACE}("relevance"{MARK},{SPACE}"interpretability"{MARK}|'
    rf'"interpretability"{MARK},{SPACE}"relevance"{MARK})\}}{SPACE}'
)
VALID = re.compile(rf"{OBJECT}|{SPACE}```(json)?[ \t]*\r?\n{OBJECT}\n[ \t]*```{SPACE}")
PIECES = (
    "{", "}", '"relevance"', '"interpretability"', '"relevance": 3', ", ", ":", "1", "4", "5", "0", "6", "-", ".0",
    "e0", '"4"', "true", "null", "NaN", "[", "]", "```", "```json", "\n", " ", "\t", "\r\n", "\u00a0", '"why"',
    "Sure! ", "٣",
)  # fmt: skip


def strictly(text: str) -> tuple[int, int] | None:
    """The parser's rule as one pattern; what it does not know, escapes in a key, is not generated."""
    if not VALID.fullmatch(text):
        return None
    return tuple(int(re.search(rf'"{name}"\D*(\d)', text)[1]) for name in ("relevance", "interpretability"))  # type: ignore[index,return-value]


@st.composite
def nearly_valid(draw: st.DrawFn) -> str:
    """A good answer in which a few pieces were put in, taken out or replaced."""
    first, second = draw(st.permutations(['"relevance"', '"interpretability"']))
    body = ["{", first, ":", " ", str(draw(st.integers(1, 5))), ", ", second, ":", str(draw(st.integers(1, 5))), "}"]
    parts = ["```json", "\n", *body, "\n", "```"] if draw(st.booleans()) else body
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(parts)))
        parts[at : at + draw(st.integers(0, 1))] = draw(st.lists(st.sampled_from(PIECES), max_size=1))
    return "".join(parts)


@settings(max_examples=400)
@given(nearly_valid() | st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
@example('{"relevance": 1, "relevance": 5, "interpretability": 2}')
@example('{"relevance": 1, "relevance": 5}')
@example('[["relevance", 4], ["interpretability", 5]]')
@example(f"```json\n{GOOD}\n```\n```json\n{GOOD}\n```")
@example(f"```json\n{GOOD}")
@example(f"{GOOD}{GOOD}")
@example(f"\ufeff{GOOD}")
@example(f'{{"relevance": {"1" * 5000}, "interpretability": 2}}')
@example("[" * 100_000)
def test_no_mark_comes_from_an_answer_that_is_not_strictly_right(text: str) -> None:
    assert parse(text) == strictly(text)


@pytest.mark.parametrize("text", [GOOD, f" {GOOD}\n", f"```\n{GOOD}\n```", f"```json \r\n{GOOD}\r\n  ```\n"])
def test_answers_that_are_right(text: str) -> None:
    assert parse(text) == strictly(text) == (4, 2)


def test_pictures_are_found_after_a_move_and_another_is_not_judged(server: Server, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    Image.new("RGB", (30, 20), (200, 10, 10)).save(project / "a.png")
    image = project / "a.png"
    recipe = Recipe.of({"task": "invert", "images": [str(image)]})
    begun = start(recipe, project / "run")
    assert begun.files == [str(image)]
    write_json(project / "run" / "result.json", {"task": "invert", "prompt": "p", "images": [str(image.resolve())]})
    moved = project.rename(tmp_path / "moved")
    result = judge_folder(moved / "run", model="eye", base_url=server.url)
    sent = server.requests[0]["messages"][-1]["content"]
    (url,) = [part["image_url"]["url"] for part in sent if part["type"] == "image_url"]
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as seen:
        red, green, _ = seen.convert("RGB").getpixel((5, 5))  # type: ignore[misc]
    assert red > 150 > green
    moved = moved.rename(tmp_path / "again")  # what was answered is not asked again
    assert judge_folder(moved / "run", model="eye", base_url=server.url)["answers"] == result["answers"]
    assert len(server.requests) == 1
    Image.new("RGB", (30, 20), "green").save(moved / "a.png")
    with pytest.raises(InputError, match=r"moved/a\.png|again/a\.png' has changed since the run began"):
        judge_folder(moved / "run", model="eye", base_url=server.url)
    (moved / "a.png").unlink()
    with pytest.raises(InputError, match=r"project/a\.png' is gone; it was looked for at .*again/a\.png"):
        judge_folder(moved / "run", model="eye", base_url=server.url)

"""A model's server for tests: real HTTP, the OpenAI-compatible and the Anthropic protocol, answers and faults by script."""

import json
import os
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-0123456789abcdef"

# A text names ships as "the Harrier 7", each with a captain: "The captain of the Harrier 7 is Ada Lind 7."
_SHIPS = re.compile(r"[Tt]he captain of the (Harrier \d+) is (Ada Lind \d+)\.")


def text_of(*numbers: int, filler: int = 0) -> str:
    """A document that names ships with these numbers, a sentence each, and as many words of filler in each sentence."""
    words = " ".join(["steadily"] * filler)
    return " ".join(f"On her way {words} she sails. The captain of the Harrier {n} is Ada Lind {n}." for n in numbers)


def chunks_of(count: int, first: int = 0) -> str:
    """A document of exactly so many chunks."""
    return text_of(*range(first, first + count), filler=205)


def answer_to(text: str) -> dict[str, Any]:
    """What a good model answers."""
    pairs = dict.fromkeys(_SHIPS.findall(text))
    return {
        "entities": [
            item
            for ship, captain in pairs
            for item in (
                {"mention": ship, "type": "vessel", "name": ship},
                {"mention": captain, "type": "person", "name": captain},
            )
        ],
        "relations": [
            {
                "subject": ship,
                "predicate": "captain",
                "object": captain,
                "quote": f"he captain of the {ship} is {captain}.",
            }
            for ship, captain in pairs
        ],
    }


@dataclass(frozen=True)
class Seen:
    """A request as it came in. ``text`` is the user's part of it."""

    at: float
    system: str
    text: str
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass(frozen=True)
class Say:
    """What to answer: a status with a body, or a fault of the connection.

    ``content`` is the model's text, or the JSON of its answer; ``finish`` how it ended. ``raw`` is a whole body. ``how`` is
    ``hang``, ``reset``, ``cut`` (half a body) or ``trickle`` (a byte now and then).
    """

    content: Any = None
    status: int = 200
    finish: str = "stop"
    raw: str | None = None
    how: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    tokens_in: int = 100
    tokens_out: int = 20
    cached: int = 0


Script = Callable[[Seen, int], Say | None]


class FakeModel:
    """The server. ``script`` gets each request and how often its text came before; None is a good answer."""

    def __init__(self, script: Script | None = None, seconds: float = 0.0) -> None:
        self.script: Script = script or (lambda seen, times: None)
        self.seconds = seconds
        self.seen: list[Seen] = []
        self.answered_at: list[float] = []
        self._times: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                fake._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, request: object, client_address: object) -> None:
                # A client that was killed, or a fault of ours.
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "FakeModel":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def requests(self) -> int:
        return len(self.seen)

    def texts(self) -> Counter[str]:
        """How often each text was asked about."""
        return Counter(seen.text for seen in self.seen)

    def environment(self, protocol: str = "openai") -> dict[str, str]:
        """The variables by which the service uses this server."""
        return {
            "KNOWLEDGE_EXTRACTOR": "llm",
            "KNOWLEDGE_LLM_MODEL": f"{protocol}:fake-1",
            "KNOWLEDGE_LLM_BASE_URL": self.url + ("" if protocol == "anthropic" else "/v1"),
            "KNOWLEDGE_LLM_API_KEY": KEY,
        }

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        anthropic = handler.path.endswith("/v1/messages") and "chat" not in handler.path
        seen = _seen(body, dict(handler.headers), anthropic)
        with self._lock:
            self._times[seen.text] += 1
            times = self._times[seen.text]
            self.seen.append(seen)
        say = self.script(seen, times) or Say(answer_to(seen.text))
        if pause := say.seconds or self.seconds:
            self._closing.wait(pause)
        data = (say.raw if say.raw is not None else json.dumps(_body(say, anthropic))).encode("utf-8")
        if say.how == "hang":
            self._closing.wait(60)
        if say.how in ("hang", "reset"):
            # With no time to linger, closing sends a reset.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(handler.connection.detach())
            handler.close_connection = True
            return
        handler.send_response(say.status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(data)))
        for name, value in say.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if say.how == "cut":
            handler.wfile.write(data[: len(data) // 2])
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        if say.how == "trickle":
            for index in range(len(data)):
                handler.wfile.write(data[index : index + 1])
                handler.wfile.flush()
                if self._closing.wait(0.3):
                    return
            return
        handler.wfile.write(data)
        with self._lock:
            self.answered_at.append(time.time())


def _seen(body: dict[str, Any], headers: dict[str, str], anthropic: bool) -> Seen:
    def flat(content: Any) -> str:
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    if anthropic:
        system, user = flat(body.get("system", "")), flat(body["messages"][0]["content"])
    else:
        parts = {message["role"]: flat(message["content"]) for message in body["messages"]}
        system, user = parts.get("system", ""), parts["user"]
    lowered = {name.lower(): value for name, value in headers.items()}
    return Seen(time.time(), system, user, body, lowered)


def _body(say: Say, anthropic: bool) -> Any:
    if say.status >= 400:
        return say.content if say.content is not None else {"error": {"message": "a fault", "type": "error"}}
    text = say.content if isinstance(say.content, str) else json.dumps(say.content)
    if anthropic:
        reason = {"stop": "tool_use", "length": "max_tokens", "content_filter": "refusal"}[say.finish]
        part: dict[str, Any] = {"type": "text", "text": text}
        if isinstance(say.content, dict):
            part = {"type": "tool_use", "id": "t1", "name": "answer", "input": say.content}
        usage = {
            "input_tokens": say.tokens_in - say.cached,
            "output_tokens": say.tokens_out,
            "cache_read_input_tokens": say.cached,
            "cache_creation_input_tokens": 0,
        }
        message = {"id": "m1", "type": "message", "role": "assistant", "model": "fake-1", "content": [part]}
        return {**message, "stop_reason": reason, "stop_sequence": None, "usage": usage}
    usage = {
        "prompt_tokens": say.tokens_in,
        "completion_tokens": say.tokens_out,
        "total_tokens": say.tokens_in + say.tokens_out,
        "prompt_tokens_details": {"cached_tokens": say.cached},
    }
    choice = {"index": 0, "finish_reason": say.finish, "message": {"role": "assistant", "content": text}}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "fake-1", "choices": [choice], "usage": usage}


@contextmanager
def fake_model(script: Script | None = None, seconds: float = 0.0) -> Iterator[FakeModel]:
    with FakeModel(script, seconds) as server:
        yield server

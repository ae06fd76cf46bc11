"""A model's server that takes next to nothing of a processor: keeps connections, answers each request after the same time.

Run: python -m quickmodel SECONDS, with tests on the path

Prints its URL, and at a line on stdin the processor's seconds that it has taken; ends with stdin. Speaks HTTP by hand: what
a web framework takes a request would be measured with what asks.
"""

import asyncio
import json
import sys
import time

from fakemodel import answer_to


class Connection(asyncio.Protocol):
    """One connection of a client. Requests come with a content-length, one after the other."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._received = body[length:]
        asyncio.get_running_loop().call_later(self._seconds, self._answer, body[:length])

    def _answer(self, body: bytes) -> None:
        text = json.loads(body)["messages"][-1]["content"]
        message = {"role": "assistant", "content": json.dumps(answer_to(text))}
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        answer = {"id": "c1", "object": "chat.completion", "created": 1, "model": "fake-1", "choices": choices, "usage": usage}
        data = json.dumps(answer).encode()
        assert self._transport
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data) + data
        )


async def main(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(seconds), "127.0.0.1", 0, backlog=512)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(time.process_time(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))

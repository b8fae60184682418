"""A chat server with the latencies of a real one and answers that cost nothing, in a process of its own.

It holds `--slots` sequences at once, first come, first served, like an inference engine with continuous batching. A
sequence takes `--first-token` seconds and then `--per-token` seconds a token; its number of tokens is log-normal. Both
follow from a hash of (prompt, seed, number of the choice), so that equal requests get equal replies. A completion has
several steps; after a random number of them it ends with an answer. A GET returns the requests since the last one.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import random
from contextlib import suppress
from typing import Any

MEDIAN_TOKENS, SIGMA, MAX_TOKENS = 32, 0.6, 120
END_PROBABILITY = 0.3
"""That a step is the last one; the first step never is."""
MAX_STEPS = 8


class ChatServer:
    """Answers chat completions after the time that they would take."""

    def __init__(self, slots: int, first_token_s: float, per_token_s: float) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._first_token_s, self._per_token_s = first_token_s, per_token_s
        self.log: list[dict[str, Any]] = []

    def take_log(self) -> list[dict[str, Any]]:
        """Return the requests since the last call."""
        taken, self.log = self.log, []
        return taken

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        self.log.append(body)
        number = int(body.get("n") or 1)
        said = [
            message["content"] for message in body["messages"] if message["role"] == "assistant"
        ]
        num_steps = len(said[-1].split("\n\n")) if said else 0
        key = json.dumps([body["messages"], body.get("seed")])
        choices = await asyncio.gather(*(self._choice(key, i, num_steps) for i in range(number)))
        tokens = sum(count for _, count in choices)
        return {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": body.get("model"),
            "choices": [
                {
                    "index": i,
                    "finish_reason": "stop",
                    "stop_reason": "\n\n",
                    "message": {"role": "assistant", "content": text},
                }
                for i, (text, _) in enumerate(choices)
            ],
            "usage": {
                "prompt_tokens": len(key) // 4,
                "completion_tokens": tokens,
                "total_tokens": len(key) // 4 + tokens,
            },
        }

    async def _choice(self, key: str, index: int, num_steps: int) -> tuple[str, int]:
        """Return a text and its tokens, after it has had a slot for its time."""
        digest = hashlib.blake2b(f"{key}{index}".encode(), digest_size=8).digest()
        draw = random.Random(int.from_bytes(digest, "big"))
        count = max(1, min(MAX_TOKENS, round(MEDIAN_TOKENS * math.exp(draw.gauss(0.0, SIGMA)))))
        is_last = num_steps > 0 and (draw.random() < END_PROBABILITY or num_steps >= MAX_STEPS)
        text = f"<answer>{draw.randrange(6)}</answer>" if is_last else f"Step {draw.random():.9f}."
        async with self._slots:
            await asyncio.sleep(self._first_token_s + count * self._per_token_s)
        return text, count

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                lines = dict(line.split(": ", 1) for line in head.split("\r\n") if ": " in line)
                body = await reader.readexactly(int(lines.get("content-length", "0")))
                reply: Any = await self.complete(json.loads(body)) if body else self.take_log()
                data = json.dumps(reply).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                    % len(data)
                )
                writer.write(data)
                await writer.drain()
        writer.close()


async def serve(slots: int, first_token_s: float, per_token_s: float) -> None:
    """Print the address, then serve until the process is terminated."""
    server = ChatServer(slots, first_token_s, per_token_s)
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1", flush=True)
    await listening.serve_forever()


def main() -> None:
    """Serve with the latencies given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=64, help="sequences at once")
    parser.add_argument("--first-token", type=float, default=0.05, help="seconds")
    parser.add_argument("--per-token", type=float, default=0.008, help="seconds")
    given = parser.parse_args()
    asyncio.run(serve(given.slots, given.first_token, given.per_token))


if __name__ == "__main__":
    main()

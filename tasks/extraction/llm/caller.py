"""A call to a model, from the store if it has the answer: else within budget and limits, written down before the next one."""

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from compat.errors import KnowledgeBatchError
from compat.store.models.answers import HOLD_SECONDS, Answer, Turn
from compat.store.models.exchange import MadeCall, Question
from compat.store.models.ledger import STOPPED, Call, CallOutcome
from compat.store.models.limits import Limits
from compat.work import CurrentAttempt
from tasks.extraction.llm.client import Client
from tasks.extraction.llm.errors import ModelAnswerError, ModelCallError, TokenBudgetError
from tasks.extraction.llm.loop import Transactions, surely
from tasks.extraction.llm.messages import Reply, Request

log = logging.getLogger("knowledge_batch")

# What is kept for a chunk whose answer was cut off: no answer, but that the chunk has to be halved.
TRUNCATED = '"truncated"'
# How often a call that waits for the same one of somebody else looks again.
LOOK_SECONDS = 0.1
# For how long it is known whether the provider wants to be left alone, once that is read.
PAUSE_KNOWN_SECONDS = 0.1


class CallStore(Protocol):
    """What a caller needs of the store."""

    def find(self, keys: Sequence[str], since: float) -> dict[str, Answer]:
        """Return the answers that are kept under these keys."""

    def exchange(self, items: Sequence[Question | MadeCall]) -> list[Answer | Turn | None]:
        """Return for a question the kept answer, the turn to ask the model, or None while another one asks.

        Of a call that was made, write it and the answer it brought. All of them in one transaction.
        """

    def renew(self, tokens: Sequence[str]) -> None:
        """Keep turns alive while their calls are in flight."""

    def give_back(self, turn: Turn) -> None:
        """Give up a turn without an answer."""

    def record_stored(self, calls: Sequence[Call]) -> None:
        """Write that calls were answered from the store."""

    def tokens_spent(self, batch_id: str) -> int:
        """Return the tokens that a batch has spent."""

    def take(self, limits: Limits, batch_id: str, tokens: int) -> float:
        """Take a call's place within the limits. Return how many seconds to wait before asking again; 0 is a place."""

    def correct(self, limits: Limits, tokens: int) -> None:
        """Replace an estimate of tokens by what was used."""

    def pause(self, limits: Limits, seconds: float) -> None:
        """Let nobody call this provider for so many seconds."""


@dataclass(frozen=True)
class Read:
    """An answer that was read: the JSON to keep of it, or none; what came of it; and the error where it is of no use."""

    outcome: CallOutcome
    output: str | None = None
    error: str | None = None


def request_key(client: Client, prompt_version: str, request: Request) -> str:
    """Return the hash of all that an answer depends on."""
    parts = [
        client.model_id,
        client.base_url,
        client.settings_key,
        prompt_version,
        request.schema.text,
        request.system,
        request.user,
    ]
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        # The length in front keeps ("ab", "c") and ("a", "bc") apart.
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def estimated_tokens(request: Request) -> tuple[int, int]:
    """About what a call takes, in and out: four bytes a token, and an answer of its text's size and half as much again."""
    fixed = len(request.system.encode("utf-8", "replace")) + len(request.schema.text.encode("utf-8", "replace"))
    text = len(request.user.encode("utf-8", "replace"))
    return (fixed + text) // 4, text * 3 // 8


class Caller:
    """The calls of one batch; on the event loop's thread alone."""

    def __init__(self, client: Client, store: CallStore, limits: Limits, budget: int | None, fresh_since: float) -> None:
        self._client = client
        self._store = store
        self._exchange = Transactions(store.exchange)
        self._limits = limits
        self._budget = budget
        self._fresh_since = fresh_since
        self._turns: dict[str, str] = {}
        self._renewing: asyncio.Task[None] | None = None
        # One of a batch's calls at a time asks for its turn at the limit.
        self._at_limit = asyncio.Lock()
        self._places: asyncio.Semaphore | None = None
        self._spent: int | None = None
        self._reserved = 0
        self._settled = asyncio.Condition()

    async def find(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Return the answers that the store has already."""
        return await asyncio.to_thread(self._store.find, keys, self._fresh_since)

    async def record_stored(self, calls: Sequence[Call]) -> None:
        """Write which answers came from the store."""
        if calls:
            await surely(self._store.record_stored, calls)

    async def ask(self, call: Call, request: Request, work: CurrentAttempt, read: Callable[[Reply], Read]) -> tuple[Answer, bool]:
        """Return the answer, and whether the store had it. ``read`` says what an answer is worth.

        An answer that isn't kept is handed out all the same where ``read`` says ``partial``. Raises ModelCallError,
        TokenBudgetError, or what cancels the task.
        """
        if self._places is None:
            self._places = asyncio.Semaphore(work.concurrency)
        async with self._places:
            question = Question(call.answer_key, call.model, call.batch_id, work.holder, self._fresh_since, self._limits.key)
            while True:
                turn = await self._exchange.do(question)
                if isinstance(turn, Answer):
                    return turn, True
                if turn is not None:
                    break
                await asyncio.sleep(LOOK_SECONDS)
            async with self._held(turn):
                return await self._pay(call, request, turn, read), False

    async def _pay(self, call: Call, request: Request, turn: Turn, read: Callable[[Reply], Read]) -> Answer:
        tokens = sum(estimated_tokens(request))
        used = 0
        pause_read_at = time.monotonic()
        await self._reserve(call.batch_id, tokens)
        try:
            # Without limits there are the provider's pauses, of which the turn told.
            is_known = time.monotonic() - pause_read_at < PAUSE_KNOWN_SECONDS
            if turn.pause or self._limits.any or not is_known:
                await self._wait_for_limit(call.batch_id, tokens)
            began = time.monotonic()
            call = replace(call, fresh=self._fresh_since > 0)
            try:
                reply = await self._client.ask(request)
                judged = read(reply)
            except asyncio.CancelledError:
                await self._record(call, turn, "failed", began, None, f"{STOPPED}the batch was to end")
                raise
            except ModelCallError as error:
                used = error.reply.tokens_in + error.reply.tokens_out if error.reply else 0
                await self._record(call, turn, "refused" if error.reply else "failed", began, error.reply, str(error))
                if error.retry_after:
                    await surely(self._store.pause, self._limits, error.retry_after)
                raise
            used = reply.tokens_in + reply.tokens_out
            answer = None if judged.output is None else Answer(judged.output, reply.tokens_in, reply.tokens_out)
            await self._record(call, turn, judged.outcome, began, reply, judged.error, answer)
        finally:
            await self._settle(tokens, used)
        if judged.outcome == "refused" and answer is None:
            asked = request.asked
            raise ModelAnswerError(asked.provider, asked.model, asked.stage, asked.chunk, None, judged.error or "")
        if answer is None:
            return Answer(_text(reply.answer), reply.tokens_in, reply.tokens_out)
        return answer

    async def _record(
        self,
        call: Call,
        turn: Turn,
        outcome: CallOutcome,
        began: float,
        reply: Reply | None,
        error: str | None = None,
        answer: Answer | None = None,
    ) -> None:
        row = replace(call, outcome=outcome, duration_ms=round((time.monotonic() - began) * 1000), error=error)
        if reply is not None:
            row = replace(row, tokens_in=reply.tokens_in, tokens_out=reply.tokens_out, tokens_cached=reply.tokens_cached)
            if answer is None:
                row = replace(row, reply=self._client.clean(_text(reply.answer)))
        await self._exchange.do(MadeCall(row, turn, answer))
        self._turns.pop(turn.token, None)

    # --- The right to ask, kept while asking --------------------------------------------------------------------------

    @asynccontextmanager
    async def _held(self, turn: Turn) -> AsyncIterator[None]:
        self._turns[turn.token] = turn.key
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            # Left without an answer or an error: others needn't wait.
            if self._turns.pop(turn.token, None):
                await surely(self._store.give_back, turn)

    async def _renew(self) -> None:
        while self._turns:
            await asyncio.sleep(HOLD_SECONDS / 6)
            if not self._turns:
                # The batch's calls have ended, and the process may be ending too.
                break
            try:
                await surely(self._store.renew, list(self._turns))
            except KnowledgeBatchError:
                # Away for a moment: there is time for several more tries.
                log.debug("the turns of calls were not renewed this time", exc_info=True)
        self._renewing = None

    # --- Budget and limits --------------------------------------------------------------------------------------------

    async def _reserve(self, batch_id: str, tokens: int) -> None:
        if self._budget is None:
            return
        async with self._settled:
            if self._spent is None:
                # Of a batch that goes on, what it has spent before counts too.
                self._spent = await asyncio.to_thread(self._store.tokens_spent, batch_id)
            while self._spent + self._reserved + tokens > self._budget:
                if not self._reserved:
                    raise TokenBudgetError(batch_id, self._spent, self._budget, tokens)
                await self._settled.wait()
            self._reserved += tokens

    async def _settle(self, tokens: int, used: int) -> None:
        if self._spent is not None:
            async with self._settled:
                self._reserved -= tokens
                self._spent += used
                self._settled.notify_all()
        if self._limits.tokens_per_minute:
            await surely(self._store.correct, self._limits, used - tokens)

    async def _wait_for_limit(self, batch_id: str, tokens: int) -> None:
        async with self._at_limit:
            while seconds := await surely(self._store.take, self._limits, batch_id, tokens):
                await asyncio.sleep(seconds)


def _text(answer: str | dict[str, Any]) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)

"""The extractor behind a language model: a call a chunk, or three; no answer is paid for twice."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from compat.contracts import ExtractionResult, ExtractionStats, PipelineConfig
from compat.settings import Settings
from compat.store.database import database
from compat.store.models import ModelStore
from compat.store.models.answers import Answer
from compat.store.models.ledger import Call
from compat.store.models.limits import Limits
from compat.work import CURRENT, CurrentAttempt
from tasks.extraction.chunking import Chunk, split
from tasks.extraction.llm import loop
from tasks.extraction.llm.caller import TRUNCATED, Caller, CallStore, Read, request_key
from tasks.extraction.llm.client import Client, client_of
from tasks.extraction.llm.errors import ModelAnswerTooLongError
from tasks.extraction.llm.findings import Findings
from tasks.extraction.llm.messages import Asked, Reply, Request
from tasks.extraction.llm.stages import Stage, TruncatedAnswer, halves, request_of, run_stages, stages_of
from tasks.extraction.llm.vocabulary import Vocabulary, vocabulary
from tasks.extraction.llm.wire import MALFORMED, Items, UnreadableAnswerError, read_answer
from tasks.extraction.ontology import Ontology, parse_ontology

# Documents of more chunks tell how far they are.
LONG_DOCUMENT_CHUNKS = 10
HALF_A_JSON = "the rest of a JSON that breaks off"


class LlmExtractor:
    """Asks a model. One a batch: its calls share the batch's budget, and its number of calls at the same time.

    The same answers give the same graph, so a document that is read again from the store comes out the same.
    """

    def __init__(
        self,
        client: Client,
        store: CallStore,
        limits: Limits | None = None,
        calls: Literal["one", "three"] = "one",
        budget: int | None = None,
        fresh_since: float = 0.0,
    ) -> None:
        """Extract with one model.

        Args:
            client: The model.
            store: Where answers are kept.
            limits: What the provider bears.
            calls: A chunk's calls.
            budget: Tokens that the batch may use.
            fresh_since: Answers from before this moment (seconds since 1970) don't count.
        """
        self._client = client
        self._stages = stages_of(calls)
        self._caller = Caller(client, store, limits or Limits(client.limit_key), budget, fresh_since)

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> "LlmExtractor":
        """Return the extractor of the environment's settings. Raises InvalidInputError for one that can't be used."""
        settings = settings or Settings.load()
        client = client_of(settings)
        limits = Limits(client.limit_key, settings.llm_requests_per_minute, settings.llm_tokens_per_minute)
        store = ModelStore(database(settings.url))
        return cls(client, store, limits, settings.llm_calls, settings.llm_token_budget, settings.llm_fresh_since or 0.0)

    def run(self, text: str, ontology_content: str, config: PipelineConfig) -> ExtractionResult:
        """Return the graph of one document.

        Raises OntologyParseError, ModelCallError, StopBatchError where the budget is spent, and AttemptStoppedError where
        the batch is to end.
        """
        started = time.perf_counter()
        ontology = parse_ontology(ontology_content)
        chunks = [chunk for chunk in split(text) if chunk.text.strip()]
        work = CURRENT.get()
        document = _Document(self, text, ontology, replace(work, document_id=work.document_id or config.document_id))
        loop.run(document.read(chunks), work.stopping)
        graph, mentions = document.findings(chunks).graph(config)
        dropped = dict(sorted(document.dropped.items()))
        stats = ExtractionStats(
            chunk_count=len(chunks),
            mention_count=mentions,
            entity_count=graph.stats.entity_count,
            relation_count=graph.stats.relation_count,
            tokens_used=document.tokens,
            duration_ms=round((time.perf_counter() - started) * 1000),
            clustering_enabled=config.enable_incremental_clustering,
            dropped=dropped,
            ontology_excerpts=document.excerpts,
        )
        return ExtractionResult(graph=graph, stats=stats, config=config)


class _Document:
    """One document's calls, and what they found."""

    def __init__(self, extractor: LlmExtractor, text: str, ontology: Ontology, work: CurrentAttempt) -> None:
        self._stages = extractor._stages
        self._client = extractor._client
        self._caller = extractor._caller
        self._text = text
        self._ontology = ontology
        self._work = work
        self._stored: list[Call] = []
        self._known: dict[str, Answer] = {}
        # By chunk, since chunks end in any order: what was found, where, with which words of the ontology.
        self._found: dict[int, list[tuple[Items, Vocabulary, int, int]]] = {}
        self._done = 0
        self.tokens = 0
        self.dropped: Counter[str] = Counter()

    @property
    def excerpts(self) -> int:
        """Chunks that were read with a part of the ontology."""
        return sum(parts[0][1].is_excerpt for parts in self._found.values())

    def findings(self, chunks: Sequence[Chunk]) -> Findings:
        """Return what was found, in the document's order."""
        findings = Findings(self._text, self._ontology)
        for chunk in chunks:
            for items, words, start, end in self._found[chunk.index]:
                findings.add(items, words, start, end, chunk.index)
        self.dropped = findings.dropped
        return findings

    async def read(self, chunks: Sequence[Chunk]) -> None:
        """Read the chunks side by side. After one that fails none starts; those in work end, so that their answers are kept.

        Raises the error of the first chunk that failed, in the document's order.
        """
        first = [(chunk, vocabulary(self._ontology, chunk.text)) for chunk in chunks]
        # Of many chunks those that are answered are read without a lock, all at once; one alone is asked about like any other.
        if len(chunks) > 1:
            keys = [self._key(self._stages[0], self._first_request(chunk, words)) for chunk, words in first]
            self._known = await self._caller.find(keys)
        queue = iter(first)
        failed: dict[int, Exception] = {}

        async def lane() -> None:
            for chunk, words in queue:
                if failed or self._work.stopping():
                    return
                try:
                    self._found[chunk.index] = await self._chunk(chunk, words)
                except Exception as error:
                    failed[chunk.index] = error
                    return
                self._done += 1
                if len(chunks) > LONG_DOCUMENT_CHUNKS:
                    # In a thread: it writes to the store, and calls must not wait for that.
                    await asyncio.to_thread(self._work.progress, "extraction", self._done / len(chunks))

        try:
            await asyncio.gather(*(lane() for _ in range(min(self._work.concurrency, len(chunks)))))
        finally:
            await self._caller.record_stored(self._stored)
        if failed:
            raise failed[min(failed)]

    def _first_request(self, chunk: Chunk, words: Vocabulary) -> Request:
        return request_of(self._stages[0], chunk.text, words, self._asked(str(chunk.index), self._stages[0].name), Items())

    def _key(self, stage: Stage, request: Request) -> str:
        return request_key(self._client, stage.prompt.version, request)

    def _asked(self, chunk: str, stage: str) -> Asked:
        return Asked(self._client.provider, self._client.model_name, stage, chunk)

    async def _chunk(self, chunk: Chunk, words: Vocabulary) -> list[tuple[Items, Vocabulary, int, int]]:
        """Return what is found in a chunk; one whose answer is cut off is read as two halves, once."""
        name = str(chunk.index)
        try:
            return [await self._part(name, chunk.start, chunk.end, words)]
        except TruncatedAnswer:
            parts = halves(chunk)
            if parts is None:
                raise self._too_long(name) from None
        found = []
        for number, (start, end) in enumerate(parts, 1):
            try:
                found.append(await self._part(f"{name}.{number}", start, end, vocabulary(self._ontology, self._text[start:end])))
            except TruncatedAnswer:
                raise self._too_long(f"{name}.{number}") from None
        return found

    def _too_long(self, chunk: str) -> ModelAnswerTooLongError:
        reason = "the answer is longer than it may be, also for half of the chunk"
        return ModelAnswerTooLongError(self._client.provider, self._client.model_name, "all", chunk, None, reason)

    async def _part(self, chunk: str, start: int, end: int, words: Vocabulary) -> tuple[Items, Vocabulary, int, int]:
        asked = partial(self._asked, chunk)
        items = await run_stages(self._stages, self._text[start:end], words, asked, partial(self._ask, chunk))
        return items, words, start, end

    async def _ask(self, chunk: str, stage: Stage, request: Request, words: Vocabulary) -> Items:
        key = self._key(stage, request)
        work = self._work
        call = Call(
            batch_id=work.batch_id,
            document_id=work.document_id,
            generation=work.generation,
            attempt=work.attempt,
            chunk=chunk,
            stage=stage.name,
            model=self._client.model_id,
            answer_key=key,
            outcome="stored",
        )
        answer, from_store = self._known.get(key), True
        if answer is None:
            answer, from_store = await self._caller.ask(call, request, work, partial(self._judge, stage, words))
        if from_store:
            self._stored.append(replace(call, tokens_in=answer.tokens_in, tokens_out=answer.tokens_out))
        self.tokens += answer.tokens_in + answer.tokens_out
        if answer.output == TRUNCATED:
            raise TruncatedAnswer
        items = read_answer(answer.output, stage.output, words)[1]
        if not items.whole:
            items.dropped[HALF_A_JSON] += 1
        return items

    def _judge(self, stage: Stage, words: Vocabulary, reply: Reply) -> Read:
        """Return what an answer is worth."""
        if reply.truncated:
            # No answer, but worth knowing: whoever comes again halves the chunk at once.
            return Read("refused", TRUNCATED, "cut off at the most tokens that an answer may have")
        try:
            value, items = read_answer(reply.answer, stage.output, words)
        except UnreadableAnswerError as error:
            return Read("refused", None, f"the answer is of no use: {error}")
        if not items.whole:
            return Read("partial", None, "the answer's JSON breaks off")
        if not items and set(items.dropped) - {MALFORMED} and self._work.attempt == 1:
            # Asked once more: at the next attempt it is taken as it comes, so that one such chunk doesn't cost the document.
            return Read("refused", None, "nothing of the answer is in the ontology")
        if not items and items.dropped and not set(items.dropped) - {MALFORMED}:
            return Read("refused", None, "no item of the answer has the form that was asked for")
        return Read("answered", json.dumps(value, ensure_ascii=True))

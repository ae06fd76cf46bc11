"""One long-lived event loop in a thread of its own, once a process: a model's client belongs to the loop that it first ran on."""

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from compat.errors import AttemptStoppedError, StoreUnavailableError

Item = TypeVar("Item")
Result = TypeVar("Result")

LOOK_SECONDS = 0.2
# What a call in flight may still take once its batch is to end: an answer that is on its way is paid already.
GRACE_SECONDS = 2.0
# What the loop may take to write down what it has, once it is told to leave.
LEAVE_SECONDS = 30.0
# The store is read and written in threads, so that a write which waits for another one holds up no call.
_STORE_THREADS = 8

_starting = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def event_loop() -> asyncio.AbstractEventLoop:
    """Return the process's loop, which runs until the process ends."""
    global _loop
    with _starting:
        if _loop is None:
            loop = asyncio.new_event_loop()
            loop.set_default_executor(ThreadPoolExecutor(_STORE_THREADS, thread_name_prefix="model store"))
            threading.Thread(target=loop.run_forever, name="model calls", daemon=True).start()
            _loop = loop
    return _loop


def _forget() -> None:
    # A forked child has the object and not the thread.
    global _loop, _starting
    _loop, _starting = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)


def run(work: Coroutine[Any, Any, Result], stopping: Callable[[], bool]) -> Result:
    """Run a coroutine on the loop and wait for it.

    Once ``stopping`` is true it gets GRACE_SECONDS to end, then it is cancelled. Raises AttemptStoppedError where it was.
    """
    ended = threading.Event()

    async def until_ended() -> Result:
        try:
            return await work
        finally:
            ended.set()

    future = asyncio.run_coroutine_threadsafe(until_ended(), event_loop())
    try:
        while not stopping():
            if concurrent.futures.wait([future], LOOK_SECONDS).done:
                return future.result()
        if concurrent.futures.wait([future], GRACE_SECONDS).done:
            return future.result()
    except BaseException:
        future.cancel()
        raise
    future.cancel()
    # What has arrived is still written.
    ended.wait(LEAVE_SECONDS)
    raise AttemptStoppedError


async def surely(write: Callable[..., Result], *arguments: Any) -> Result:
    """Run a write to the store in a thread, to its end even if the task is cancelled meanwhile."""
    task = asyncio.ensure_future(asyncio.to_thread(write, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class Transactions(Generic[Item, Result]):
    """Brings items to the store: those that wait while a transaction is under way share the next one."""

    def __init__(self, transact: Callable[[list[Item]], list[Result]]) -> None:
        """``transact`` does all of the items or none, and returns a result for each."""
        self._transact = transact
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def do(self, item: Item) -> Result:
        """Return an item's result once its transaction is committed, also if the task is cancelled meanwhile."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    async def _write(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting, []
            await self._settle(some)
        self._writing = None

    async def _settle(self, some: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await asyncio.to_thread(self._transact, [item for item, _ in some])
        except Exception as error:
            if len(some) == 1:
                some[0][1].set_exception(error)
            elif isinstance(error, StoreUnavailableError):
                for _, future in some:
                    future.set_exception(StoreUnavailableError(error.reason))
            else:
                # The database refuses one of them: each by itself shows which.
                for each in some:
                    await self._settle([each])
            return
        for (_, future), result in zip(some, results, strict=True):
            future.set_result(result)

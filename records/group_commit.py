"""Writing a stream of records so that records which come quickly share a flush to the disk.

A flush takes milliseconds, whatever it holds. A thread writes; what comes while it is busy goes out together next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from queue import SimpleQueue

from stepgym.agents.types import EpisodeRecord
from stepgym.records.run_folder import RunFolder

SLOW_S = 0.05
"""A record that took longer to come is waited for until it is on the disk."""


def written(folder: RunFolder, records: Iterable[EpisodeRecord]) -> Iterator[EpisodeRecord]:
    """Write records to a run folder as they come; yield each, in order, once it is on the disk.

    What the disk refuses is raised here. If the stream fails, the records before are yielded first; if the caller
    stops early, they are still written.
    """
    waiting: SimpleQueue[EpisodeRecord | None] = SimpleQueue()
    done: SimpleQueue[EpisodeRecord | BaseException] = SimpleQueue()
    writer = threading.Thread(target=_write, args=(folder, waiting, done), daemon=True)
    writer.start()
    stream, failure, num_waiting = iter(records), None, 0
    try:
        while True:
            since = time.perf_counter()
            try:
                record = next(stream)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 - raised below, after the records before it
                failure = error
                break
            is_slow = time.perf_counter() - since > SLOW_S
            waiting.put(record)
            num_waiting += 1
            while num_waiting and (is_slow or not done.empty()):
                yield _result(done)
                num_waiting -= 1
        while num_waiting:
            yield _result(done)
            num_waiting -= 1
        if failure is not None:
            raise failure
    finally:
        waiting.put(None)
        writer.join()


def _result(done: SimpleQueue[EpisodeRecord | BaseException]) -> EpisodeRecord:
    found = done.get()
    if isinstance(found, BaseException):
        raise found
    return found


def _write(
    folder: RunFolder,
    waiting: SimpleQueue[EpisodeRecord | None],
    done: SimpleQueue[EpisodeRecord | BaseException],
) -> None:
    """Append all waiting lines at once, until `None` arrives."""
    is_last = False
    while not is_last:
        batch = [waiting.get()]
        while not waiting.empty():
            batch.append(waiting.get())
        records = [record for record in batch if record is not None]
        is_last = len(records) < len(batch)
        try:
            if records:
                folder.append(*records)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that reads `done`
            done.put(error)
            return
        for record in records:
            done.put(record)

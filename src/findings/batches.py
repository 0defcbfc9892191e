"""Requests that wait together are answered in one call of the model.

One thread calls the model: its libraries use the processors by themselves, and a second caller would
only take turns with the first. Nothing waits for company: a call takes what is there. A large request
is worked off in parts between which others have their turn, and is dropped between two parts when its
time is over or nobody waits for it any more.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from findings.forms import Rows
from findings.models import Model, Predictions

CALL_ROWS = 64
"""Sentences in one call of the model: enough to gain from, few enough to stop soon."""

WAITING_ROWS = 20_000
"""So many sentences may wait; who comes then is told to try later."""


class Overloaded(Exception):  # noqa: N818
    """Too much waits already."""


@dataclass(eq=False)
class _Job:
    """A request's rows on their way: `done` of them are in `parts`."""

    model: Model
    rows: Rows
    deadline: float
    answer: Future[Predictions] = field(default_factory=Future)
    parts: list[Predictions] = field(default_factory=list)
    done: int = 0

    @property
    def left(self) -> int:
        return len(self.rows.sentences) - self.done


class Batches:
    """The thread that calls the model, and those who wait for it. `close` ends it."""

    def __init__(self, called: Callable[[int], None] = lambda rows: None) -> None:
        """`called` is told the number of rows of each call of a model."""
        self._called = called
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._closed = False
        self._busy_since: float | None = None
        self._change = threading.Condition()  # its lock may be taken again by the thread that has it
        self._thread = threading.Thread(target=self._run, name="predictor", daemon=True)
        self._thread.start()

    def submit(self, model: Model, rows: Rows, deadline: float) -> Future[Predictions]:
        """Ask for predictions until `deadline` (of `time.monotonic`). The future fails with TimeoutError
        when that is over, or with what the model raised; cancelled, its rows are dropped.

        Raises:
            Overloaded: too much waits already.
        """
        job = _Job(model, rows, deadline)
        with self._change:
            if self._closed or (self._waiting and self._waiting + job.left > WAITING_ROWS):
                raise Overloaded
            self._jobs.append(job)
            self._waiting += job.left
            self._change.notify()
        return job.answer

    @property
    def full(self) -> bool:
        """Whether more than a few sentences would be refused."""
        return self._closed or self._waiting >= WAITING_ROWS

    @property
    def stuck(self) -> float:
        """Seconds that the present call of the model has taken; 0 between calls."""
        since = self._busy_since
        return time.monotonic() - since if since is not None else 0.0

    def close(self) -> None:
        """Answer what waits, then end the thread."""
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._jobs and not self._closed:
                    self._change.wait()
                if not self._jobs:
                    return
                share = self._take()
            if share:
                self._call(share)
            del share  # an idle thread must hold no model that was replaced

    def _take(self) -> list[tuple[_Job, int]]:
        """Who has a turn in the next call, with how many rows each: first come, first served, and all
        of one model."""
        share: list[tuple[_Job, int]] = []
        room = CALL_ROWS
        while self._jobs and room:
            job = self._jobs[0]
            if share and job.model is not share[0][0].model:
                break
            self._jobs.popleft()
            if job.answer.cancelled() or time.monotonic() >= job.deadline:
                self._end(job, TimeoutError())
            else:
                share.append((job, min(job.left, room)))
                room -= share[-1][1]
        return share

    def _call(self, share: list[tuple[_Job, int]]) -> None:
        sentences: list[str] = []
        headings: list[str | None] = []
        for job, number in share:
            sentences += job.rows.sentences[job.done : job.done + number]
            headings += job.rows.headings[job.done : job.done + number]
        self._busy_since = time.monotonic()
        try:
            made = share[0][0].model.predict(sentences, headings)
            if len(made.finding_probabilities) != len(sentences):
                raise ValueError("the model gave another number of rows than it was asked for")
        except Exception as error:
            if len(share) == 1:
                self._end(share[0][0], error)
            else:
                for alone in share:  # one request's trouble is not the others'
                    self._call([alone])
            return
        finally:
            self._busy_since = None
        self._called(len(sentences))
        begin = 0
        for job, number in share:
            job.parts.append(_part(made, slice(begin, begin + number)))
            job.done += number
            begin += number
            if not job.left:
                self._end(job, _whole(job.parts))
                continue
            with self._change:  # it queues again, at the end
                self._jobs.append(job)

    def _end(self, job: _Job, outcome: Predictions | Exception) -> None:
        with self._change:
            self._waiting -= len(job.rows.sentences)
        if not job.answer.set_running_or_notify_cancel():
            return
        if isinstance(outcome, Exception):
            job.answer.set_exception(outcome)
        else:
            job.answer.set_result(outcome)


def _part(made: Predictions, rows: slice) -> Predictions:
    return Predictions(made.finding_probabilities[rows], made.theme_probabilities[rows], made.themes[rows])


def _whole(parts: list[Predictions]) -> Predictions:
    if len(parts) == 1:
        return parts[0]
    return Predictions(
        np.concatenate([p.finding_probabilities for p in parts]),
        np.concatenate([p.theme_probabilities for p in parts]),
        np.concatenate([p.themes for p in parts]),
    )

"""How other threads tell the loop something: a queue and an eventfd that wakes its selector."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobwarden.supervisor.inputs import Input
    from jobwarden.wire.messages import Answer


class Mailbox:
    """Many writers, one reader (the loop)."""

    def __init__(self) -> None:
        """Empty."""
        self._facts: deque[Input] = deque()
        self._answers: deque[tuple[int, Answer]] = deque()
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def post(self, fact: Input) -> None:
        """From any thread: the loop handles this fact in its next turn."""
        self._facts.append(fact)
        os.eventfd_write(self.descriptor, 1)

    def answer(self, slot: int, answer: Answer) -> None:
        """By the clerk: this goes to the worker of this slot. No fact for the pool."""
        self._answers.append((slot, answer))
        os.eventfd_write(self.descriptor, 1)

    def take_answers(self) -> list[tuple[int, Answer]]:
        """By the loop, after `take`: every answer that is there."""
        taken = []
        while self._answers:
            taken.append(self._answers.popleft())
        return taken

    def take(self) -> list[Input]:
        """By the loop: everything that was posted."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            return []
        facts = []
        while self._facts:
            facts.append(self._facts.popleft())
        return facts

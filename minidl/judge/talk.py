"""The judge's side of the talk with a student's process: every wait has an end, every length a limit.

Whatever breaks becomes `Ended`, which carries the verdict. The end of the channel, an exit code and printed text never
mean that an answer is right: only a message can, by holding the right value.
"""
import os
import secrets
import select
import time

from .frames import Broken, packed, read
from .rows import Limits

PATIENCE = 1.0                    # seconds in which a process that has let go of the channel may end
MOST_SENT = 2**30
IN, OUT = getattr(select, "POLLIN", 1), getattr(select, "POLLOUT", 4)


class Ended(Exception):
    """There will be no more answers.

    Attributes:
        verdict: one of rows.VERDICTS.
        detail: what was seen, for the teacher.
    """

    def __init__(self, verdict, detail):
        super().__init__(detail)
        self.verdict, self.detail = verdict, detail


class Talk:
    """Asks a student's process, one question at a time.

    Args:
        box: what sandbox.launch returned.
        limits: how much may come back, and how long the start may take.
    """

    def __init__(self, box, limits: Limits):
        self.box, self.limits = box, limits
        self.wire = Wire(box.stdin, box.stdout)
        self.began = time.monotonic()

    @property
    def start_left(self):
        """Seconds that are left for the start."""
        return max(0.0, self.limits.start_seconds - (time.monotonic() - self.began))

    def ask(self, seconds, fields=None, **values):
        """Send a message and wait for the reply to it: its fields and its values.

        Args:
            seconds: how long the reply may take.

        Raises:
            Ended: no reply came, or none that this protocol knows. The process has been killed.
        """
        turn, most = secrets.token_hex(8), self.limits.output_mb * 2**20
        end = time.monotonic() + seconds
        try:
            for piece in packed({**(fields or {}), "turn": turn, "most": most}, MOST_SENT, **values):
                self.wire.give(piece, end)
            said, got = read(lambda count: self.wire.take(count, end), most)
        except Late:
            raise self._ended("timeout", f"no reply after {seconds:g} s") from None
        except (OSError, EOFError):
            raise self._gone() from None
        except Broken as problem:
            raise self._ended("protocol-error", str(problem)) from None
        if said.get("turn") != turn:
            raise self._ended("protocol-error", "a reply to another question")
        return said, got

    def _gone(self):
        """How it ended, when the channel did: the process may need a moment to be gone altogether."""
        how = self.box.how_it_ended(PATIENCE)
        verdict = {"memory": "memory", "running": "protocol-error"}.get(how, "killed")
        return self._ended(verdict, "it closed the channel" if how == "running" else how)

    def _ended(self, verdict, detail):
        self.box.kill()
        return Ended(verdict, detail)


class Late(Exception):
    """Time is up."""


class Wire:
    """A pair of pipes that are never waited for beyond a moment in time (of time.monotonic)."""

    def __init__(self, stdin, stdout):
        self.inlet, self.outlet = stdin.fileno(), stdout.fileno()
        os.set_blocking(self.inlet, False)
        os.set_blocking(self.outlet, False)

    def give(self, data, end):
        """Send all of it. Raises Late, or OSError when nobody reads."""
        rest = memoryview(data)
        while rest:
            self._wait(self.inlet, OUT, end)
            try:
                rest = rest[os.write(self.inlet, rest[:2**16]):]
            except BlockingIOError:
                continue

    def take(self, count, end):
        """The next bytes, so many. Raises Late, or EOFError at the end."""
        got = bytearray()
        while len(got) < count:
            self._wait(self.outlet, IN, end)
            try:
                some = os.read(self.outlet, min(count - len(got), 2**20))
            except BlockingIOError:
                continue
            if not some:
                raise EOFError
            got += some
        return got

    def _wait(self, number, event, end):
        left = end - time.monotonic()
        if left <= 0:
            raise Late
        if not hasattr(select, "poll"):                          # Windows: ask again and again
            time.sleep(0.001)
            return
        waiting = select.poll()
        waiting.register(number, event)
        if not waiting.poll(left * 1000):
            raise Late

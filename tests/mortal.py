"""Processes that end by SIGKILL at a chosen line of Python: what is left of their work is what the tests look at.

One helper process imports what is needed, once, and forks a victim for each point. The victim counts the lines it
runs in chosen files and kills itself, without any goodbye, when it comes to the line it was told.
"""
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

HELPER = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")            # newer Pythons warn of forks
{program}

def count_lines(limit, files):
    'Call a function at every line of these files; at line number `limit` the process is gone.'
    count = [0]
    def local(frame, event, arg):
        if event == "line":
            count[0] += 1
            if count[0] == limit:
                os.kill(os.getpid(), signal.SIGKILL)
        return local
    sys.settrace(lambda frame, event, arg: local if frame.f_code.co_filename.endswith(files) else None)
    return count

for order in sys.stdin:
    limit = int(order)
    pid = os.fork()
    if pid == 0:
        try:
            lived = live(lambda: count_lines(limit, FILES))
            os.write(1, b"lines %d\\n" % lived)
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    os.write(1, b"end %d\\n" % (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0))
"""


class Victims:
    """Runs `live` of a program again and again.

    Args:
        program: Python source. It defines FILES, a tuple of file names (ends of paths) whose lines count, and
            `live(start_counting)`, which calls `start_counting()` when it has come to the dangerous part and returns
            the number of lines counted: the first entry of the list that `start_counting` returned.
        arguments: `sys.argv[1:]` of the program.
    """

    def __init__(self, program, *arguments):
        self.process = subprocess.Popen([sys.executable, "-c", HELPER.format(program=program), *arguments], cwd=ROOT,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, limit=0):
        """One victim, killed at line `limit` (0: not at all); returns (killed, the lines it wrote to descriptor 1)."""
        self.process.stdin.write(f"{limit}\n")
        self.process.stdin.flush()
        said = []
        for line in self.process.stdout:
            if line.startswith("end "):
                return int(line.split()[1]) == signal.SIGKILL, said
            said.append(line.strip())
        raise AssertionError(f"the helper ended; it said {said}")

    def lines(self):
        """How many lines there are to be killed at."""
        killed, said = self.run()
        assert not killed and said[-1].startswith("lines "), said
        return int(said[-1].split()[1])

    def close(self):
        """Let the helper end."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


@contextlib.contextmanager
def victims(program, *arguments):
    """A helper for the length of a block."""
    helper = Victims(program, *map(str, arguments))
    try:
        yield helper
    finally:
        helper.close()


def spread(count, lines):
    """`count` lines, spread evenly over 1 .. lines."""
    return [1 + k * (lines - 1) // max(count - 1, 1) for k in range(count)]


possible = hasattr(os, "fork")

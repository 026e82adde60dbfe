"""Run lessons from top to bottom in fresh kernels and store their outputs in place.

    python tools/run_notebooks.py [notebook ...]        all of notebooks/ if none is named

Keeps cell ids, tags and prose; drops what would differ for no reason next time: times, the exact Python, widget models,
and the cuts between two pieces of one stream. A lesson that fails is left as it was, and the exit status is 1.
"""
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

CELL_SECONDS = 300
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
          "language_info": {"name": "python"}}


def join_streams(outputs):
    """Join neighbours that go to the same stream: where the kernel cut them is chance."""
    joined = []
    for out in outputs:
        if joined and out.output_type == "stream" == joined[-1].output_type and out.name == joined[-1].name:
            joined[-1].text += out.text
        else:
            joined.append(out)
    return joined


def tidy(nb):
    """Take out of an executed notebook what is not the author's and not a result."""
    nb.metadata = nbformat.from_dict({**{k: v for k, v in nb.metadata.items() if k != "widgets"}, **KERNEL})
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = join_streams(cell.outputs)
        for out in cell.outputs:
            out.get("data", {}).pop(WIDGET_VIEW, None)       # the model dies with this kernel; its fallback stays
    return nb


def talk_through_files(folder):
    """Let the kernel use socket files: no port to collide on, no warning about TCP. Windows has none."""
    sockets = {"transport": "ipc", "ip": os.path.join(folder, "kernel")}
    return Config({"KernelManager": sockets} if os.name == "posix" else {})


def run(path):
    """Execute one lesson and write it back."""
    nb = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="minidl-") as sockets:
        NotebookClient(nb, timeout=CELL_SECONDS, kernel_name="python3", config=talk_through_files(sockets),
                       record_timing=False, store_widget_state=False,
                       resources={"metadata": {"path": str(path.parent)}}).execute()
    nbformat.write(tidy(nb), path)


def main(names):
    """Run the lessons one after the other and say how each went."""
    root = Path(__file__).resolve().parents[1]
    failed = 0
    for path in map(Path, names or sorted((root / "notebooks").glob("*.ipynb"))):
        start = time.perf_counter()
        try:
            run(path)
            print(f"{path.name}: stored after {time.perf_counter() - start:.1f} s", flush=True)
        except (CellExecutionError, TimeoutError) as error:
            failed += 1
            print(f"{path.name}: left as it was\n{error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A pytest plugin for `make test-notebooks`: kernels talk over socket files, each lesson's in a folder of its own.

Over TCP a kernel is told five free ports and opens them a moment later; two workers that start kernels at the same time
now and then pick the same one. nbval has no setting for it, so its name for the kernel manager is replaced.
Windows has no such sockets and keeps TCP.

A picture as SVG is compared by the words that come beside it, as nbval does with PNG: where `dot` drew it, its version
decides about every coordinate.
"""
import os
import shutil
import sys
import tempfile
import weakref

sys.modules.setdefault("rfc3987_syntax", None)          # see conftest.py

import nbval.kernel  # noqa: E402


class FileKernelManager(nbval.kernel.KernelManager):
    """A KernelManager whose sockets are files."""

    def __init__(self, **settings):
        folder = tempfile.mkdtemp(prefix="minidl-")
        self.tidy = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)    # at exit, if nobody asked
        super().__init__(transport="ipc", ip=os.path.join(folder, "kernel"), **settings)

    def cleanup_resources(self, restart=False):
        """Remove the folder together with what the parent class made."""
        super().cleanup_resources(restart)
        if not restart:
            self.tidy()


def pytest_itemcollected(item):
    """Leave SVG out of what is compared in this cell's notebook."""
    skipped = getattr(item.parent, "skip_compare", None)
    if skipped is not None and "image/svg+xml" not in skipped:
        item.parent.skip_compare = (*skipped, "image/svg+xml")


if os.name == "posix":
    nbval.kernel.KernelManager = FileKernelManager

"""A pytest plugin for `make test-notebooks`: kernels talk over socket files, each lesson's in a folder of its own.

Over TCP a kernel is told five free ports and opens them a moment later; two workers that start kernels at the same time
now and then pick the same one. nbval has no setting for it, so its name for the kernel manager is replaced.
Windows has no such sockets and keeps TCP.
"""
import os
import tempfile

import nbval.kernel


class FileKernelManager(nbval.kernel.KernelManager):
    """A KernelManager whose sockets are files."""

    def __init__(self, **settings):
        self.folder = tempfile.TemporaryDirectory(prefix="minidl-")
        super().__init__(transport="ipc", ip=os.path.join(self.folder.name, "kernel"), **settings)

    def cleanup_resources(self, restart=False):
        """Remove the folder together with what the parent class made."""
        super().cleanup_resources(restart)
        if not restart:
            self.folder.cleanup()


if os.name == "posix":
    nbval.kernel.KernelManager = FileKernelManager

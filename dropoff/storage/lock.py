"""A lock that the kernel keeps: released at the very moment its last holder dies, however it dies."""

import os
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl


class Lock:
    """A `flock` on a file that is opened for it alone, so that two in one process exclude each other too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, *, shared: bool = False) -> bool:
        """Take it if it is free, or turn a lock of ours into the other kind if nobody else has it. Never waits.

        (A blocking `flock` would hold the event loop.) A refused change may lose the lock that was there.
        """
        try:
            fcntl.flock(self.descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Free it at once. Closing alone would not: a process that another thread is just forking has a copy."""
        if self.descriptor >= 0:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        self.forget()

    def forget(self) -> None:
        """Close our descriptor; the lock stays with whoever was given a copy."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

"""The folder that the embedded store lives in: private, on a local disk that takes writes, its socket within reach.

Of what the server keeps there only the names are known here: `appendonlydir/` holds all that was promised, and
`temp-…` at the top is a rewrite of it that has not come to its end.
"""

import hashlib
import os
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from dropoff.errors import StoreRefused
from dropoff.storage.lock import Lock

SOCKET_PATH_BYTES_MAX = 103 if sys.platform == "darwin" else 107  # sun_path holds 104 or 108, with a final zero byte

TRIAL_BYTES = 256 << 10  # more than one batch of steps; a store with less room than that ends as soon as it serves

MOUNTS = Path("/proc/mounts")  # Linux only; elsewhere a network file system is not noticed
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs"}
    | {"ocfs2", "gfs2", "davfs"}
    | {f"fuse.{name}" for name in ("sshfs", "glusterfs", "ceph", "ceph-fuse", "davfs", "davfs2", "s3fs", "rclone")}
)


def prepare(folder: Path) -> None:
    """Make the store's folder, private, or refuse one that cannot be trusted or written."""
    refuse_network(folder)
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        Lock(folder / "store.lock").forget()  # opening it is the question whether we may write here
    except OSError as error:
        raise StoreRefused(
            f"The data folder {folder.parent} cannot be used: {error.strerror} ({error.filename}). "
            "Mend its rights, or choose another folder with --data or DROPOFF_DATA."
        ) from None


def refuse_network(folder: Path) -> None:
    try:
        mounts = MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return
    place, kind = mount_of(folder, mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StoreRefused(
            f"The data folder {folder.parent} is on a network file system ({kind}, mounted at {place}), where locks "
            "and fsync may not hold. Choose a folder on a local disk with --data or DROPOFF_DATA, or share a "
            "store between machines with DROPOFF_STORE=redis://HOST:6379."
        )


def mount_of(path: Path, mounts: str) -> tuple[str, str]:
    """Where the file system that holds `path` is mounted, and its type, by the text of /proc/mounts."""
    best = ("", "")
    for line in mounts.splitlines():
        _, where, kind, *_ = line.split(" ")
        for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            where = where.replace(code, char)
        # The longest place wins, and of two on the same place the later one, which covers the first.
        if path.is_relative_to(where) and len(where) >= len(best[0]):
            best = (where, kind)
    return best


def try_to_write(folder: Path) -> None:
    """Write a little, to the disk; if that fails, refuse the folder with the disk's own reason."""
    trial = folder / "trial"
    try:
        try:
            handle = os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb", buffering=0) as file:
                rest = TRIAL_BYTES
                while rest:  # a disk that is just filling takes a part, and says why at the next write
                    rest -= file.write(bytes(rest))
                os.fsync(file.fileno())
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        raise StoreRefused(
            f"The store in {folder} is not started, for its disk does not take {TRIAL_BYTES >> 10} kB more: "
            f"{error.strerror}. What has a receipt is not lost. Mend the disk, or make room on it."
        ) from None


def sweep(folder: Path) -> None:
    """Remove what a rewrite that was killed has left. Nobody else would, and it can be all that fills the disk."""
    for left in folder.glob("temp-*"):
        left.unlink(missing_ok=True)


def written(folder: Path) -> int:
    """The bytes of the store's files."""
    total = 0
    for file in folder.glob("appendonlydir/*"):
        with suppress(FileNotFoundError):  # a rewrite has just replaced it
            total += file.stat().st_size
    return total


def short_enough(socket: Path) -> str:
    """A path to the socket that the kernel takes: its own, or one through a symlink in a private temporary folder.

    The link's name follows from the folder, so that a second start finds it and none are left lying about. It is only a
    way to the socket: users with different temporary folders have different links, and still meet the same server.
    """
    if len(os.fsencode(socket)) <= SOCKET_PATH_BYTES_MAX:
        return str(socket)
    name = hashlib.sha256(os.fsencode(socket.parent)).hexdigest()[:16]
    for temporary in (tempfile.gettempdir(), "/tmp"):  # noqa: S108  (the folder in it is made private and checked)
        link = Path(temporary, f"dropoff-{os.geteuid()}", name)
        if len(os.fsencode(link / socket.name)) <= SOCKET_PATH_BYTES_MAX:
            break
    _make_private(link.parent, instead_of=socket)
    if not (link.is_symlink() and link.readlink() == socket.parent):
        fresh = link.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(socket.parent)
        fresh.replace(link)
    return str(link / socket.name)


def _make_private(folder: Path, *, instead_of: Path) -> None:
    """Make a folder of ours in a place where everybody may write, and refuse one that somebody else has put there."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    if not private:
        raise StoreRefused(
            f"{instead_of} is too long for a socket, and {folder}, where a short link to it would stand, is not a "
            "private folder of this user. Remove that folder, or choose a shorter data folder with --data."
        )

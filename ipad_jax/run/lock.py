"""One training process a run folder: RUN/.lock, held from before anything is written until the end.

The lock is flock's, which the kernel takes back when a process ends, however it ends; the file says who
holds it. Where a file system has no flock, the process number decides, and two processes that start within
milliseconds of each other may both pass. A bucket (gs://) has no locks: nothing is held there.
"""

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ipad_jax.run.files import absolute, in_bucket

LOCK = ".lock"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux
_NO_FLOCK = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_held: set[Path] = set()


@dataclasses.dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
      host: name of the machine or container; boot: of the machine since its start, shared by its
        containers, "" where unknown.
      pid: process number there.
      started: ISO 8601, UTC.
      job: Slurm's job, "" without. A requeued one has the same number on another node.
    """

    host: str
    boot: str
    pid: int
    started: str
    job: str

    @classmethod
    def this(cls) -> "Holder":
        """This process."""
        return cls(
            host=socket.gethostname(),
            boot=_BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "",
            pid=os.getpid(),
            started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            job=os.environ.get("SLURM_JOB_ID", ""),
        )

    def is_near(self, other: "Holder") -> bool:
        """Whether both run on one machine, or in one Slurm job, which never runs twice at a time."""
        return (
            self.host == other.host
            or (self.boot != "" and self.boot == other.boot)
            or (self.job != "" and self.job == other.job)
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, started {self.started}"


@contextlib.contextmanager
def locked(workdir: str | os.PathLike[str]) -> Iterator[None]:
    """Holds a run folder, which is made where it is missing, against other training processes.

    Raises:
      ValueError: another process holds it, or one of another machine did when it was killed; says
        which, and what to do.
      OSError: the folder cannot be made or written.
    """
    if in_bucket(workdir):
        yield
        return
    folder = Path(absolute(workdir))
    was_there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder} cannot be made a run folder: {error}") from error
    descriptor = -1
    try:
        descriptor = _acquire(folder / LOCK)
        yield
    finally:
        if descriptor >= 0:
            _release(folder / LOCK)
            os.close(descriptor)
        if not was_there:  # a run that was refused leaves no empty folder
            with contextlib.suppress(OSError):
                folder.rmdir()


def release_all() -> None:
    """Gives up every lock; for a process that ends without leaving its contexts."""
    for path in list(_held):
        _release(path)


def _acquire(path: Path) -> int:
    """Opens, locks and signs a lock file; gives its descriptor."""
    me = Holder.this()
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            has_flock = _flock(descriptor, path)
            if not _is_still(
                descriptor, path
            ):  # its holder ended, and deleted it, after the opening
                os.close(descriptor)
                continue
            before = _read(path)
            if before is not None:
                _check_gone(before, me, has_flock, path)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(dataclasses.asdict(me)).encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        _held.add(path)
        return descriptor


def _flock(descriptor: int, path: Path) -> bool:
    """Locks without waiting; False where the file system has no locks.

    Raises: ValueError where another process has the lock.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _in_use(_read(path), path) from error
    except OSError as error:
        if error.errno in _NO_FLOCK:
            return False
        raise
    return True


def _check_gone(before: Holder, me: Holder, has_flock: bool, path: Path) -> None:
    """Raises ValueError unless the process that signed a lock file is certainly gone."""
    if not before.is_near(me):
        raise ValueError(
            f"{path.parent} was locked by {before}; from {me.host} it cannot be seen whether that still "
            f"trains. If it has ended, delete {path} and start again; else wait for it, or take another "
            "--workdir."
        )
    # With flock, we hold what it would hold if it lived.
    same_boot = before.boot == me.boot and before.host == me.host
    if not has_flock and same_boot and _is_alive(before.pid):
        raise _in_use(before, path)


def _in_use(holder: Holder | None, path: Path) -> ValueError:
    """What to do about a run that goes on."""
    who = holder or "another process"
    stop = f", or stop it with `kill {holder.pid}` (it saves first)" if holder else ""
    return ValueError(
        f"{path.parent} is being trained by {who}. Wait until it ends{stop}, or take another --workdir."
    )


def _read(path: Path) -> Holder | None:
    """Who signed a lock file; None where nobody did, or not completely."""
    try:
        return Holder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether a path still names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _is_alive(pid: int) -> bool:
    """Whether this machine has such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _release(path: Path) -> None:
    """Deletes a lock file while it is still locked, so that nobody else's is deleted."""
    path.unlink(missing_ok=True)
    _held.discard(path)

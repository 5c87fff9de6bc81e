"""A service's container as processes on a machine: its files, its environment, its end, and commands in it.

Its root is an overlay over this machine's, whose own layer is gone with it; volumes stay. As in a container, the first
process is the one that all others end with.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from lethe_demo.compose.file import ComposeError, Service, Volume
from lethe_demo.compose.images import Image, image_of
from lethe_demo.compose.network import Network, quoted

_START_SECONDS = 10.0

_INIT = """
"$@" &
child=$!
trap 'kill -TERM $child' TERM INT
while kill -0 $child 2>/dev/null; do wait $child && code=0 || code=$?; done
exit $code
"""
"""The first process, as `dumb-init` is in Airflow's image: hands on the signal to end, and ends with its child."""


@dataclass
class Container:
    """One container of a service.

    Attributes:
        name: of its machine, too: `airflow-worker-2`.
        service: what the compose file says.
        folder: where its volumes, and the output of its processes are, and stay.
        project: the folder that the file's relative paths are in.
    """

    name: str
    service: Service
    folder: Path
    project: Path
    network: Network
    wanted: bool = False
    """Whether it was started, and nobody has stopped or killed it since."""
    starts: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _init: int | None = None

    @property
    def log(self) -> Path:
        """What its processes wrote, of all its starts."""
        return self.folder / "output.log"

    @property
    def address(self) -> str:
        """Where it is reached from here."""
        return self.network.machines[self.name].address

    def start(self) -> None:
        """Start it.

        Raises:
            ComposeError: if it did not get as far as its own command.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.wanted = True
        self.starts += 1
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.network.enter(self.name), "/bin/sh", "-eu", str(self._written_script())],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._init = self._first_process(self._process)

    def _first_process(self, outermost: subprocess.Popen[bytes]) -> int | None:
        """The id, on this machine, of the process that is the first in the container; None if that has ended."""
        deadline = time.monotonic() + _START_SECONDS
        while outermost.poll() is None:
            with suppress(psutil.NoSuchProcess):
                for process in psutil.Process(outermost.pid).children(recursive=True):
                    if _is_first(process.pid):
                        return process.pid
            if time.monotonic() > deadline:
                raise ComposeError(f"{self.name} did not start; see {self.log}")
            time.sleep(0.01)
        return None

    @property
    def code(self) -> int | None:
        """With which code it has ended; None as long as it runs, and before."""
        return self._process.poll() if self._process is not None else None

    @property
    def up(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it with all its processes at once, as a machine ends whose power fails."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and kill it after the time that the file gives it."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        self.wanted = False
        if self._process is None:
            return
        if self._init is not None and self._process.poll() is None:
            os.kill(self._init, how)
        try:
            self._process.wait(self.service.grace)
        except subprocess.TimeoutExpired:
            self.kill()

    def run(self, command: Sequence[str], timeout: float) -> subprocess.CompletedProcess[bytes]:
        """Run a command in it, with its environment, as `docker exec` does. One that takes too long ends with 124."""
        into = ["nsenter", "--target", str(self._init), "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
        within = ["timeout", "--signal", "KILL", str(timeout), *self._as_user(), *command]
        return subprocess.run(
            [*into, *within], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )

    # --- what it consists of -----------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """What its processes have: nothing of this process's own."""
        image = self._image
        return {
            "PATH": image.path, "HOME": "/root", "HOSTNAME": self.name, "LANG": "C.UTF-8",
            **image.environment, **self.service.environment,
        }  # fmt: skip

    @property
    def _image(self) -> Image:
        return image_of(self.service)

    def _command(self) -> list[str]:
        image, service = self._image, self.service
        if service.entrypoint is not None:
            return [*service.entrypoint, *service.command]
        return [*image.entrypoint, *(service.command or image.command)]

    def _user(self) -> tuple[str, str]:
        uid, _, gid = (self.service.user or self._image.user).partition(":")
        return uid, gid or "0"

    def _as_user(self) -> list[str]:
        uid, gid = self._user()
        return ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "--"]

    def _written_script(self) -> Path:
        """The script, in a file: it may have secrets in it, which everybody could see among a process's arguments."""
        file = self.folder / "start.sh"
        file.touch(mode=0o700)
        file.write_text(self._script())
        return file

    def _script(self) -> str:
        """Puts together the container's root, and goes on as its command."""
        root = self.folder / "root"
        files = {**self._image.files, **self.service.configs, **self._names()}
        user = f"postgres:x:{self._user()[0]}:0::/tmp:/bin/sh"
        lines = [
            f"hostname {self.name}",
            f"mkdir -p {quoted([str(root)])}",
            f"mount -t tmpfs tmpfs {quoted([str(root)])}",
            f"cd {quoted([str(root)])}",
            "mkdir own work all",
            "mount -t overlay overlay -o lowerdir=/,upperdir=own,workdir=work all",
            "cd all",
            "mount -t proc proc proc",
            "mount --rbind /dev dev",
            "mount -t tmpfs -o mode=1777 tmpfs tmp",
            "mount -t tmpfs tmpfs run",
            f"echo {quoted([user])} >> etc/passwd" if self._strange() else ":",
            *(_written(place, text) for place, text in files.items()),
            *(_bound(source, place) for place, source in self._mounts().items()),
            *(line for volume in self._volumes() for line in self._mounted(volume)),
        ]  # fmt: skip
        into = ["chroot", ".", *self._as_user(), "/bin/sh", "-c", _INIT, "init", *self._command()]
        return "\n".join([*lines, f"exec {quoted(into)}"])

    def _strange(self) -> bool:
        """Whether it runs as a user whom this machine need not know, and the image does."""
        return self._user()[0] not in ("0", str(os.getuid()))

    def _names(self) -> dict[str, str]:
        return {"/etc/hosts": self.network.hosts(), "/etc/hostname": f"{self.name}\n", "/etc/resolv.conf": ""}

    def _mounts(self) -> dict[str, Path]:
        """What the image has, and where this environment is, which may be on another file system."""
        own = {str(place): Path(place) for place in (sys.base_prefix, self.project, sys.prefix)}
        outside = {name: place for name, place in own.items() if not place.is_relative_to("/usr")}
        return {**outside, **self._image.mounts}

    def _volumes(self) -> list[Volume]:
        known = {volume.target for volume in self.service.volumes}
        further = [Volume(place.strip("/"), place, read_only=False) for place in self._image.folders]
        return [*self.service.volumes, *(volume for volume in further if volume.target not in known)]

    def _mounted(self, volume: Volume) -> list[str]:
        source = self.project / volume.source
        if volume.named:
            source = self.folder / "volumes" / volume.source
            source.mkdir(parents=True, exist_ok=True)
            if volume.target.startswith("/var/lib/postgresql"):
                uid, gid = map(int, self._user())
                os.chown(source, uid, gid)
        lines = [_bound(source, volume.target)]
        if volume.read_only:
            lines.append(f"mount -o remount,bind,ro {quoted([volume.target.lstrip('/')])}")
        return lines


def _is_first(pid: int) -> bool:
    """Whether a process is the first of a container, and its root has been put together."""
    try:
        ids, root = _ids(str(pid)), Path(f"/proc/{pid}/root").stat()
    except (FileNotFoundError, ProcessLookupError):
        return False
    own = Path("/").stat()
    return (
        len(ids) == len(_ids("self")) + 2 and ids[-1] == "1" and (root.st_dev, root.st_ino) != (own.st_dev, own.st_ino)
    )


def _ids(process: str) -> list[str]:
    """The ids of a process, in the namespace of processes that this one is in and in all below."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith("NSpid:"))


def _written(place: str, text: str) -> str:
    """Writes a file of a root, that everybody may read and run."""
    name = quoted([place.lstrip("/")])
    return f"mkdir -p $(dirname {name})\nrm -f {name}\nprintf %s {quoted([text])} > {name}\nchmod 755 {name}"


def _bound(source: Path, place: str) -> str:
    """Has a file or folder of this machine in a root, too."""
    name = quoted([place.lstrip("/")])
    make = f"mkdir -p {name}" if source.is_dir() else f"mkdir -p $(dirname {name})\ntouch {name}"
    return f"{make}\nmount --rbind {quoted([str(source)])} {name}"

"""Machines for services: network, host name, files and processes of their own, as namespaces of Linux.

All of them are within one namespace of processes and one of networks. Whatever ends its first process ends, by the
kernel's own doing, all that runs there, with its networks, bridge and mounts: when the pipe to it closes, also because
this process was killed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Self
from weakref import WeakSet

import psutil

from lethe_demo.compose.file import ComposeError

_NETWORKS = [f"198.18.{number}" for number in range(256)]
"""RFC 2544 keeps these addresses for tests between machines, so nobody is reached by them."""
_HERE = 254
"""This machine's own address in the network."""
_FIRST = 10

_MAKE_NETWORK = """
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add name bridge type bridge
ip link set bridge up
{machines}
ip link set here master bridge up
echo ready
"""
"""Read by a shell that then waits for more, and ends where there will be none."""
_MAKE_MACHINE = """
ip netns add {name}
ip link add name m{number} type veth peer name eth0 netns {name}
ip link set m{number} master bridge up
ip -n {name} address add {address}/24 dev eth0
ip -n {name} link set eth0 up
ip -n {name} link set lo up
"""
_NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


@cache
def why_not() -> str | None:
    """Why there can be no such machines here; None where there can."""
    if sys.platform != "linux":
        return "namespaces are Linux's"
    if os.getuid() != 0:
        return "namespaces are made by root"
    script = "mount -t tmpfs tmpfs /run; ip netns add try; ip link add name bridge type bridge"
    tried = subprocess.run([*_NAMESPACES, "/bin/sh", "-ec", script], capture_output=True, text=True, check=False)
    return f"no namespaces: {tried.stderr.strip()}" if tried.returncode else None


@dataclass(frozen=True, slots=True)
class Machine:
    """One of them, by its host name."""

    name: str
    address: str


class Network:
    """Machines that reach each other, and that this one reaches by their addresses. A context manager."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self.machines: dict[str, Machine] = {}

    def __enter__(self) -> Self:
        """Make all machines, and a link to them.

        Raises:
            ComposeError: if that is not allowed here.
        """
        _NETWORKS_HERE.add(self)
        self._number, self._keeper = (
            0,
            subprocess.Popen([*_NAMESPACES, "/bin/sh", "-e"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True),
        )
        try:
            self._make()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _make(self) -> None:
        if not self._said("echo ready"):
            raise ComposeError(f"no machines: {why_not() or 'unshare ended'}")
        self._pid = psutil.Process(self._keeper.pid).children()[0].pid
        network = self._link()
        self.machines = {
            name: Machine(name, f"{network}.{number}") for number, name in enumerate(self._names, start=_FIRST)
        }
        each = [
            _MAKE_MACHINE.format(name=machine.name, number=number, address=machine.address)
            for number, machine in enumerate(self.machines.values())
        ]
        if not self._said(_MAKE_NETWORK.format(machines="".join(each))):
            raise ComposeError("the machines' network could not be made")

    def _said(self, script: str) -> bool:
        """Have the shell that keeps the namespaces run a script; whether it said that it is ready."""
        there, back = self._keeper.stdin, self._keeper.stdout
        if there is None or back is None:
            return False
        print(script, file=there, flush=True)
        return back.readline() == "ready\n"

    def _link(self) -> str:
        """Make a pair of network interfaces, here and there; the network is the first whose name nobody has taken."""
        for number, network in enumerate(_NETWORKS):
            name = f"lethe{number}"
            made = _ip("link", "add", name, "type", "veth", "peer", "name", "here", "netns", str(self._pid))
            if made.returncode == 0:
                _ip("address", "add", f"{network}.{_HERE}/24", "dev", name).check_returncode()
                _ip("link", "set", name, "up").check_returncode()
                return network
            if "exists" not in made.stderr:
                raise ComposeError(f"no link to the machines: {made.stderr.strip()}")
        raise ComposeError("all networks for tests are taken: ip link")

    def enter(self, machine: str) -> list[str]:
        """The beginning of a command that is to run on a machine, in namespaces of files and processes of its own."""
        into = ["nsenter", "--target", str(self._pid), "--mount", "--net", "--pid"]
        own = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
        return [*into, "ip", "netns", "exec", machine, *own]

    def hosts(self) -> str:
        """The content of `/etc/hosts` on each machine. Of `worker-1` and `worker-2`, `worker` names the first."""
        lines = ["127.0.0.1 localhost"]
        for machine in self.machines.values():
            service, _, number = machine.name.rpartition("-")
            alias = f" {service}" if number == "1" else ""
            lines.append(f"{machine.address} {machine.name}{alias}")
        return "\n".join(lines) + "\n"

    def forget(self) -> None:
        """Close the pipe, in a process that was forked and is not the one by which all ends."""
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything on the machines, and them."""
        for pipe in (self._keeper.stdin, self._keeper.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._keeper.wait()
        _NETWORKS_HERE.discard(self)


_NETWORKS_HERE: WeakSet[Network] = WeakSet()


def _forget_networks() -> None:
    for network in _NETWORKS_HERE:
        network.forget()


os.register_at_fork(after_in_child=_forget_networks)


def _ip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=False)


def quoted(words: Sequence[str]) -> str:
    """Words as a shell reads them back."""
    return " ".join(map(shlex.quote, words))

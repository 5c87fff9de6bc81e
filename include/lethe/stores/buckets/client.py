"""boto3 clients from Airflow connections of type ``aws``, with bounded time-outs, retries and pools.

Two kinds of client come from one connection. `S3Access.client` reads, lists and stages: botocore retries it.
`S3Access.leased` is for requests that change records inside a lease: one attempt, with time-outs that end
well before the lease does, signed so that S3 refuses what comes later.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session as BotocoreSession
from botocore.session import get_session

from lethe.connections import Connection
from lethe.errors import ConnectionMissing
from lethe.stores.buckets.errors import Operation, translate
from lethe.stores.buckets.leases import ServerClock, bound_answers, refuse_late
from lethe.stores.buckets.listing import read_fast

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

POOL = 64
"""Connections that one client keeps open."""
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
BOUNDED_SECONDS = 10.0
ATTEMPTS = 5
"""Time-outs and attempts of requests outside of leases."""
_SPECIAL = re.compile("[&<>\r\n]")
_BREAKS = {"\r": "&#xD;", "\n": "&#xA;"}
"""Line breaks in keys, which XML would not keep otherwise."""
SCRATCH_PREFIX = "_lethe/"
"""Where staging goes in a bucket, unless the connection's extra `lethe_scratch_prefix` says else."""

_LOGGERS = {"boto3": logging.INFO, "botocore": logging.INFO, "s3transfer": logging.INFO, "urllib3": logging.INFO,
            "urllib3.connectionpool": logging.ERROR}  # fmt: skip
"""The lowest level of loggers that quote requests: URLs and bodies with keys at DEBUG, URLs in warnings of the pool."""


def keep_requests_out_of_logs() -> None:
    """Raise the levels of loggers that would quote object keys, for the whole process: botocore has none a client."""
    for name in (*_LOGGERS, *logging.root.manager.loggerDict):
        lowest = max((level for top, level in _LOGGERS.items() if f"{name}.".startswith(f"{top}.")), default=None)
        logger = logging.getLogger(name) if lowest is not None else None
        if logger is not None and lowest is not None and logger.getEffectiveLevel() < lowest:
            logger.setLevel(lowest)


@dataclass(frozen=True)
class S3Access:
    """Everything that stores need to reach the buckets of one connection.

    Attributes:
        connection: the Airflow connection, of type ``aws``.
        scratch_prefix: where staging goes, ending with a slash (extra `lethe_scratch_prefix`).
        scratch_bucket: the bucket that staging goes to (extra `lethe_scratch_bucket`); None: the dataset's.
        clock: the S3 server's, as its answers tell it.
    """

    connection: Connection
    scratch_prefix: str = SCRATCH_PREFIX
    scratch_bucket: str | None = None
    clock: ServerClock = field(default_factory=ServerClock, repr=False, compare=False)
    _session: boto3.Session = field(default_factory=boto3.Session, repr=False, compare=False)

    @classmethod
    def open(cls, connection: Connection) -> Self:
        """Read what the connection says. No request is sent, unless a role has to be assumed.

        Raises:
            ConnectionMissing: if it is not of type ``aws``, or its scratch prefix or profile cannot be used.
            StoreUnavailable, StoreError: if the role it names cannot be assumed.
        """
        if connection.conn_type not in ("aws", "s3"):
            raise ConnectionMissing(
                f"connection {connection.conn_id} is of type {connection.conn_type!r}; S3 needs type 'aws'"
            )
        scratch = str(connection.extra.get("lethe_scratch_prefix") or SCRATCH_PREFIX)
        if scratch.startswith("/") or not scratch.strip("/"):
            raise ConnectionMissing(f"connection {connection.conn_id}: lethe_scratch_prefix must be such as '_lethe/'")
        bucket = connection.extra.get("lethe_scratch_bucket")
        return cls(
            connection=connection,
            scratch_prefix=scratch.rstrip("/") + "/",
            scratch_bucket=str(bucket) if bucket else None,
            _session=_session(connection),
        )

    @property
    def conn_id(self) -> str:
        """The connection's id, for messages."""
        return self.connection.conn_id

    def batch_size(self, usual: int) -> int:
        """Records of a batch at most: the connection's extra `lethe_batch_size`, at least 1, or what is usual.

        Raises:
            ConnectionMissing: if it is not a number.
        """
        try:
            return max(1, int(self.connection.extra.get("lethe_batch_size", usual)))
        except (TypeError, ValueError):
            raise ConnectionMissing(f"connection {self.conn_id}: lethe_batch_size must be a number") from None

    @cached_property
    def client(self) -> S3Client:
        """For reading, listing and staging: retried by botocore."""
        return self._client(CONNECT_SECONDS, READ_SECONDS, ATTEMPTS)

    @cached_property
    def lister(self) -> S3Client:
        """For listing by `lethe.stores.buckets.listing`: as `client`, but its ListObjectVersions answers with pages."""
        client = self._client(CONNECT_SECONDS, READ_SECONDS, ATTEMPTS)
        read_fast(client)
        return client

    @cached_property
    def bounded(self) -> S3Client:
        """For requests that somebody waits for: as `client`, but a whole answer takes `BOUNDED_SECONDS` at most."""
        client = self._client(CONNECT_SECONDS, BOUNDED_SECONDS, 2)
        bound_answers(client)
        return client

    def leased(self, lease_seconds: float) -> S3Client:
        """A client for requests inside a lease (`buckets.leases`): one attempt, refused after it; close it.

        Connecting may take an eighth of `lease_seconds` (at most 5 s), the whole answer three eighths (at most 15 s).
        """
        connect, read = min(CONNECT_SECONDS, lease_seconds / 8), min(15.0, lease_seconds * 3 / 8)
        client = self._client(
            connect,
            read,
            1,
            parameter_validation=False,  # of a thousand keys it takes long
            request_checksum_calculation="when_required",  # a checksum behind the body needs another signature
        )
        refuse_late(client)
        return client

    def place(self, bucket: str | None, action: str) -> Operation:
        """What error messages say of a request; `action` in words, such as ``list versions``."""
        return Operation(self.conn_id, bucket, action)

    def now(self, bucket: str) -> datetime:
        """The time by the server's clock, or a little less: what the `Date` of its answer says, whatever else it says.

        Raises:
            StoreUnavailable, StoreError: if it does not answer, or does not say.
        """
        place = self.place(bucket, "ask for the time")
        with suppress(ClientError):  # a refusal is an answer, too
            try:
                self.client.head_bucket(Bucket=bucket)
            except BotoCoreError as error:
                raise translate(error, place) from None
        return datetime.fromtimestamp(self.clock.at(time.monotonic(), place), UTC)

    def root(self, bucket: str) -> str:
        """What is the same for every connection that leads to a bucket; see `lethe.stores.base.Place`."""
        endpoint = urlsplit(self.client.meta.endpoint_url)
        host = "aws" if str(endpoint.hostname).endswith((".amazonaws.com", ".amazonaws.com.cn")) else endpoint.netloc
        return f"s3:{host}/{bucket}"

    def _client(self, connect: float, read: float, attempts: int, **options: Any) -> S3Client:  # noqa: ANN401 - of `Config`
        keep_requests_out_of_logs()
        extra = self.connection.extra
        try:
            config = Config(
                connect_timeout=connect,
                read_timeout=read,
                max_pool_connections=POOL,
                retries={"total_max_attempts": attempts, "mode": "standard"},
                tcp_keepalive=True,
                user_agent_extra="lethe",
                **{**_dict(extra.get("config_kwargs")), **options},
            )
            client = self._session.client(
                "s3", endpoint_url=_endpoint(extra), verify=extra.get("verify"), config=config
            )
        except (BotoCoreError, ValueError, TypeError, AttributeError) as error:  # the latter of what is no text
            raise ConnectionMissing(
                f"connection {self.conn_id}: its extra does not make an S3 client ({type(error).__name__}): "
                "check endpoint_url, region_name and config_kwargs"
            ) from None
        resolved: Any = client.meta.config
        if resolved.signature_version != "s3v4":
            raise ConnectionMissing(
                f"connection {self.conn_id}: signature_version in its config_kwargs must be s3v4, the only one that "
                "bounds how long S3 takes a request"
            )
        self.clock.watch(client)
        return client

    def close(self) -> None:
        """Give back the connections of its clients, if there are any."""
        for name in ("client", "lister", "bounded"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()


def write_fast(client: S3Client) -> None:
    """Have a client write the XML of DeleteObjects in one go: botocore takes longer over it than over all the rest."""
    client.meta.events.register("before-parameter-build.s3.DeleteObjects", _take_body)
    client.meta.events.register_first("before-call.s3.DeleteObjects", _put_body)


def _take_body(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    context["lethe_delete"] = delete_body(params["Delete"]["Objects"], quiet=bool(params["Delete"].get("Quiet")))
    params["Delete"] = {"Objects": []}


def _put_body(params: dict[str, Any], **_: object) -> None:
    params["body"] = params["context"].pop("lethe_delete")


def delete_body(objects: Sequence[Mapping[str, str]], *, quiet: bool) -> bytes:
    """The body of DeleteObjects (https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html)."""
    if _SPECIAL.search("".join([value for one in objects for value in one.values()])):
        objects = [{name: escape(value, _BREAKS) for name, value in one.items()} for one in objects]
    each = "".join(
        [f"<Object>{''.join([f'<{name}>{value}</{name}>' for name, value in one.items()])}</Object>" for one in objects]
    )
    quietly = "<Quiet>true</Quiet>" if quiet else ""
    return f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{quietly}{each}</Delete>'.encode()


def _dict(value: object) -> dict[str, Any]:
    """Options for `Config` without those that bound a request's time and number of attempts."""
    ours = {
        "connect_timeout",
        "read_timeout",
        "max_pool_connections",
        "retries",
        "tcp_keepalive",
        "user_agent_extra",
    }
    return {k: v for k, v in value.items() if k not in ours} if isinstance(value, dict) else {}


def _endpoint(extra: Any) -> str | None:  # noqa: ANN401 - JSON values
    service = _service(extra, "s3")
    return service.get("endpoint_url") or extra.get("endpoint_url") or extra.get("host") or None


def _service(extra: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - JSON values
    services = extra.get("service_config")
    service = services.get(name) if isinstance(services, dict) else None
    return service if isinstance(service, dict) else {}


def _session(connection: Connection) -> boto3.Session:
    """The session with the connection's own keys, its profile or the machine's role, and the role it assumes.

    The names of the fields are those of Airflow's Amazon provider
    (https://airflow.apache.org/docs/apache-airflow-providers-amazon/stable/connections/aws.html).
    """
    extra = connection.extra
    profile = extra.get("profile_name") or extra.get("profile")
    keys = {
        "aws_access_key_id": connection.login or extra.get("aws_access_key_id"),
        "aws_secret_access_key": connection.password or extra.get("aws_secret_access_key"),
        "aws_session_token": extra.get("aws_session_token"),
    }
    region = extra.get("region_name")
    try:
        session = boto3.Session(
            botocore_session=_quick_session(profile),
            profile_name=profile,
            region_name=region,
            **{name: str(value) for name, value in keys.items() if value},
        )
    except (BotoCoreError, ValueError) as error:
        raise ConnectionMissing(f"connection {connection.conn_id}: no AWS session ({type(error).__name__})") from None
    role = extra.get("role_arn")
    return _assumed(connection, session, str(role)) if role else session


def _quick_session(profile: str | None) -> BotocoreSession:
    """A session that shares the descriptions of AWS's services with all others: reading them takes 0.1 s each time.

    Raises:
        ProfileNotFound: if there is no such profile.
    """
    session = BotocoreSession(profile=profile)
    session.register_component("data_loader", _service_descriptions())
    session.get_scoped_config()
    return session


@cache
def _service_descriptions() -> object:
    return get_session().get_component("data_loader")


def _assumed(connection: Connection, session: boto3.Session, role: str) -> boto3.Session:
    """The session of a role, whose credentials botocore refreshes before they run out."""
    from botocore.credentials import RefreshableCredentials

    extra = connection.extra
    config = Config(
        connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": ATTEMPTS}
    )
    sts = session.client("sts", endpoint_url=_service(extra, "sts").get("endpoint_url"), config=config)
    options = _dict(extra.get("assume_role_kwargs"))
    if extra.get("external_id"):
        options.setdefault("ExternalId", extra["external_id"])

    def refresh() -> dict[str, str]:
        try:
            answer = sts.assume_role(**{"RoleArn": role, "RoleSessionName": "lethe", **options})["Credentials"]
        except (BotoCoreError, ClientError) as error:
            raise translate(error, Operation(connection.conn_id, None, "assume the role of its role_arn")) from None
        return {
            "access_key": answer["AccessKeyId"],
            "secret_key": answer["SecretAccessKey"],
            "token": answer["SessionToken"],
            "expiry_time": answer["Expiration"].isoformat(),
        }

    botocore_session: Any = _quick_session(None)
    botocore_session._credentials = RefreshableCredentials.create_from_metadata(refresh(), refresh, "sts-assume-role")
    return boto3.Session(botocore_session=botocore_session, region_name=session.region_name)

"""botocore's errors as Lethe's, in messages that name connection, bucket and action, and never a key.

botocore's own messages may contain object keys (which are personal data) and URLs with signatures, so nothing
of them is repeated but the error code, and the exception itself is kept out (``from None``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    EndpointProviderError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from lethe.errors import NotAdmitted, StoreError, StoreUnavailable

PASSING_CODES = frozenset(
    {
        "InternalError", "InternalFailure", "SlowDown", "ServiceUnavailable", "ServiceFailure", "Throttling",
        "ThrottlingException", "RequestThrottled", "RequestLimitExceeded", "TooManyRequests",
        "RequestTimeout", "RequestTimeoutException", "OperationAborted", "ConditionalRequestConflict",
        "ConflictException",
        "ExpiredToken", "BadDigest", "500", "502", "503", "504", "429",
    }
)  # fmt: skip
"""Error codes of S3 where the same request may succeed later
(https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)."""

WRONG_CREDENTIALS = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "AuthorizationHeaderMalformed",
        "InvalidClientTokenId",
    }
)
NOT_ALLOWED = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "403"})
NO_BUCKET = frozenset({"NoSuchBucket"})
ABSENT = frozenset({"NoSuchKey", "NoSuchVersion", "NotFound", "404"})
"""Codes of an object or version that is not there."""
ENDED = frozenset({"NoSuchUpload"})
"""Codes of an upload that was completed or aborted."""
PRECONDITION = frozenset({"PreconditionFailed", "412"})
"""Codes of a condition (If-Match, If-None-Match, ETag) that did not hold."""
GATEWAY_GAVE_UP = frozenset({502, 504})
"""HTTP statuses of a gateway that gave up waiting for S3, which may carry the request out all the same."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a message says of a request: connection, bucket and, in words, what was asked."""

    conn_id: str
    bucket: str | None
    action: str

    def __str__(self) -> str:
        """For the start of a message."""
        return f"connection {self.conn_id}" + (f", bucket {self.bucket}" if self.bucket else "")


def code_of(error: BaseException) -> str:
    """The error code of S3 in a `ClientError` (its HTTP status where it has none); else an empty text."""
    if not isinstance(error, ClientError):
        return ""
    code = str(error.response.get("Error", {}).get("Code") or "")
    return code or str(status_of(error) or "")


def status_of(error: BaseException) -> int:
    """The HTTP status in a `ClientError`, or 0."""
    if not isinstance(error, ClientError):
        return 0
    metadata: Mapping[str, object] = error.response.get("ResponseMetadata") or {}
    status = metadata.get("HTTPStatusCode")
    return status if isinstance(status, int) else 0


def fate_unknown(error: BaseException) -> bool:
    """Whether the request may have been carried out, or still may be: sent, but no answer of S3's own was read."""
    if status_of(error) in GATEWAY_GAVE_UP:
        return True
    if isinstance(error, ConnectTimeoutError | EndpointConnectionError):
        return False
    return isinstance(error, HTTPClientError | ResponseParserError | HTTPError | OSError)


def is_passing(code: str) -> bool:
    """Whether a request, or one key of a multi-delete, with this error code may succeed when tried again."""
    return code in PASSING_CODES


def translate(error: BaseException, place: Operation) -> StoreError:  # noqa: PLR0911 - one return a kind
    """The error of Lethe for one of botocore, urllib3 or the socket.

    `StoreUnavailable` where a retry may help, else `StoreError`; neither repeats keys, URLs or botocore's text.
    """
    if isinstance(error, StoreError):
        return error
    if isinstance(error, ClientError):
        return _of_answer(code_of(error), status_of(error), place)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return NotAdmitted(
            f"{place}: no AWS credentials: give the connection a login and password, a profile or a role"
        )
    if isinstance(error, EndpointProviderError):
        return NotAdmitted(f"{place}: its extra leads to no S3 server: check endpoint_url, region_name, config_kwargs")
    if isinstance(error, ConnectTimeoutError | EndpointConnectionError):
        return StoreUnavailable(
            f"{place}: the S3 server cannot be reached to {place.action}: is it up, is endpoint_url right?"
        )
    if isinstance(error, ReadTimeoutError):
        return StoreUnavailable(f"{place}: the S3 server did not answer in time to {place.action}")
    if isinstance(error, HTTPClientError | ResponseParserError | HTTPError | OSError):
        return StoreUnavailable(
            f"{place}: the S3 server broke off while asked to {place.action} ({type(error).__name__})"
        )
    return StoreError(f"{place}: could not {place.action} ({type(error).__name__}): check the connection's extra")


def _of_answer(code: str, status: int, place: Operation) -> StoreError:
    if code in NO_BUCKET:
        return StoreError(f"{place}: there is no such bucket")
    if code in WRONG_CREDENTIALS:
        return NotAdmitted(
            f"{place}: the S3 server does not accept the connection's credentials ({code}): mend its login and password"
        )
    if code == "RequestTimeTooSkewed":
        return StoreError(f"{place}: this machine's time differs too much from the S3 server's")
    if is_passing(code) or status >= 500 or status == 429:
        return StoreUnavailable(f"{place}: the S3 server could not {place.action} now ({code})")
    if code in NOT_ALLOWED or status in (401, 403):
        return StoreError(f"{place}: the connection's user may not {place.action} ({code}): grant it the permission")
    return StoreError(f"{place}: the S3 server refused to {place.action} ({code})")


@contextmanager
def named(place: Operation) -> Iterator[None]:
    """Turn errors of botocore, urllib3 and sockets that occur within into Lethe's.

    Raises:
        StoreUnavailable, StoreError: see `translate`.
    """
    try:
        yield
    except (BotoCoreError, ClientError, HTTPError, OSError) as error:
        raise translate(error, place) from None

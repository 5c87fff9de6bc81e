"""Uploads in parts: noted before they have any, and settled before a hold is acknowledged or an outcome is recorded.

S3 answers CompleteMultipartUpload by 200 at once, sends white space, and may finalise the object minutes later
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html). No signature and no time-out bounds
that, so it is not waited for: the upload is **aborted**. An upload id ends once, completed or aborted. S3 answers
AbortMultipartUpload by 204 where it was aborted now, and by NoSuchUpload where it had ended before, completed or not
(SeaweedFS by 204 there too). Either way nothing that was sent for it changes an object any more, and what became of it
is seen by looking at the object.

Staged objects:

- ``uploads/<run>/<dataset>/<area>/<attempt>-<random>``: bucket, key and id of an upload; removed once it has ended.
  Those of all runs are together, so that one request shows that there is none.
- ``<run>/<dataset>/<area>/intent/<attempt>``: written inside the lease before completing is asked for; its fields
  `upload` and `lease_seconds` are read here. Without it nobody has asked, and whoever is going to has a lease, and with
  it the holds, of then.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from botocore.exceptions import ClientError

from lethe.errors import StoreUnavailable
from lethe.stores.buckets.client import S3Access
from lethe.stores.buckets.errors import named, status_of
from lethe.stores.buckets.staging import UPLOADS, BucketGone, BucketStaging, names_in

INTENTS = "intent/"
END_SECONDS = 10.0
"""How long ending an upload is tried by who has begun it."""
_CLOCK_SECONDS = 2.0
"""S3 tells the time, and counts signatures, in whole seconds."""
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Upload:
    """An upload that was begun.

    Attributes:
        staging: of the run and dataset that began it.
        note: name of the note, below those of the run and dataset.
        bucket: of the object.
        key: of the object.
        id: of the upload.
    """

    staging: BucketStaging
    note: str
    bucket: str
    key: str
    id: str

    @classmethod
    def noted(cls, staging: BucketStaging, attempt: str, bucket: str, key: str, upload: str) -> Upload:
        """Note an upload, under a name of its own: another try at the same attempt has an upload of its own."""
        name = f"{attempt}-{secrets.token_hex(8)}"
        _notes(staging).put(name, json.dumps([bucket, key, upload]).encode())
        return cls(staging, name, bucket, key, upload)

    @classmethod
    def read(cls, staging: BucketStaging, note: str) -> Upload | None:
        """What a note says; None: it was removed meanwhile."""
        body = _notes(staging).get(note)
        return None if body is None else cls(staging, note, *json.loads(body))

    def end(self, deadline: float) -> None:
        """Abort it, unless it has ended, and remove the note: afterwards nothing sent for it changes an object.

        Raises:
            StoreUnavailable: if S3 does not do it before `deadline` (by `time.monotonic`).
            StoreError: if it refuses.
        """
        while True:
            try:
                self._abort()
            except StoreUnavailable:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                self.forget()
                return

    def _abort(self) -> None:
        access = self.staging.access
        with named(access.place(self.bucket, "end an upload (s3:AbortMultipartUpload)")):
            try:
                access.bounded.abort_multipart_upload(Bucket=self.bucket, Key=self.key, UploadId=self.id)
            except ClientError as error:
                if status_of(error) != 404:  # no such upload any more, or no such bucket
                    raise

    def forget(self) -> None:
        """Remove the note of an upload that has ended."""
        _notes(self.staging).remove(self.note)

    def in_doubt(self) -> float | None:
        """Seconds until all was sent that ever will be to complete it; None: nothing was, or it has ended."""
        stored = self.staging.read(INTENTS + self.note.rpartition("-")[0])
        if stored is None:
            return None
        intent = json.loads(stored.body)
        if intent.get("upload") != self.id:
            return None
        age = (stored.read - stored.written).total_seconds()
        return max(0.0, float(intent["lease_seconds"]) / 2 + _CLOCK_SECONDS - age)


def _notes(staging: BucketStaging) -> BucketStaging:
    """Where the uploads of a run and dataset are noted."""
    return replace(staging, run=f"{UPLOADS}{staging.run}")


def settle(staging: BucketStaging, deadline: float, attempts: str = "") -> None:
    """End every upload that may still be completed by what was sent before, of some attempts or of all.

    Raises:
        StoreUnavailable, StoreError: see `Upload.end`.
    """
    for note in list(_notes(staging).names(attempts)):
        _settle(staging, note, deadline)


def _settle(staging: BucketStaging, note: str, deadline: float) -> None:
    """End a noted upload if it is in doubt. While its lease may be under way it is given the time to be answered."""
    while (upload := Upload.read(staging, note)) is not None:
        seconds = upload.in_doubt()
        if seconds is None:
            return
        if not seconds:
            upload.end(deadline)
            return
        if time.monotonic() >= deadline:
            raise StoreUnavailable(
                f"{staging.access.place(upload.bucket, '')}: an upload that was to be completed is still under way"
            )
        time.sleep(min(seconds, _POLL_SECONDS))


def settle_all(access: S3Access, buckets: Iterable[str], timeout: float) -> None:
    """`settle` for all that is staged in buckets, by whichever run: also by one whose process was killed.

    Raises:
        StoreUnavailable, StoreError.
    """
    deadline = time.monotonic() + timeout
    for bucket in sorted(set(buckets)):
        with suppress(BucketGone):
            for name in list(names_in(access, bucket, UPLOADS)):
                run, dataset, area, note = name.split("/", 3)
                _settle(BucketStaging(access, bucket, run, dataset, area=area), note, deadline)


def clean(staging: BucketStaging) -> None:
    """Remove everything staged for a dataset of a run, after ending the uploads noted there. Again is harmless.

    Raises:
        StoreUnavailable, StoreError.
    """
    deadline = time.monotonic() + END_SECONDS
    for note in list(_notes(staging).names()):
        upload = Upload.read(staging, note)
        if upload is not None:
            upload.end(deadline)
    _notes(staging).clear()
    staging.clear()

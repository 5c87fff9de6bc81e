"""The errors that a user of Lethe can meet, each with one clear message.

A message names what is wrong, where (policy file and field, dataset, connection id) and what to do. It never
contains a value of a record. Anything that is not a `LetheError` is a bug and may show a traceback.
"""


class LetheError(Exception):
    """Base of every error whose message is meant for the user. `transient` says whether a retry may help."""

    transient = False


class PolicyError(LetheError):
    """A policy file, or a field of it, cannot be used."""


class ParameterError(LetheError):
    """A parameter of a run or a command cannot be used (for example an as-of moment in the future)."""


class ConnectionMissing(LetheError):
    """A connection id is not defined, not of a type that the store understands, or its driver is not installed."""


class StoreError(LetheError):
    """A store refused, or a dataset in it is not what its policy says. Retrying does not help."""


class NotAdmitted(StoreError):
    """A store does not let the connection in: no login, a wrong one, or one that has expired."""


class StoreUnavailable(StoreError):
    """A store could not be reached, broke off or timed out. Retrying may help."""

    transient = True


class DatasetChanged(StoreError):
    """Candidates no longer are what was discovered (another digest, another version): discover again."""


class HoldError(LetheError):
    """A hold cannot be placed, proposed for release or released as asked."""


class HoldNotInForce(HoldError):
    """A hold is recorded, but batches that started before could not be waited for. Enforcing it again may help."""

    transient = True


class EventError(LetheError):
    """An event cannot be recorded, confirmed or withdrawn as asked."""


class WithdrawalNotBinding(EventError):
    """An event is withdrawn, but batches that started before could not be waited for. Withdrawing again may help."""

    transient = True


class SubjectRequestError(LetheError):
    """A request of a data subject cannot be recorded, confirmed, extended, answered or cancelled as asked."""


class CancellationNotBinding(SubjectRequestError):
    """A request is cancelled, but batches that started before could not be waited for. Cancelling again may help."""

    transient = True


class RunError(LetheError):
    """A run cannot start or go on: superseded, bound to another digest or policy, or over its limits."""


class ValidationFailed(RunError):
    """Great Expectations found candidates, or a dataset after erasing, that break an expectation."""


class EvidenceError(LetheError):
    """The ledger, a certificate or a proof does not hold, or its key is missing."""

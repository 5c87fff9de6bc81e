"""DAGs that look after retention as a whole, beside those of categories: what is due, does the evidence hold?

A finding turns their run red, with the first ones in its message and all of them in its log: names of tables, folders,
columns and ledger entries, and nothing of any record.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, BaseOperator, Context, CronTriggerTimetable
from airflow.sdk.exceptions import AirflowFailException

from lethe.airflow.alerting import keep_silent, note_finding, noting, run_failed, send_again, tell, untold
from lethe.airflow.connections import open_environment
from lethe.airflow.faults import retrying, told_apart
from lethe.airflow.links import category_path
from lethe.airflow.operators import Json
from lethe.alerts import Kind, Outbox

PREFIX = "lethe_"
"""What the ids of these DAGs begin with."""

EVIDENCE_DAG = f"{PREFIX}evidence"
"""The DAG that checks the evidence."""

_START = datetime(2026, 1, 1, tzinfo=UTC)
_MOST = 5
"""Findings in the message of a red task; all are in its log."""

_HOLDS_WITHIN = timedelta(hours=1)
"""How long a survey goes on to further holds; those that it did not come to are the first of the next."""

_COVERAGE = """Looks through the databases and buckets that policies name for personal data that no policy has.

### When a run is red

Each finding in the log of its task names a table or folder, and the columns with what they look like. Add it to a
policy, or, where none is needed, declare it in `coverage.yaml`, beside the folder of policies: `store`, `table`,
`columns`, `reason`, and `look_again`, a date. `lethe coverage` says the same at once.
"""
_EVIDENCE = """Checks every entry of the ledger, every certificate, and the anchors that are kept elsewhere. Where all
holds, it keeps a new anchor there.

### When a run is red

The evidence was changed. Let nobody write to the governance database, compare it with a backup, and find out who
changed it: `lethe ledger verify --records` says more. Without an anchor from elsewhere, entries after the latest
certificate that were cut off do not show: `evidence_dag(anchor=..., conn_id=...)` in the DAG file names a place.
"""


_WATCH = """Looks for what nobody would be told of otherwise, because nothing runs that could fail: categories that are
overdue or of which no run succeeds (also because their DAG is paused), and policies that cannot be used. It sends
what could not be sent before.

### When a run is red

Its message says what was found, and the runbook (`/lethe/runbook`) what to do. Of each cause people are told once, by
the connections of `LETHE_ALERTS`; runs are red as long as it is so.
"""
_SURVEY = """Counts, for every dataset, what is due now, what of it is overdue, and what will be due within 1, 7, 30 and
90 days, by the holds of now; then, for an hour, what each hold finds. The Retention page and `lethe forecast` show the
latest.

### When a run is red

Its message names each dataset that could not be counted, and why: a store does not answer, or a policy cannot be
used. All others were. Mend what it says, and trigger the DAG again; until then the page says *not known*, or what the
survey before has found. `lethe survey` does the same at once.
"""


class CoverageOperator(BaseOperator):  # type: ignore[misc]
    """Find personal data that no policy has; fail where there is any.

    Args:
        sample: rows of each table that are looked at; None: as many as by `lethe coverage`.
    """

    ui_color = "#e4ddf4"

    def __init__(self, *, sample: int | None, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's
        super().__init__(**kwargs)
        self.sample = sample

    def execute(self, context: Context) -> Json:
        """Look through all stores.

        Returns:
            How many findings there are: 0.

        Raises:
            AirflowFailException: if there are any.
        """
        from lethe.stages.coverage import SAMPLE, coverage

        ti = context["ti"]
        with (
            told_apart(noting(context), try_number=ti.try_number, max_tries=ti.max_tries),
            open_environment() as env,
        ):
            found = [str(one) for one in coverage(env, datetime.now(UTC).date(), self.sample or SAMPLE)]
        for text in found:
            self.log.warning("%s", text)
        if found:
            note_finding(context, Kind.COVERAGE, found)
        _fail_of(found, "personal data is in no policy and not declared, or a dataset is gone")
        self.log.info("All that looks like personal data is in a policy, or declared")
        return {"findings": 0}


class EvidenceOperator(BaseOperator):  # type: ignore[misc]
    """Audit the evidence; where it holds, keep an anchor of the ledger elsewhere.

    Args:
        anchor: where anchors are kept, ``s3://bucket/prefix`` or a file that every worker sees. None: nowhere.
        conn_id: the connection of that bucket.
    """

    ui_color = "#e4ddf4"

    def __init__(self, *, anchor: str | None, conn_id: str | None, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's
        super().__init__(**kwargs)
        self.anchor = anchor
        self.conn_id = conn_id

    def execute(self, context: Context) -> Json:
        """Audit all evidence.

        Returns:
            How many entries, certificates and anchors were compared.

        Raises:
            AirflowFailException: if it does not hold.
        """
        from lethe.evidence.anchors import keep
        from lethe.evidence.signing_keys import trusted_keys
        from lethe.stages.audit import audit_evidence

        ti = context["ti"]
        with (
            told_apart(noting(context), try_number=ti.try_number, max_tries=ti.max_tries),
            open_environment() as env,
        ):
            trusted = trusted_keys(env.governance, env.keys)
            places = [self.anchor] if self.anchor else []
            found = audit_evidence(env, trusted, anchors=places, conn_id=self.conn_id)
            for text in found.findings:
                self.log.error("%s", text)
            if found.findings:
                note_finding(context, Kind.EVIDENCE, found.findings)
            _fail_of(found.findings, "the evidence does not hold")
            if found.unguarded:
                self.log.warning("The database does not refuse changes of the ledger: %s", ", ".join(found.unguarded))
            if self.anchor:
                where = keep(env.ledger.anchor(env.keys), self.anchor, env.connection, conn_id=self.conn_id)
                self.log.info("The ledger is anchored in %s", where)
        return {"entries": found.entries, "certificates": found.certificates, "anchors": found.anchors}


class WatchOperator(BaseOperator):  # type: ignore[misc]
    """Find what is overdue, tell people once a cause, and send what could not be sent; fail where there is any."""

    ui_color = "#e4ddf4"

    def execute(self, context: Context) -> Json:
        """Watch.

        Returns:
            How many findings there are: 0.

        Raises:
            AirflowFailException: if there are any.
        """
        from lethe.stages.watch import WATCHED, overlooked

        ti = context["ti"]
        with (
            told_apart(noting(context), try_number=ti.try_number, max_tries=ti.max_tries),
            open_environment() as env,
        ):
            found = overlooked(env, datetime.now(UTC))
            outbox = Outbox(env.governance)
            outbox.over(WATCHED, {alert.cause for alert in found})
            outbox.forget()
            if env.settings.alerts:
                paged = [alert.model_copy(update={"page": category_path(alert.subject)}) for alert in found]
                for alert in (*paged, *untold(env)):
                    tell(env, alert)
            found += send_again(env)
        texts = [f"{alert.headline}: {' '.join(alert.what)}" for alert in found]
        for text in texts:
            self.log.warning("%s", text)
        if texts:
            keep_silent(context)
        _fail_of(texts, "somebody is needed")
        self.log.info("All categories are on time, and all alerts were sent")
        return {"findings": 0}


class SurveyOperator(BaseOperator):  # type: ignore[misc]
    """Count what all datasets have due, and will have; keep it, and fail where one could not be counted."""

    ui_color = "#e4ddf4"

    def execute(self, context: Context) -> Json:
        """Survey all datasets.

        Returns:
            How many datasets were counted.

        Raises:
            AirflowFailException: if one could not be.
        """
        from lethe.holding import count_holds
        from lethe.policy import Policy, load_each
        from lethe.stages import survey

        ti, now = context["ti"], datetime.now(UTC)
        with (
            told_apart(noting(context), try_number=ti.try_number, max_tries=ti.max_tries),
            open_environment() as env,
        ):
            written = load_each(env.settings.policies).values()
            policies = [one for one in written if isinstance(one, Policy)]
            taken = [survey(env, policy, dataset, now) for policy in policies for dataset in policy.datasets]
            env.surveys.keep(taken)
            if len(policies) == len(written):
                self.log.info("Counted what %s holds find", count_holds(env, _HOLDS_WITHIN))
        problems = [f"{one.category}.{one.dataset}: {one.problem}" for one in taken if one.problem]
        problems += [str(one) for one in written if not isinstance(one, Policy)]
        for text in problems:
            self.log.error("%s", text)
        if problems:
            note_finding(context, Kind.FAILED, problems)
        _fail_of(problems, "not everything could be counted")
        return {"datasets": len(taken)}


def _fail_of(findings: Sequence[str], what: str) -> None:
    if findings:
        more = f" and {len(findings) - _MOST} more, in the log" if len(findings) > _MOST else ""
        number = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
        raise AirflowFailException(f"{what} ({number}): {' '.join(findings[:_MOST])}{more}")


def coverage_dag(*, schedule: str | None = "30 6 * * 1", sample: int | None = None) -> DAG:
    """The DAG that looks for what no policy has.

    Args:
        schedule: a cron expression in UTC; weekly where nothing is said. None: only when a person starts it.
        sample: rows of each table that are looked at; None: as many as by `lethe coverage`.
    """
    with _dag(f"{PREFIX}coverage", "Is there personal data that no policy has?", schedule, _COVERAGE) as dag:
        CoverageOperator(task_id="look", sample=sample, execution_timeout=timedelta(hours=4))
    return dag


def evidence_dag(*, schedule: str | None = "15 5 * * *", anchor: str | None = None, conn_id: str | None = None) -> DAG:
    """The DAG that checks the evidence.

    Args:
        schedule: a cron expression in UTC; nightly where nothing is said. None: only when a person starts it.
        anchor: where anchors of the ledger are kept, ``s3://bucket/prefix`` or a file that every worker sees: a place
            that those who can write to the governance database cannot write to. The first is made by
            `lethe ledger anchor`, so that one that was taken away shows.
        conn_id: the connection of that bucket.
    """
    with _dag(EVIDENCE_DAG, "Does the evidence hold?", schedule, _EVIDENCE) as dag:
        EvidenceOperator(task_id="audit", anchor=anchor, conn_id=conn_id, execution_timeout=timedelta(hours=4))
    return dag


def watch_dag(*, schedule: str | None = "40 * * * *") -> DAG:
    """The DAG that looks for categories that are late, and sends what could not be sent.

    Args:
        schedule: a cron expression in UTC; hourly where nothing is said. None: only when a person starts it.
    """
    with _dag(
        f"{PREFIX}watch", "Is every category on time, and does somebody know where not?", schedule, _WATCH
    ) as dag:
        WatchOperator(task_id="watch", execution_timeout=timedelta(minutes=30))
    return dag


def survey_dag(*, schedule: str | None = "45 4 * * *") -> DAG:
    """The DAG that counts what is due, and will be.

    Args:
        schedule: a cron expression in UTC; nightly where nothing is said, after the runs of the night. None: only when
            a person starts it.
    """
    with _dag(f"{PREFIX}survey", "What is due now, and what goes in the days that come?", schedule, _SURVEY) as dag:
        SurveyOperator(task_id="survey", execution_timeout=timedelta(hours=8))
    return dag


def _dag(dag_id: str, question: str, schedule: str | None, words: str) -> DAG:
    return DAG(
        dag_id=dag_id,
        description=question,
        schedule=CronTriggerTimetable(schedule, timezone="UTC") if schedule else None,
        start_date=_START,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(hours=12),
        tags=["lethe", "watching"],
        doc_md=words,
        default_args={"owner": "lethe", **retrying()},
        on_failure_callback=run_failed,
    )

"""The stage that asks a person: above the policy's limits, and where nobody has seen a dry run of the policy.

Airflow's own approval succeeds when it is rejected and skips the tasks right after it. Here a rejection, or no answer
in time, fails the task and erases nothing, and an approval counts only for the very set that the person was shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput

from lethe import stages
from lethe.airflow.alerting import Telling, of_question
from lethe.airflow.connections import open_environment
from lethe.airflow.faults import told_apart
from lethe.airflow.links import RecordLink
from lethe.airflow.openlineage import OpenLineageMixin
from lethe.airflow.operators import Json, carried_out_again, note_nowhere
from lethe.environment import Environment
from lethe.errors import RunError
from lethe.evidence.records import Decision, RunRecord
from lethe.lineage import Stage
from lethe.people import UNNAMED, may_answer
from lethe.policy import Policy
from lethe.stages import Plan
from lethe.stores.base import Candidates

APPROVE, REJECT = "Approve", "Reject"

NOBODY = "nobody in time"
"""Who decided where no answer came."""


class ApproveOperator(OpenLineageMixin, HITLOperator):  # type: ignore[misc]
    """Decide whether what was discovered and validated may be erased: by itself within the limits, else by a person.

    Args:
        plan: the JSON of a `Plan`.
        response_timeout: how long to wait for an answer. None erases nothing.
    """

    stage = Stage.APPROVE
    ui_color = "#fbe3c0"
    template_fields: Sequence[str] = ("plan",)
    operator_extra_links = (RecordLink(),)

    def __init__(self, *, plan: Json, response_timeout: timedelta, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's
        super().__init__(
            subject="May this be erased?",
            options=[APPROVE, REJECT],
            defaults=REJECT,
            response_timeout=response_timeout,
            **kwargs,
        )
        self.plan = plan

    def execute(self, context: Context) -> Json:
        """Decide, or ask and wait.

        Returns:
            Whether it was approved, the limits that were passed, and the digest that the decision is bound to.
        """
        if not isinstance(self.plan, Mapping):
            raise AirflowSkipException("The run was not planned, so there is nothing to approve.")
        planned = self._planned()
        if planned.dry_run:
            raise AirflowSkipException("A dry run erases nothing, so there is nothing to approve.")
        ti = context["ti"]
        with (
            told_apart(note_nowhere, try_number=ti.try_number, max_tries=ti.max_tries),
            open_environment() as env,
        ):
            candidates = self._candidates(env, planned)
            if not candidates:
                raise AirflowSkipException("No dataset passed its validation, so there is nothing to approve.")
            policy = env.policy(planned.category)
            reasons = stages.reasons_to_ask(env, planned, candidates)
            if not reasons:
                return _told(stages.decide(env, planned))
            digest = stages.run_digest(planned, candidates)
            failed = stages.failures(env, planned)
            made_anew = ti.try_number == 1 and env.runs.get(planned.run).waiting_until is not None
            who = self._who_may_answer(env, planned, context, made_anew=made_anew)
            until = datetime.now(UTC) + self.response_timeout
            env.runs.wait_for_person(planned.run, until)
        along = sum(found.rows_along for found in candidates.values())
        rows = f" and {along:,} rows that go along" if along else ""
        due = sum(found.due for found in candidates.values())
        self.subject = f"Erase {due:,} records{rows} of {planned.category}?"
        self.notifiers = (Telling(of_question(context, planned, [self.subject, *reasons], until)),)
        self.body = question(policy, planned, candidates, reasons, digest, [*map(_left_out, failed), who])
        return self._ask(context, digest, until)

    def _ask(self, context: Context, digest: str, until: datetime) -> NoReturn:
        """Put the question, or leave it open after an answer that does not count, and wait."""
        self.response_timeout = max(until - datetime.now(UTC), timedelta(seconds=1))
        try:
            super().execute(context)
        except TaskAwaitingInput as waiting:
            waiting.kwargs = {"digest": digest, "until": until.isoformat()}
            raise
        raise AssertionError("Airflow waits by raising")

    def execute_complete(self, context: Context, event: dict[str, Any], digest: str = "", until: str = "") -> Json:
        """Take the answer. The question stays open where who answered may not: the requester, or somebody unentitled.

        Raises:
            TaskAwaitingInput: if the question stays open.
            AirflowFailException: if it is a rejection, if none came in time, if the candidates have changed since the
                question was asked, or if somebody has cleared tasks of the run since.
        """
        planned, ti = self._planned(), context["ti"]
        with (
            told_apart(note_nowhere, try_number=ti.try_number, max_tries=ti.max_tries),
            open_environment() as env,
        ):
            if "error" in event:
                raise RunError(f"{planned.category}: there is no usable answer; nothing is erased: trigger a new run")
            self._who_may_answer(env, planned, context)
            candidates = self._candidates(env, planned)
            if stages.run_digest(planned, candidates) != digest:
                raise RunError(
                    f"{planned.category}: the candidates have changed since the question was asked; nothing is erased: "
                    "trigger a new run"
                )
            answer = super().execute_complete(context, event)
            person = answer.get("responded_by_user")
            refusal = _refusal(env.runs.get(planned.run), env.settings.approvers, person) if person else None
            if refusal is None:
                approved = answer["chosen_options"] == [APPROVE] and person is not None
                by = str(person["name"]) if person else NOBODY
                return _told(stages.decide(env, planned, by=by, approved=approved))
        self.log.warning("%s. The question stays open until %s", refusal, until)
        return self._ask(context, digest, datetime.fromisoformat(until))

    def _who_may_answer(self, env: Environment, planned: Plan, context: Context, *, made_anew: bool = False) -> str:
        """Note who had the run carried out again, as who asked for it; then say whose answer counts.

        `made_anew`: this task was deleted while its question was open, and asks for the first time once more.

        Raises:
            RunError: if nobody's would: refused at once rather than after hours of waiting.
        """
        if made_anew or carried_out_again(self, context):
            env.runs.repeated(planned.run, UNNAMED)
        return _whose_answer_counts(env.runs.get(planned.run), env.settings.approvers)

    def _planned(self) -> Plan:
        return Plan.model_validate(self.plan)

    def _candidates(self, env: Environment, planned: Plan) -> dict[str, Candidates]:
        candidates = stages.discovered(env, planned)
        self.keep_lineage(env, planned.category, {name: {"candidates": found} for name, found in candidates.items()})
        return candidates

    def lineage_plan(self) -> Plan | None:
        """The plan."""
        return self._planned() if isinstance(self.plan, Mapping) else None

    def lineage_datasets(self) -> tuple[str, Sequence[str]]:
        """All datasets of the run."""
        planned = self._planned()
        return planned.category, planned.datasets


def _told(decision: Decision) -> Json:
    """What is handed on of a decision; who made it is in the run's record only."""
    return decision.model_dump(mode="json", include={"approved", "reasons", "digest"})


def _whose_answer_counts(record: RunRecord, entitled: Sequence[str]) -> str:
    """Whose answer counts, in a sentence for those who are asked.

    Raises:
        RunError: if nobody's would.
    """
    if record.requested_by == UNNAMED:
        raise RunError(
            f"{record.category}: a person must approve, who is not the one that asked for the run, and Airflow does "
            "not say who that is: the run was cleared, a backfill reprocesses it, another DAG started it, or it has no "
            f"name. Nothing is erased; trigger a new run with as_of {record.as_of.isoformat()}, and have somebody else "
            "approve it"
        )
    if entitled and all(stages.asked_for(record, name) for name in entitled):
        raise RunError(
            f"{record.category}: a person must approve, and LETHE_APPROVERS names nobody but {', '.join(entitled)}, "
            "who asked for the run. Nothing is erased; let somebody else trigger it, or name more people there"
        )
    among = f" of {', '.join(entitled)}" if entitled else ""
    if record.requested_by is None:
        return f"The answer{among} counts. A schedule started the run, so no person is excluded."
    return (
        f"The answer{among} counts, but not of {record.requested_by}, who asked for the run: after such an answer the "
        "question stays open."
    )


def _refusal(record: RunRecord, entitled: Sequence[str], person: Mapping[str, str]) -> str | None:
    """Why the answer of a person does not count."""
    name, names = person["name"], (str(person["id"]), str(person["name"]))
    if stages.asked_for(record, *names):
        return f"{name} asked for this run and cannot decide on it; somebody else has to answer"
    if not may_answer(entitled, *names):
        return f"{name} is none of {', '.join(entitled)} (LETHE_APPROVERS); one of them has to answer"
    return None


def _left_out(dataset: str) -> str:
    return f"**{dataset}** failed and stays as it is, whatever is answered; see its tasks."


def question(
    policy: Policy,
    planned: Plan,
    candidates: Mapping[str, Candidates],
    reasons: Sequence[str],
    digest: str,
    notes: Sequence[str],
) -> str:
    """What a person is shown, in Markdown: the limits that were passed and the figures, nothing of any record.

    `notes` come last, a paragraph each: what is left out, and whose answer counts.
    """
    rows = [
        f"| {name} | {found.due:,} | {found.rows_along:,} | {found.total:,} | {found.due / max(found.total, 1):.1%} "
        f"| {found.held:,} | {found.unjudged:,} | {found.oldest or ''} |"
        for name, found in sorted(candidates.items())
    ]
    return "\n".join(
        [
            f"**{policy.title}** ({policy.source}, {policy.rule}): run `{planned.run}` asks because:",
            "",
            *(f"- {reason}" for reason in reasons),
            "",
            "| dataset | to go | rows along | of | share | held | not judged | oldest |",
            "|---|---:|---:|---:|---:|---:|---:|---|",
            *rows,
            "",
            f"Cutoff {planned.cutoff}, as of {planned.as_of.isoformat()}. Digest of the very set: `{digest}`.",
            "",
            f"**{APPROVE}** erases exactly this set, less what is held or renewed by then. "
            f"**{REJECT}**, or no answer, erases nothing.",
            *(line for note in notes for line in ("", note)),
        ]
    )

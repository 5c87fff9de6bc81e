"""The stages of a run as Airflow operators.

Each opens its surroundings, calls one function of `lethe.stages`, and hands on a small value without personal data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from lethe import stages
from lethe.airflow.alerting import noting
from lethe.airflow.as_of import as_of_moment
from lethe.airflow.connections import open_environment
from lethe.airflow.faults import told_apart
from lethe.airflow.links import RecordLink
from lethe.airflow.openlineage import OpenLineageMixin
from lethe.environment import Environment
from lethe.errors import LetheError, ParameterError
from lethe.evidence.runs import OPEN
from lethe.lineage import Stage
from lethe.people import UNNAMED
from lethe.stages import Plan
from lethe.stores.base import Candidates

PARAMETERS = frozenset({"as_of", "dry_run", "datasets", "expect"})
"""What a run can be given."""

Json = Any
"""A value that passes through JSON unchanged, which is all that XCom is given."""


def note_nowhere(error: LetheError) -> None:
    """For stages that are not of one dataset; `certify` records what is missing."""
    del error


class RetentionOperator(OpenLineageMixin, BaseOperator):  # type: ignore[misc]
    """A stage of a run that has been planned.

    Args:
        plan: the JSON of a `Plan`: the output of `PlanOperator`.
    """

    template_fields: Sequence[str] = ("plan",)
    operator_extra_links = (RecordLink(),)

    def __init__(self, *, plan: Json, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's
        super().__init__(**kwargs)
        self.plan = plan

    def planned(self) -> Plan:
        """The plan, once Airflow has filled it in."""
        return Plan.model_validate(self.plan)

    def lineage_plan(self) -> Plan | None:
        """The plan, if planning has succeeded."""
        return self.planned() if isinstance(self.plan, Mapping) else None

    def lineage_datasets(self) -> tuple[str, Sequence[str]]:
        """All datasets of the run."""
        planned = self.planned()
        return planned.category, planned.datasets


class PlanOperator(OpenLineageMixin, BaseOperator):  # type: ignore[misc]
    """Fix what the run does: as-of moment, datasets, policy. Refuses what is wrong before anything is touched.

    Takes the DAG's parameters `as_of`, `dry_run`, `datasets` and `expect`.

    Args:
        category: the policy to carry out.
        trigger: what started the run; the same trigger comes back to its own open run.
    """

    stage = Stage.PLAN
    ui_color = "#dbe9f6"
    template_fields: Sequence[str] = ("category", "trigger")
    operator_extra_links = (RecordLink(),)

    def __init__(
        self,
        *,
        category: str,
        trigger: str = "airflow:{{ dag.dag_id }}/{{ run_id }}",
        **kwargs: Any,  # noqa: ANN401 - Airflow's
    ) -> None:
        super().__init__(**kwargs)
        self.category = category
        self.trigger = trigger

    def execute(self, context: Context) -> Json:
        """Plan the run.

        Returns:
            The JSON of its `Plan`.
        """
        ti, params, run = context["ti"], context["params"], context["dag_run"]
        with (
            told_apart(noting(context), try_number=ti.try_number, max_tries=ti.max_tries),
            open_environment() as env,
        ):
            _refuse_unknown(params)
            planned = stages.plan(
                env,
                self.category,
                as_of_moment(params.get("as_of"), run),
                trigger=self.trigger,
                requested_by=UNNAMED if self._carried_out_again(env, context) else requester(run),
                dry_run=bool(params.get("dry_run")),
                datasets=params.get("datasets") or (),
                expect=params.get("expect") or None,
                is_running=partial(runs_in_airflow, ti),
            )
            self._planned = planned
            self.keep_lineage(env, self.category, {name: {} for name in planned.datasets})
        self.log.info("Run %s as of %s, cutoff %s", planned.run, planned.as_of.isoformat(), planned.cutoff)
        return planned.model_dump(mode="json")

    def _carried_out_again(self, env: Environment, context: Context) -> bool:
        """Whether this DAG run was planned before, and not just by an earlier try of this task.

        Asked of the governance database, too: of tasks that were deleted and made anew Airflow knows nothing any more.
        """
        before = env.runs.triggered_by(self.trigger)
        again = before is not None and (before.state != OPEN or context["ti"].try_number == 1)
        return again or carried_out_again(self, context)

    _planned: Plan | None = None

    def lineage_plan(self) -> Plan | None:
        """The plan that was made."""
        return self._planned

    def lineage_datasets(self) -> tuple[str, Sequence[str]]:
        """All datasets of the policy."""
        return self.category, ()


def _refuse_unknown(params: Mapping[str, object]) -> None:
    """Airflow passes on whatever a run is given; a misspelt `dry_run` would erase.

    Raises:
        ParameterError: naming what there is no parameter for.
    """
    unknown = sorted(set(params) - PARAMETERS)
    if unknown:
        raise ParameterError(
            f"there is no parameter {', '.join(unknown)}, and nothing was touched; give only "
            f"{', '.join(sorted(PARAMETERS))}"
        )


def runs_in_airflow(ti: Any, trigger: str) -> bool | None:  # noqa: ANN401 - a task instance of Airflow
    """Whether a run of Lethe that a DAG run started still is at it: not if that failed, was deleted or was cleared.

    A DAG run that was cleared is queued until Airflow starts it anew, and then comes back to its own run of Lethe if
    no other was planned meanwhile. None for runs that no DAG run started. One governance database is one Airflow's.
    """
    scheduler, _, name = trigger.partition(":")
    dag_id, _, run_id = name.partition("/")
    if scheduler != "airflow" or not run_id:
        return None
    return bool(ti.get_dr_count(dag_id=dag_id, run_ids=[run_id], states=["running"]))


def requester(run: Any) -> str | None:  # noqa: ANN401 - a DAG run of Airflow
    """The person who asked for a DAG run: by hand, through the API, by a backfill or by materialising an asset.

    None where no person did, as Airflow's schedules. A run that was cleared keeps its name, or has none as before; a
    backfill that reprocesses an earlier run takes that over in the same way, with parameters of its own; and a task of
    another DAG hands on who started that one, not who cleared it. Who asked for these, Airflow does not say.
    """
    reprocessed = run.run_type == "backfill" and not run.run_id.startswith("backfill__")
    if run.clear_number or reprocessed or run.run_type == "operator_triggered":
        return UNNAMED
    return run.triggering_user_name or (None if run.run_type == "scheduled" else UNNAMED)


def carried_out_again(task: BaseOperator, context: Context) -> bool:
    """Whether a task is carried out again because somebody cleared it, or another task of its DAG run.

    Airflow tells a task that there was such a person, and not who. A task that is cleared gets as many tries as it had
    used on top of its own, also where clearing left the DAG run as it was (`reset_dag_runs` of Airflow's API).
    """
    return bool(context["dag_run"].clear_number) or context["ti"].max_tries > task.retries


class DatasetOperator(RetentionOperator):
    """A stage of one dataset of a run. Skipped where the run is not about the dataset.

    Args:
        plan: the JSON of a `Plan`.
        dataset: its name in the policy.
    """

    template_fields: Sequence[str] = ("plan", "dataset")
    erases: ClassVar[bool] = False
    """Whether a dry run skips the stage."""

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's
        super().__init__(**kwargs)
        self.dataset = dataset

    def execute(self, context: Context) -> Json:
        """Do the stage, and record with the run that the dataset failed if it finally does."""
        planned = self.planned()
        if self.dataset not in planned.datasets:
            raise AirflowSkipException(f"The run is about {', '.join(planned.datasets)}.")
        if self.erases and planned.dry_run:
            raise AirflowSkipException("A dry run erases nothing.")
        ti = context["ti"]
        with open_environment() as env:
            note = self._noting(env, planned)
            with told_apart(note, try_number=ti.try_number, max_tries=ti.max_tries):
                if not self.erases and carried_out_again(self, context):  # what is erased has been decided on
                    env.runs.repeated(planned.run, UNNAMED)
                return self.perform(env, planned)

    def _noting(self, env: Environment, planned: Plan) -> Callable[[LetheError], None]:
        return lambda error: stages.note_failure(env, planned, self.dataset, error)

    def perform(self, env: Environment, planned: Plan) -> Json:
        """What the stage does."""
        raise NotImplementedError

    def lineage_datasets(self) -> tuple[str, Sequence[str]]:
        """The one dataset."""
        return self.planned().category, (self.dataset,)


class DiscoverOperator(DatasetOperator):
    """Find and stage the expired records of a dataset."""

    stage = Stage.DISCOVER
    ui_color = "#e6f2e0"

    def perform(self, env: Environment, planned: Plan) -> Json:
        """Discover.

        Returns:
            The JSON of the `Candidates`: a reference, a digest and counts.
        """
        candidates = stages.discover(env, planned, self.dataset)
        self.keep_lineage(env, planned.category, {self.dataset: {"candidates": candidates}})
        self.log.info(
            "%s of %s records are to go with %s rows that go along, %s are held, %s cannot be judged; digest %s",
            f"{candidates.due:,}",
            f"{candidates.total:,}",
            f"{candidates.rows_along:,}",
            f"{candidates.held:,}",
            f"{candidates.unjudged:,}",
            candidates.digest,
        )
        return candidates.model_dump(mode="json")


class ValidateOperator(DatasetOperator):
    """Have Great Expectations check what was discovered, and cut it into parts for erasing.

    Args:
        candidates: the JSON of the dataset's `Candidates`.
        parts: in how many parts, at most, it is to be erased side by side.
    """

    stage = Stage.VALIDATE
    ui_color = "#f9efd2"
    template_fields: Sequence[str] = ("plan", "dataset", "candidates")

    def __init__(self, *, candidates: Json, parts: int, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's
        super().__init__(**kwargs)
        self.candidates = candidates
        self.parts = parts

    def perform(self, env: Environment, planned: Plan) -> Json:
        """Validate.

        Returns:
            For each part, its first batch and the batch after its last; an empty list where nothing is to go.
        """
        candidates = Candidates.model_validate(self.candidates)
        validation = stages.validate(env, planned, self.dataset, candidates)
        self.keep_lineage(env, planned.category, {self.dataset: {"candidates": candidates, "validation": validation}})
        self.log.info("%d expectations of %s hold", len(validation.results), validation.suite)
        return [[part.start, part.stop] for part in stages.batch_ranges(candidates, self.parts)]


class EraseOperator(DatasetOperator):
    """Erase a range of batches of what was decided on. Mapped over the parts that `ValidateOperator` returns.

    Args:
        batches: the first batch, and the batch after the last.
    """

    stage = Stage.ERASE
    ui_color = "#f6d5d5"
    template_fields: Sequence[str] = ("plan", "dataset", "batches")
    erases = True

    def __init__(self, *, batches: Json, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's
        super().__init__(**kwargs)
        self.batches = batches

    def perform(self, env: Environment, planned: Plan) -> Json:
        """Erase.

        Returns:
            The JSON of the `Became` of these batches.
        """
        first, end = (int(bound) for bound in self.batches)
        tally = stages.erase(env, planned, self.dataset, range(first, end))
        self.keep_lineage(env, planned.category, {self.dataset: {"tally": tally}})
        self.log.info("Batches %d to %d: %s", first, end - 1, tally)
        return tally.model_dump(mode="json")


class VerifyOperator(DatasetOperator):
    """Check that nothing expired and unheld is left."""

    stage = Stage.VERIFY
    ui_color = "#e3dcf2"
    erases = True

    def perform(self, env: Environment, planned: Plan) -> Json:
        """Verify.

        Returns:
            The JSON of a `Found`: what the dataset holds now.
        """
        left = stages.verify(env, planned, self.dataset)
        self.keep_lineage(env, planned.category, {self.dataset: {"left": left}})
        self.log.info("Nothing expired and unheld is left; %s held, %s records in all", left.held, left.total)
        return left.model_dump(mode="json")


class CertifyOperator(RetentionOperator):
    """Close the run: exact outcomes, certificate, staging removed. Runs whatever became of the stages before."""

    stage = Stage.CERTIFY
    ui_color = "#dcdcdc"

    def execute(self, context: Context) -> Json:
        """Certify.

        Returns:
            The run's id, its state and the digest of what it decided on.

        Raises:
            AirflowFailException: if anything of the run is missing or failed.
        """
        if not isinstance(self.plan, Mapping):
            raise AirflowFailException("The run was not planned, and nothing was touched; see the task plan.")
        planned, ti = self.planned(), context["ti"]
        if planned.dry_run:
            self.outlets: list[object] = []  # nothing was updated, so no asset event
        with (
            told_apart(note_nowhere, try_number=ti.try_number, max_tries=ti.max_tries),
            open_environment() as env,
        ):
            try:
                report = stages.certify(env, planned)
            finally:
                self._tell_report(env, planned)
        for dataset in report.datasets:
            self.log.info("%s: %s", dataset.dataset, dataset.tally or "nothing erased")
        return {"run": report.run, "state": report.state, "digest": report.digest}

    def _tell_report(self, env: Environment, planned: Plan) -> None:
        report = stages.report_of(env, planned.run)
        facts = {
            dataset.dataset: {"candidates": dataset.candidates, "tally": dataset.tally, "left": dataset.left}
            for dataset in report.datasets
        }
        self.keep_lineage(env, planned.category, facts)

    def lineage_datasets(self) -> tuple[str, Sequence[str]]:
        """All datasets of the run; none where it was not planned."""
        if not isinstance(self.plan, Mapping):
            raise LetheError("the run was not planned")
        return super().lineage_datasets()

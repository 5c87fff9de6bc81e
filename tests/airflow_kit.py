"""Somebody who answers the questions of DAG runs that a test runs with `dag.test()`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import sqlalchemy as sa

EVA = {"id": "7", "name": "Eva"}


@contextmanager
def answering(choice: str | None) -> Iterator[None]:
    """Within, Eva answers every question with that choice; None: the time for an answer runs out at once.

    She looks again after each answer: `dag.test()` sets the state of a task once more when its process has ended, and
    loses an answer that came before that.
    """
    over = threading.Event()

    def answer() -> None:
        while not over.wait(0.2):
            with suppress(sa.exc.OperationalError):  # SQLite may be locked just now
                _answer(choice)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _answer(choice: str | None) -> None:
    """Answer the question that somebody is waiting for, if there is one, as Airflow does it."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import handle_event_submit
    from airflow.triggers.base import TriggerEvent
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState

    with create_session() as session:
        query = sa.select(TaskInstance).where(TaskInstance.state == TaskInstanceState.AWAITING_INPUT)
        waiting = session.scalars(query).first()
        detail = session.get(HITLDetail, waiting.id) if waiting else None
        if waiting is None or detail is None:
            return
        detail.responded_at = datetime.now(UTC)
        detail.chosen_options = [choice or "Reject"]
        detail.responded_by = EVA if choice else None
        event = TriggerEvent(detail.as_resume_event_payload(timedout=choice is None))
        handle_event_submit(event, task_instance=waiting, session=session)

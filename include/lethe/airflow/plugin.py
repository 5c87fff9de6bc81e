"""What Lethe adds to Airflow's UI. Airflow loads plugins in every process, so the application waits for a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from lethe.airflow.links import URL_PREFIX, URL_ROUTE, page_path

Message = MutableMapping[str, Any]


class LateApp:
    """The application of `lethe.airflow.ui`, imported at its first request."""

    @cached_property
    def _app(self) -> Callable[..., Awaitable[None]]:
        from lethe.airflow.ui import create_app

        return create_app()

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Answer a request (ASGI)."""
        await self._app(scope, receive, send)


class LethePlugin(AirflowPlugin):  # type: ignore[misc]
    """The page *Retention* in the menu."""

    name = "lethe"
    fastapi_apps = [{"app": LateApp(), "url_prefix": URL_PREFIX, "name": "Lethe"}]  # noqa: RUF012 - Airflow's
    external_views = [  # noqa: RUF012 - Airflow's
        {
            "name": "Retention",
            "href": page_path("/"),
            "destination": "nav",
            "category": "browse",
            "url_route": URL_ROUTE,
        },
    ]

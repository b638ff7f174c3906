"""The route of Airflow's API server that takes webhooks of lakeFS: ``POST /lakefs/webhook``.

It is off until the option ``webhook_secret`` in the section ``[lakefs]`` of Airflow's configuration is set. See
docs/events.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import conf
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from airflow_provider.hooks.lakefs import LakeFSHook
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.flows.webhooks import MAX_BODY, SECRET_HEADER, check_secret, is_authorized, parse_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakefs_ops.client import LakeFSClient

log = logging.getLogger(__name__)

SECTION = "lakefs"
"""The section of Airflow's configuration."""

POLL_INTERVAL = 600.0
"""Default of the option ``poll_interval``, in seconds."""


def webhook_secret() -> str | None:
    """Return the shared secret, or None if webhooks are off.

    Raises:
        InvalidArgument: the secret is too short.
    """
    secret: str | None = conf.get(SECTION, "webhook_secret", fallback=None)
    return check_secret(secret) if secret else None


def create_app(secret: str, *, lakefs_conn_id: str | None = None, poll_interval: float | None = None) -> FastAPI:
    """Return the application: it takes webhooks, and polls slowly for commits whose webhook was lost.

    Args:
        secret: the shared secret, which each webhook has in the header `SECRET_HEADER`.
        lakefs_conn_id: the connection to read the commits with; by default the option ``webhook_conn_id``.
        poll_interval: seconds between two polls, 0 for none; by default the option ``poll_interval``.
    """
    conn_id: str = lakefs_conn_id or conf.get(SECTION, "webhook_conn_id", fallback=LakeFSHook.default_conn_name)
    interval = poll_interval
    if interval is None:
        interval = conf.getfloat(SECTION, "poll_interval", fallback=POLL_INTERVAL)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        polls = asyncio.create_task(_poll(conn_id, interval)) if interval else None
        yield
        if polls:
            polls.cancel()
            with suppress(asyncio.CancelledError):
                await polls

    app = FastAPI(title="lakeFS webhooks", lifespan=lifespan)

    @app.post("/webhook")
    async def receive(request: Request) -> dict[str, int]:
        if not is_authorized(request.headers.get(SECRET_HEADER), secret):
            raise HTTPException(401, f"the header {SECRET_HEADER} does not have the shared secret")
        try:
            event = parse_event(await _read(request))
        except InvalidArgument as error:
            raise HTTPException(400, str(error)) from None
        repository, ref = event.repository, event.ref
        try:
            count = await run_in_threadpool(_register, conn_id, repository, ref)
        except Exception as error:
            log.exception("the webhook for %r of %r failed; the next webhook or poll tries again", ref, repository)
            raise HTTPException(503, f"not registered: {type(error).__name__}; see the log of the API server") from None
        return {"events": count}

    return app


async def _read(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"the body has more than {MAX_BODY} bytes")
    return body


def _register(conn_id: str, repository: str, ref: str) -> int:
    from airflow_provider.assets.commits import register

    return _with_client(conn_id, lambda client: register(client, repository, ref))


def _with_client(conn_id: str, do: Callable[[LakeFSClient], int]) -> int:
    # A new client each time: the connection may have changed.
    with LakeFSHook(conn_id).get_conn() as client:
        return do(client)


async def _poll(conn_id: str, interval: float) -> None:
    from airflow_provider.assets.commits import register_all

    while True:
        try:
            await run_in_threadpool(_with_client, conn_id, register_all)
        except Exception as error:
            log.warning("the poll for commits failed, the next one is in %g s: %s", interval, error)
        await asyncio.sleep(interval)

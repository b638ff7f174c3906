"""The route of Airflow's API server that takes webhooks of lakeFS: ``POST /lakefs/webhook``.

It is off until the option ``webhook_secret`` in the section ``[lakefs]`` of Airflow's configuration is set. See
docs/events.md.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from airflow_provider.hooks.lakefs import LakeFSHook
from lakefs_ops.flows.webhooks import SECRET_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakefs_ops.client import LakeFSClient

log = logging.getLogger(__name__)

SECTION = "lakefs"
"""The section of Airflow's configuration."""

MAX_BODY = 1 << 20
"""The maximum size of a webhook's body, in bytes; lakeFS limits the metadata of a commit to less."""

POLL_INTERVAL = 600.0
"""Default of the option ``poll_interval``, in seconds."""

_MIN_SECRET = 16


def webhook_secret() -> str | None:
    """Return the shared secret, or None if webhooks are off.

    Raises:
        ValueError: the secret is too short.
    """
    secret: str | None = conf.get(SECTION, "webhook_secret", fallback=None)
    if secret and len(secret) < _MIN_SECRET:
        raise ValueError(f"[{SECTION}] webhook_secret must have at least {_MIN_SECRET} characters")
    return secret or None


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
        given = request.headers.get(SECRET_HEADER, "")
        if not hmac.compare_digest(given.encode(), secret.encode()):
            raise HTTPException(401, f"the header {SECRET_HEADER} does not have the shared secret")
        event = _parse(await _read(request))
        repository, ref = event["repository_id"], event.get("branch_id") or event.get("tag_id")
        if not ref:
            raise HTTPException(400, "the event has neither a branch nor a tag")
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


def _parse(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except ValueError:
        event = None
    names = ("repository_id", "branch_id", "tag_id")
    if not isinstance(event, dict) or not all(isinstance(event.get(name, ""), str) for name in names):
        raise HTTPException(400, "the body is not an event of lakeFS")
    if not event.get("repository_id"):
        raise HTTPException(400, "the event has no repository_id")
    return event


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

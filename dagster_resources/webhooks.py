"""An application that takes webhooks of lakeFS, and observes the sources that they concern at once.

It records the observation without a run. The data version decides whether anything has changed, as for an observation
by a run: an event that was lost, repeated or reordered changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from dagster import AssetObservation, DagsterInstance, ObserveResult, build_resources
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from dagster_resources.sources import SOURCE_BRANCH, SOURCE_REPOSITORY, last_version
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.flows.webhooks import (
    MAX_BODY,
    SECRET_HEADER,
    check_secret,
    is_authorized,
    parse_event,
)

if TYPE_CHECKING:
    from dagster import SourceAsset

    from dagster_resources.resource import LakeFSResource

log = logging.getLogger(__name__)

POLL_INTERVAL = 600.0
"""Default number of seconds between two polls."""

_Message = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Context:
    """The part of an op's context that the function of a source uses."""

    resources: Any
    instance: DagsterInstance
    recorded: list[AssetObservation] = field(default_factory=list)

    def log_event(self, event: AssetObservation) -> None:
        self.instance.report_runless_asset_event(event)
        self.recorded.append(event)


class LakeFSWebhooks:
    """An ASGI application: each ``POST`` request with an event of lakeFS observes the sources of its branch.

    When it starts, and then every ``poll_interval`` seconds, it observes all sources, for events that were lost. In
    between, it sends no requests.

    Run it with any ASGI server that supports lifespan events, such as uvicorn, in one process; ``DAGSTER_HOME`` must be
    that of the webserver and the daemon. ``lakefs-ops hooks install webhooks`` installs the action file in lakeFS.

    Args:
        sources: the sources, from `dagster_resources.build_lakefs_observable_source`.
        lakefs: the resource.
        secret: the secret that lakeFS and this application share, at least 16 characters.
        instance: the Dagster instance; that of ``DAGSTER_HOME`` by default.
        resource_key: the key of the resource in the sources.
        poll_interval: seconds between two polls; 0 for no polls.

    Raises:
        InvalidArgument: the secret is too short, or an asset is not a source in lakeFS.

    Examples:
        .. code-block:: python

            # uvicorn webhooks:app --port 3500
            app = LakeFSWebhooks([stations], lakefs=lakefs, secret=os.environ["WEBHOOK_SECRET"])
    """

    def __init__(
        self,
        sources: Iterable[SourceAsset],
        *,
        lakefs: LakeFSResource,
        secret: str,
        instance: DagsterInstance | None = None,
        resource_key: str = "lakefs",
        poll_interval: float = POLL_INTERVAL,
    ) -> None:
        self._sources = list(sources)
        for source in self._sources:
            if source.observe_fn is None or SOURCE_REPOSITORY not in source.metadata:
                raise InvalidArgument(f"{source.key.to_user_string()} is not from build_lakefs_observable_source")
        self._lakefs = lakefs
        self._secret = check_secret(secret)
        self._instance = instance
        self._resource_key = resource_key
        self._poll_interval = poll_interval
        self._lock = Lock()

    def observe(self, repository: str | None = None, ref: str | None = None) -> int:
        """Record an observation of each source, and partition, whose data version has changed.

        Args:
            repository: only sources of this repository.
            ref: only sources of this branch.

        Returns:
            The number of observations.

        Raises:
            LakeFSError: a source could not be read. The other ones were observed.
        """
        instance = self._instance or DagsterInstance.get()
        count, failure = 0, None
        # One at a time: the second of two events finds what the first one has recorded.
        with self._lock, build_resources({self._resource_key: self._lakefs}, instance=instance) as resources:
            lakefs: LakeFSResource = getattr(resources, self._resource_key)
            for source in self._sources:
                own, branch = (source.metadata[name].value for name in (SOURCE_REPOSITORY, SOURCE_BRANCH))
                own_branch = lakefs.branch(str(branch), repository=str(own))
                if (repository or own, ref or own_branch) != (own, own_branch):
                    continue
                try:
                    count += _observe(source, resources, instance)
                except Exception as error:
                    log.warning("source %s was not observed: %s", source.key.to_user_string(), error)
                    failure = failure or error
        if failure:
            raise failure
        return count

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Serve a request, or the lifespan of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            status, answer = await self._answer(scope, receive)
            body = json.dumps(answer).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def _answer(
        self, scope: _Message, receive: Callable[[], Awaitable[_Message]]
    ) -> tuple[int, dict[str, object]]:
        if scope["method"] != "POST":
            return 405, {"detail": "send a POST request"}
        given = dict(scope["headers"]).get(SECRET_HEADER.lower().encode(), b"")
        if not is_authorized(given.decode("latin-1"), self._secret):
            return 401, {"detail": f"the header {SECRET_HEADER} does not have the shared secret"}
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if len(body) > MAX_BODY:
                return 413, {"detail": f"the body has more than {MAX_BODY} bytes"}
        try:
            event = parse_event(body)
        except InvalidArgument as error:
            return 400, {"detail": str(error)}
        try:
            return 200, {"observations": await asyncio.to_thread(self.observe, event.repository, event.ref)}
        except Exception as error:
            log.exception(
                "the webhook for %r of %r failed; the next one or a poll tries again", event.ref, event.repository
            )
            return 503, {"detail": f"not observed: {type(error).__name__}; see the log"}

    async def _live(
        self, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
    ) -> None:
        await receive()
        polls = asyncio.create_task(self._poll()) if self._poll_interval else None
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if polls:
            polls.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _poll(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.observe)
            except Exception as error:
                log.warning("the poll failed, the next one is in %g s: %s", self._poll_interval, error)
            await asyncio.sleep(self._poll_interval)


def _observe(source: SourceAsset, resources: Any, instance: DagsterInstance) -> int:
    """Call the source's function, record what has changed, and return the number of observations."""
    context = _Context(resources, instance)
    function: Any = source.observe_fn
    result = function(context)
    if isinstance(result, ObserveResult) and result.data_version is not None:
        version = result.data_version.value
        if version != last_version(instance, source.key):
            tags = {DATA_VERSION_TAG: version}
            context.log_event(AssetObservation(source.key, metadata=result.metadata, tags=tags))
    return len(context.recorded)

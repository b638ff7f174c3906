"""The server itself: ``/healthcheck``, ``/config``."""

from __future__ import annotations

from types import NoneType

from pydantic import Field

from lakefs_ops.api.common import Group
from lakefs_ops.call import Call
from lakefs_ops.model import Model


class VersionConfig(Model):
    """Which lakeFS it is.

    Attributes:
        version: its version, such as ``1.84.0``.
        version_context: its edition, ``lakeFS`` for open source.
        latest_version: the newest version that the server knows of.
        upgrade_recommended: whether it wants to be upgraded.
        upgrade_url: where to read about it.
    """

    version: str | None = None
    version_context: str | None = None
    latest_version: str | None = None
    upgrade_recommended: bool | None = None
    upgrade_url: str | None = None


class StorageConfig(Model):
    """What the server's store can do.

    Attributes:
        blockstore_type: ``s3``, ``gs``, ``azure``, ``local``, ``mem``.
        blockstore_namespace_example: how a storage namespace looks.
        blockstore_namespace_validity_regex: what a storage namespace must match.
        default_namespace_prefix: where namespaces begin, when the server has a default.
        pre_sign_support: whether it gives presigned addresses.
        pre_sign_support_ui: whether its own pages use them.
        import_support: whether it imports.
        import_validity_regex: what a source of an import must match.
        pre_sign_multipart_upload: whether large uploads may be presigned in parts.
        blockstore_id: which of several stores.
        blockstore_description: its description.
    """

    blockstore_type: str
    blockstore_namespace_example: str
    blockstore_namespace_validity_regex: str = Field(alias="blockstore_namespace_ValidityRegex")
    default_namespace_prefix: str | None = None
    pre_sign_support: bool
    pre_sign_support_ui: bool
    import_support: bool
    import_validity_regex: str
    pre_sign_multipart_upload: bool | None = None
    blockstore_id: str | None = None
    blockstore_description: str | None = None


class Config(Model):
    """What the server is and can do.

    Attributes:
        version_config: which lakeFS it is.
        storage_config: what its store can do.
        storage_config_list: one for each store, where it has several.
    """

    version_config: VersionConfig | None = None
    storage_config: StorageConfig | None = None
    storage_config_list: list[StorageConfig] | None = None


class Server(Group):
    """Operations on the server: ``client.server``."""

    def health(self) -> None:
        """Return when the server answers (``healthCheck``); no credentials are needed.

        Raises:
            TransportError: it does not.
        """
        return self._send(Call("healthCheck", "GET", "/healthcheck", {}, NoneType, authenticated=False))

    def config(self) -> Config:
        """Return what the server is and can do (``getConfig``)."""
        return self._send(Call("getConfig", "GET", "/config", {}, Config))

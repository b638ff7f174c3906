"""The server itself: ``/healthcheck``, ``/config``, ``/setup_lakefs``, ``/statistics``, ``/usage-report``."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType
from typing import TypeAlias

from pydantic import Field

from lakefs_ops.api.common import CredentialsWithSecret, Group
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


StorageConfigList: TypeAlias = list[StorageConfig]
"""One for each store, where the server has several."""


class CustomViewer(Model):
    """A page that the server's own pages show objects with.

    Attributes:
        name: its name.
        url: its address.
        extensions: the endings of paths it is for.
        content_types: the media types it is for.
    """

    name: str
    url: str
    extensions: list[str] | None = None
    content_types: list[str] | None = None


class UIConfig(Model):
    """How the server's own pages look.

    Attributes:
        custom_viewers: further pages to show objects with.
    """

    custom_viewers: list[CustomViewer] | None = None


class CapabilitiesConfig(Model):
    """What an edition of the server can do; empty in lakeFS 1.84, and what others say is in ``model_extra``."""


class Config(Model):
    """What the server is and can do.

    Attributes:
        version_config: which lakeFS it is.
        storage_config: what its store can do.
        storage_config_list: one for each store, where it has several.
        ui_config: how its own pages look.
        capabilities_config: what its edition can do.
    """

    version_config: VersionConfig | None = None
    storage_config: StorageConfig | None = None
    storage_config_list: StorageConfigList | None = None
    ui_config: UIConfig | None = None
    capabilities_config: CapabilitiesConfig | None = None


class GarbageCollectionConfig(Model):
    """What a collector must heed.

    Attributes:
        grace_period: how many seconds an object that nothing names is left alone.
    """

    grace_period: int | None = None


class LoginConfig(Model):
    """How users log in.

    Attributes:
        rbac: how permissions are kept: ``none``, ``simplified``, ``internal`` or ``external``.
        username_ui_placeholder: what the page's first field asks for.
        password_ui_placeholder: what its second field asks for.
        login_url: another page to log in on.
        login_url_method: how that is offered: ``none``, ``redirect`` or ``select``.
        login_failed_message: what the page says when it was wrong.
        fallback_login_url: a second other page.
        fallback_login_label: what it is called.
        login_cookie_names: the cookies that a login sets.
        logout_url: where to log out.
    """

    rbac: str | None = Field(default=None, alias="RBAC")
    username_ui_placeholder: str | None = None
    password_ui_placeholder: str | None = None
    login_url: str
    login_url_method: str | None = None
    login_failed_message: str | None = None
    fallback_login_url: str | None = None
    fallback_login_label: str | None = None
    login_cookie_names: list[str]
    logout_url: str


class SetupState(Model):
    """Whether the server is set up.

    Attributes:
        state: ``initialized`` or ``not_initialized``.
        comm_prefs_missing: whether nobody has said what mail they want.
        login_config: how users log in.
    """

    state: str | None = None
    comm_prefs_missing: bool | None = None
    login_config: LoginConfig | None = None


class AccessKeyCredentials(Model):
    """A key pair to be.

    Attributes:
        access_key_id: the access key.
        secret_access_key: its secret.
    """

    access_key_id: str
    secret_access_key: str = Field(repr=False)


class CommPrefsInput(Model):
    """What `Server.setup_comm_prefs` sends."""

    first_name: str | None = Field(default=None, alias="firstName")
    last_name: str | None = Field(default=None, alias="lastName")
    email: str | None = None
    company_name: str | None = Field(default=None, alias="companyName")
    feature_updates: bool = Field(alias="featureUpdates")
    security_updates: bool = Field(alias="securityUpdates")


class Setup(Model):
    """What `Server.setup` sends."""

    username: str
    key: AccessKeyCredentials | None = None
    first_name: str | None = Field(default=None, alias="firstName")
    last_name: str | None = Field(default=None, alias="lastName")
    email: str | None = None
    company_name: str | None = Field(default=None, alias="companyName")
    feature_updates: bool | None = Field(default=None, alias="featureUpdates")
    security_updates: bool | None = Field(default=None, alias="securityUpdates")


class StatsEvent(Model):
    """Something that happened so often.

    Attributes:
        class_: what kind of thing did it, such as ``integration``; ``class`` on the wire.
        name: what happened.
        count: how often.
    """

    class_: str = Field(alias="class")
    name: str
    count: int


class StatsEventsList(Model):
    """What `Server.post_stats_events` sends."""

    events: list[StatsEvent]


class UsageReport(Model):
    """How much the server was used in a month.

    Attributes:
        year: the year.
        month: the month, from 1.
        count: how many calls.
    """

    year: int
    month: int
    count: int


class InstallationUsageReport(Model):
    """How much the server was used.

    Attributes:
        installation_id: the server's id.
        reports: one for each month.
    """

    installation_id: str
    reports: list[UsageReport]


class Server(Group):
    """Operations on the server: ``client.server``."""

    def health(self) -> None:
        """Return when the server answers (``healthCheck``); no credentials are needed.

        Raises:
            TransportError: it does not.
        """
        return self._send(Call("healthCheck", "GET", "/healthcheck", {}, NoneType, authenticated=False))

    def config(self) -> Config:
        """Return what the server is and can do (``getConfig``).

        Example:
            >>> config = client.server.config()  # doctest: +SKIP
            >>> config.version_config.version, config.storage_config.pre_sign_support  # doctest: +SKIP
            ('1.84.0', True)
        """
        return self._send(Call("getConfig", "GET", "/config", {}, Config))

    def version(self) -> VersionConfig:
        """Return which lakeFS it is (``getLakeFSVersion``, deprecated: `config`)."""
        return self._send(Call("getLakeFSVersion", "GET", "/config/version", {}, VersionConfig))

    def storage(self) -> StorageConfig:
        """Return what the store can do (``getStorageConfig``, deprecated: `config`)."""
        return self._send(Call("getStorageConfig", "GET", "/config/storage", {}, StorageConfig))

    def garbage_collection_config(self) -> GarbageCollectionConfig:
        """Return what a collector must heed (``getGarbageCollectionConfig``, internal)."""
        path = "/config/garbage-collection"
        return self._send(Call("getGarbageCollectionConfig", "GET", path, {}, GarbageCollectionConfig))

    def setup_state(self) -> SetupState:
        """Return whether the server is set up (``getSetupState``, internal); no credentials are needed."""
        return self._send(Call("getSetupState", "GET", "/setup_lakefs", {}, SetupState, authenticated=False))

    def setup(
        self,
        *,
        username: str,
        key: AccessKeyCredentials | None = None,
        first_name: str | None = None,
        last_name: str | None = None,
        email: str | None = None,
        company_name: str | None = None,
        feature_updates: bool | None = None,
        security_updates: bool | None = None,
    ) -> CredentialsWithSecret:
        """Set a new server up with its first user (``setup``, internal); no credentials are needed.

        Args:
            username: the user's name.
            key: the user's key pair; the server makes one by default.
            first_name: who sets it up.
            last_name: who sets it up.
            email: where news go to.
            company_name: for whom.
            feature_updates: send news of features.
            security_updates: send news of security; deprecated.

        Returns:
            The user's key pair; the secret is shown this once.

        Raises:
            AlreadyExists: the server is set up.
            BadRequest: an empty name, or no address of e-mail.
        """
        body = Setup.body(
            username=username, key=key, first_name=first_name, last_name=last_name, email=email,
            company_name=company_name, feature_updates=feature_updates, security_updates=security_updates,
        )  # fmt: skip
        return self._send(
            Call("setup", "POST", "/setup_lakefs", {}, CredentialsWithSecret, body=body, authenticated=False)
        )

    def setup_comm_prefs(
        self,
        *,
        feature_updates: bool,
        security_updates: bool,
        first_name: str | None = None,
        last_name: str | None = None,
        email: str | None = None,
        company_name: str | None = None,
    ) -> None:
        """Say what mail is wanted (``setupCommPrefs``, internal); no credentials are needed.

        Args:
            feature_updates: send news of features.
            security_updates: send news of security; deprecated, and needed.
            first_name: who it is.
            last_name: who it is.
            email: where news go to.
            company_name: for whom.

        Raises:
            PreconditionFailed: the server is not set up.
            AlreadyExists: it was said before.
        """
        body = CommPrefsInput.body(
            feature_updates=feature_updates, security_updates=security_updates, first_name=first_name,
            last_name=last_name, email=email, company_name=company_name,
        )  # fmt: skip
        return self._send(
            Call("setupCommPrefs", "POST", "/setup_comm_prefs", {}, NoneType, body=body, authenticated=False)
        )

    def post_stats_events(self, events: Iterable[StatsEvent]) -> None:
        """Tell the server what was done how often, for its statistics (``postStatsEvents``, internal).

        Args:
            events: what was done.

        Raises:
            BadRequest: an empty class or name, or a negative count.
        """
        body = StatsEventsList.body(events=list(events))
        return self._send(Call("postStatsEvents", "POST", "/statistics", {}, NoneType, body=body))

    def usage_report(self) -> InstallationUsageReport:
        """Return how much the server was used (``getUsageReportSummary``, internal)."""
        return self._send(Call("getUsageReportSummary", "GET", "/usage-report/summary", {}, InstallationUsageReport))

    def usage_report_text(self) -> str:
        """Return `usage_report` as a table to print (``getUsageReportSummary``, internal)."""
        path = "/usage-report/summary"
        return self._send(Call("getUsageReportSummary", "GET", path, {}, str, headers={"Accept": "text/plain"}))

    def oauth_callback(self) -> None:
        """End a login by another page (``oauthCallback``); browsers do that, and here only the address is asked."""
        return self._send(Call("oauthCallback", "GET", "/oidc/callback", {}, NoneType, authenticated=False))

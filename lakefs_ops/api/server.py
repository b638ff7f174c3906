"""The server itself: ``/healthcheck``, ``/config``, ``/setup_lakefs``, ``/statistics``, ``/usage-report``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import NoneType
from typing import Self, TypeAlias

from pydantic import Field

from lakefs_ops.api.common import CredentialsWithSecret, Group
from lakefs_ops.call import Call
from lakefs_ops.model import Model


class VersionConfig(Model):
    """The server's version.

    Attributes:
        version: the version, such as ``1.84.0``.
        version_context: the edition, ``lakeFS`` for open source.
        latest_version: the latest version known to the server.
        upgrade_recommended: whether an upgrade is recommended.
        upgrade_url: URL with information about the upgrade.
    """

    version: str | None = None
    version_context: str | None = None
    latest_version: str | None = None
    upgrade_recommended: bool | None = None
    upgrade_url: str | None = None


class StorageConfig(Model):
    """The capabilities of a store.

    Attributes:
        blockstore_type: ``s3``, ``gs``, ``azure``, ``local`` or ``mem``.
        blockstore_namespace_example: an example of a storage namespace.
        blockstore_namespace_validity_regex: regular expression for storage namespaces.
        default_namespace_prefix: default prefix of storage namespaces, if configured.
        pre_sign_support: whether presigned URLs are supported.
        pre_sign_support_ui: whether the web UI uses presigned URLs.
        import_support: whether imports are supported.
        import_validity_regex: regular expression for import sources.
        pre_sign_multipart_upload: whether presigned multipart uploads are supported.
        blockstore_id: id of the store, if the server has several.
        blockstore_description: the description.
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
"""The capabilities of each store, if the server has several."""


class CustomViewer(Model):
    """A custom object viewer of the web UI.

    Attributes:
        name: the name.
        url: the viewer's URL.
        extensions: supported file extensions.
        content_types: supported media types.
    """

    name: str
    url: str
    extensions: list[str] | None = None
    content_types: list[str] | None = None


class UIConfig(Model):
    """Configuration of the web UI.

    Attributes:
        custom_viewers: custom object viewers.
    """

    custom_viewers: list[CustomViewer] | None = None


class CapabilitiesConfig(Model):
    """The capabilities of the server's edition; empty in lakeFS 1.84. Other fields are in ``model_extra``."""


class Config(Model):
    """The server's configuration.

    Attributes:
        version_config: the version.
        storage_config: the store's capabilities.
        storage_config_list: the capabilities of each store, if the server has several.
        ui_config: configuration of the web UI.
        capabilities_config: capabilities of the edition.
    """

    version_config: VersionConfig | None = None
    storage_config: StorageConfig | None = None
    storage_config_list: StorageConfigList | None = None
    ui_config: UIConfig | None = None
    capabilities_config: CapabilitiesConfig | None = None


class GarbageCollectionConfig(Model):
    """Configuration for garbage collectors.

    Attributes:
        grace_period: minimum age in seconds of an unreferenced object that may be deleted.
    """

    grace_period: int | None = None


class LoginConfig(Model):
    """Configuration of the login.

    Attributes:
        rbac: access control: ``none``, ``simplified``, ``internal`` or ``external``.
        username_ui_placeholder: placeholder of the user name field.
        password_ui_placeholder: placeholder of the password field.
        login_url: URL of an external login page.
        login_url_method: use of the external page: ``none``, ``redirect`` or ``select``.
        login_failed_message: message after a failed login.
        fallback_login_url: URL of a fallback login page.
        fallback_login_label: label of the fallback login page.
        login_cookie_names: names of the cookies that a login sets.
        logout_url: URL of the logout page.
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
    """The setup state of the server.

    Attributes:
        state: ``initialized`` or ``not_initialized``.
        comm_prefs_missing: whether the communication preferences have not been set.
        login_config: configuration of the login.
    """

    state: str | None = None
    comm_prefs_missing: bool | None = None
    login_config: LoginConfig | None = None


@dataclass(frozen=True, slots=True)
class ServerTime:
    """The server's time in the response headers.

    Attributes:
        now: the time, in UTC.
    """

    now: datetime

    @classmethod
    def from_answer(cls, body: bytes, headers: Mapping[str, str]) -> Self:
        """Read the time from the header ``Date``."""
        return cls(parsedate_to_datetime(headers["Date"]).astimezone(UTC))


class AccessKeyCredentials(Model):
    """The key pair for a new server.

    Attributes:
        access_key_id: the access key.
        secret_access_key: the secret.
    """

    access_key_id: str
    secret_access_key: str = Field(repr=False)


class CommPrefsInput(Model):
    """Request body of `Server.setup_comm_prefs`."""

    first_name: str | None = Field(default=None, alias="firstName")
    last_name: str | None = Field(default=None, alias="lastName")
    email: str | None = None
    company_name: str | None = Field(default=None, alias="companyName")
    feature_updates: bool = Field(alias="featureUpdates")
    security_updates: bool = Field(alias="securityUpdates")


class Setup(Model):
    """Request body of `Server.setup`."""

    username: str
    key: AccessKeyCredentials | None = None
    first_name: str | None = Field(default=None, alias="firstName")
    last_name: str | None = Field(default=None, alias="lastName")
    email: str | None = None
    company_name: str | None = Field(default=None, alias="companyName")
    feature_updates: bool | None = Field(default=None, alias="featureUpdates")
    security_updates: bool | None = Field(default=None, alias="securityUpdates")


class StatsEvent(Model):
    """A counted event.

    Attributes:
        class_: class of the event's source, such as ``integration``; ``class`` in the API.
        name: name of the event.
        count: number of occurrences.
    """

    class_: str = Field(alias="class")
    name: str
    count: int


class StatsEventsList(Model):
    """Request body of `Server.post_stats_events`."""

    events: list[StatsEvent]


class UsageReport(Model):
    """The usage of the server in one month.

    Attributes:
        year: the year.
        month: the month, from 1.
        count: number of calls.
    """

    year: int
    month: int
    count: int


class InstallationUsageReport(Model):
    """The usage of the server.

    Attributes:
        installation_id: the server's id.
        reports: one report per month.
    """

    installation_id: str
    reports: list[UsageReport]


class Server(Group):
    """Operations on the server: ``client.server``.

    Common parameters:
        first_name: the administrator's first name.
        last_name: the administrator's last name.
        email: the address for news.
        company_name: the company's name.
        feature_updates: subscribe to news about features.
        security_updates: subscribe to news about security; deprecated.
    """

    def health(self) -> None:
        """Check that the server responds (``healthCheck``). Needs no credentials.

        Raises:
            TransportError: the server does not respond.
        """
        return self._send(Call("healthCheck", "GET", "/healthcheck", {}, NoneType, authenticated=False))

    def time(self) -> datetime:
        """Return the server's time, in whole seconds (``healthCheck``). Needs no credentials.

        Raises:
            NotALakeFS: the response has no header ``Date``.
        """
        return self._send(Call("healthCheck", "GET", "/healthcheck", {}, ServerTime, authenticated=False)).now

    def config(self) -> Config:
        """Return the server's configuration (``getConfig``).

        Example:
            >>> config = client.server.config()  # doctest: +SKIP
            >>> config.version_config.version, config.storage_config.pre_sign_support  # doctest: +SKIP
            ('1.84.0', True)
        """
        return self._send(Call("getConfig", "GET", "/config", {}, Config))

    def version(self) -> VersionConfig:
        """Return the server's version (``getLakeFSVersion``, deprecated: `config`)."""
        return self._send(Call("getLakeFSVersion", "GET", "/config/version", {}, VersionConfig))

    def storage(self) -> StorageConfig:
        """Return the store's capabilities (``getStorageConfig``, deprecated: `config`)."""
        return self._send(Call("getStorageConfig", "GET", "/config/storage", {}, StorageConfig))

    def garbage_collection_config(self) -> GarbageCollectionConfig:
        """Return the configuration for garbage collectors (``getGarbageCollectionConfig``, internal)."""
        path = "/config/garbage-collection"
        return self._send(Call("getGarbageCollectionConfig", "GET", path, {}, GarbageCollectionConfig))

    def setup_state(self) -> SetupState:
        """Return the setup state of the server (``getSetupState``, internal). Needs no credentials."""
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
        """Set up a new server with its first user (``setup``, internal). Needs no credentials.

        Args:
            username: the user's name.
            key: the user's key pair; default: the server creates one.

        Returns:
            The user's key pair; the secret cannot be retrieved again.

        Raises:
            AlreadyExists: the server is already set up.
            BadRequest: the name is empty, or the email address is invalid.
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
        """Set the communication preferences (``setupCommPrefs``, internal). Needs no credentials.

        Raises:
            PreconditionFailed: the server is not set up.
            AlreadyExists: the preferences are already set.
        """
        body = CommPrefsInput.body(
            feature_updates=feature_updates, security_updates=security_updates, first_name=first_name,
            last_name=last_name, email=email, company_name=company_name,
        )  # fmt: skip
        return self._send(
            Call("setupCommPrefs", "POST", "/setup_comm_prefs", {}, NoneType, body=body, authenticated=False)
        )

    def post_stats_events(self, events: Iterable[StatsEvent]) -> None:
        """Add events to the server's statistics (``postStatsEvents``, internal).

        Args:
            events: the counted events.

        Raises:
            BadRequest: an event has an empty class or name, or a negative count.
        """
        body = StatsEventsList.body(events=list(events))
        return self._send(Call("postStatsEvents", "POST", "/statistics", {}, NoneType, body=body))

    def usage_report(self) -> InstallationUsageReport:
        """Return the usage of the server (``getUsageReportSummary``, internal)."""
        return self._send(Call("getUsageReportSummary", "GET", "/usage-report/summary", {}, InstallationUsageReport))

    def usage_report_text(self) -> str:
        """Return the usage of the server as a text table (``getUsageReportSummary``, internal)."""
        path = "/usage-report/summary"
        return self._send(Call("getUsageReportSummary", "GET", path, {}, str, headers={"Accept": "text/plain"}))

    def oauth_callback(self) -> None:
        """Request the end of an external login (``oauthCallback``), which is meant for browsers."""
        return self._send(Call("oauthCallback", "GET", "/oidc/callback", {}, NoneType, authenticated=False))

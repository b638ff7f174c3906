"""Who is asking: ``/user``, ``/auth``."""

from __future__ import annotations

from lakefs_ops.api.common import Group
from lakefs_ops.call import Call
from lakefs_ops.model import Model


class User(Model):
    """A user.

    Attributes:
        id: the user's name; empty for an anonymous call.
        creation_date: when it was made, in Unix seconds.
        friendly_name: a name to show.
        email: the address; commits name it as the committer, where it is set.
    """

    id: str
    creation_date: int
    friendly_name: str | None = None
    email: str | None = None


class CurrentUser(Model):
    """The user that the credentials belong to."""

    user: User


class Auth(Group):
    """Operations on users and credentials: ``client.auth``."""

    def current_user(self) -> User:
        """Return the user that the credentials belong to (``getCurrentUser``).

        Raises:
            AuthenticationFailed: the server does not know the credentials.
        """
        return self._send(Call("getCurrentUser", "GET", "/user", {}, CurrentUser)).user

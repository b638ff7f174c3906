"""Groups of users: ``/auth/groups``."""

from __future__ import annotations

from types import NoneType

from lakefs_ops.api.auth.models import (
    ACL,
    Base,
    Group,
    GroupCreation,
    GroupList,
    Policy,
    PolicyList,
    User,
    UserList,
)
from lakefs_ops.call import Call
from lakefs_ops.listing import Listing

_GROUPS = "/auth/groups"
_GROUP = f"{_GROUPS}/{{groupId}}"
_MEMBER = f"{_GROUP}/members/{{userId}}"


class Groups(Base):
    """Operations on groups."""

    def list_groups(
        self, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[Group]:
        """List groups in the order of their names (``listGroups``).

        Args:
            prefix: only names that begin so.
            after: only names that sort behind this.
            limit: so many at most.
        """
        return self._list("listGroups", _GROUPS, {}, GroupList, prefix, after, limit)

    def create_group(self, *, id: str, description: str | None = None) -> Group:
        """Make a group (``createGroup``).

        Args:
            id: its id.
            description: what it is for.
        """
        body = GroupCreation.body(id=id, description=description)
        return self._send(Call("createGroup", "POST", _GROUPS, {}, Group, body=body))

    def get_group(self, group_id: str) -> Group:
        """Return a group (``getGroup``).

        Args:
            group_id: its id.
        """
        return self._send(Call("getGroup", "GET", _GROUP, {"groupId": group_id}, Group))

    def delete_group(self, group_id: str) -> None:
        """Delete a group (``deleteGroup``).

        Args:
            group_id: its id.
        """
        return self._send(Call("deleteGroup", "DELETE", _GROUP, {"groupId": group_id}, NoneType))

    def list_group_members(
        self, group_id: str, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[User]:
        """List the users of a group (``listGroupMembers``).

        Args:
            group_id: the group's id.
            prefix: only names that begin so.
            after: only names that sort behind this.
            limit: so many at most.
        """
        return self._list(
            "listGroupMembers", f"{_GROUP}/members", {"groupId": group_id}, UserList, prefix, after, limit
        )

    def add_group_membership(self, group_id: str, user_id: str) -> None:
        """Put a user into a group (``addGroupMembership``).

        Args:
            group_id: the group's id.
            user_id: the user's name.
        """
        names = {"groupId": group_id, "userId": user_id}
        return self._send(Call("addGroupMembership", "PUT", _MEMBER, names, NoneType))

    def delete_group_membership(self, group_id: str, user_id: str) -> None:
        """Take a user out of a group (``deleteGroupMembership``).

        Args:
            group_id: the group's id.
            user_id: the user's name.
        """
        names = {"groupId": group_id, "userId": user_id}
        return self._send(Call("deleteGroupMembership", "DELETE", _MEMBER, names, NoneType))

    def list_group_policies(
        self, group_id: str, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[Policy]:
        """List the policies of a group (``listGroupPolicies``).

        Args:
            group_id: the group's id.
            prefix: only names that begin so.
            after: only names that sort behind this.
            limit: so many at most.
        """
        return self._list(
            "listGroupPolicies", f"{_GROUP}/policies", {"groupId": group_id}, PolicyList, prefix, after, limit
        )

    def get_group_acl(self, group_id: str) -> ACL:
        """Return what a group may do (``getGroupACL``).

        Args:
            group_id: the group's id.
        """
        return self._send(Call("getGroupACL", "GET", f"{_GROUP}/acl", {"groupId": group_id}, ACL))

    def set_group_acl(self, group_id: str, *, permission: str) -> None:
        """Say what a group may do (``setGroupACL``).

        Args:
            group_id: the group's id.
            permission: ``Read``, ``Write``, ``Super`` or ``Admin``.
        """
        body = ACL.body(permission=permission)
        names = {"groupId": group_id}
        return self._send(Call("setGroupACL", "POST", f"{_GROUP}/acl", names, NoneType, body=body, idempotent=True))

"""Groups of users: ``/auth/groups``."""

from __future__ import annotations

from types import NoneType

from lakefs_ops.api import common
from lakefs_ops.api.auth.models import ACL, Group, GroupCreation, GroupList, Policy, PolicyList, User, UserList
from lakefs_ops.call import Call
from lakefs_ops.listing import Listing

_GROUPS = "/auth/groups"
_GROUP = f"{_GROUPS}/{{groupId}}"
_MEMBER = f"{_GROUP}/members/{{userId}}"


class Groups(common.Group):
    """Operations on groups."""

    def list_groups(
        self, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[Group]:
        """List groups sorted by name (``listGroups``)."""
        return self._list("listGroups", _GROUPS, {}, GroupList, after, limit, prefix=prefix)

    def create_group(self, *, id: str, description: str | None = None) -> Group:
        """Create a group (``createGroup``).

        Args:
            id: the group's id.
            description: the description.
        """
        body = GroupCreation.body(id=id, description=description)
        return self._send(Call("createGroup", "POST", _GROUPS, {}, Group, body=body))

    def get_group(self, group_id: str) -> Group:
        """Return a group (``getGroup``)."""
        return self._send(Call("getGroup", "GET", _GROUP, {"groupId": group_id}, Group))

    def delete_group(self, group_id: str) -> None:
        """Delete a group (``deleteGroup``)."""
        return self._send(Call("deleteGroup", "DELETE", _GROUP, {"groupId": group_id}, NoneType))

    def list_group_members(
        self, group_id: str, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[User]:
        """List the users of a group (``listGroupMembers``)."""
        return self._list(
            "listGroupMembers", f"{_GROUP}/members", {"groupId": group_id}, UserList, after, limit, prefix=prefix
        )

    def add_group_membership(self, group_id: str, user_id: str) -> None:
        """Add a user to a group (``addGroupMembership``)."""
        params = {"groupId": group_id, "userId": user_id}
        return self._send(Call("addGroupMembership", "PUT", _MEMBER, params, NoneType))

    def delete_group_membership(self, group_id: str, user_id: str) -> None:
        """Remove a user from a group (``deleteGroupMembership``)."""
        params = {"groupId": group_id, "userId": user_id}
        return self._send(Call("deleteGroupMembership", "DELETE", _MEMBER, params, NoneType))

    def list_group_policies(
        self, group_id: str, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[Policy]:
        """List the policies of a group (``listGroupPolicies``)."""
        return self._list(
            "listGroupPolicies", f"{_GROUP}/policies", {"groupId": group_id}, PolicyList, after, limit, prefix=prefix
        )

    def get_group_acl(self, group_id: str) -> ACL:
        """Return the permission of a group (``getGroupACL``)."""
        return self._send(Call("getGroupACL", "GET", f"{_GROUP}/acl", {"groupId": group_id}, ACL))

    def set_group_acl(self, group_id: str, *, permission: str) -> None:
        """Set the permission of a group (``setGroupACL``).

        Args:
            permission: ``Read``, ``Write``, ``Super`` or ``Admin``.
        """
        body = ACL.body(permission=permission)
        params = {"groupId": group_id}
        return self._send(Call("setGroupACL", "POST", f"{_GROUP}/acl", params, NoneType, body=body, idempotent=True))

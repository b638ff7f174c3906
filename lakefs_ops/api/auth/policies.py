"""Policies, and their users and groups: ``/auth/policies``."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType

from lakefs_ops.api import common
from lakefs_ops.api.auth.models import Policy, PolicyList, Statement
from lakefs_ops.call import Call
from lakefs_ops.listing import Listing

_POLICIES = "/auth/policies"
_POLICY = f"{_POLICIES}/{{policyId}}"
_USER_POLICY = "/auth/users/{userId}/policies/{policyId}"
_GROUP_POLICY = "/auth/groups/{groupId}/policies/{policyId}"


class Policies(common.Group):
    """Operations on policies."""

    def list_policies(
        self, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[Policy]:
        """List policies sorted by name (``listPolicies``)."""
        return self._list("listPolicies", _POLICIES, {}, PolicyList, after, limit, prefix=prefix)

    def create_policy(self, *, id: str, statement: Iterable[Statement], creation_date: int | None = None) -> Policy:
        """Create a policy (``createPolicy``).

        Args:
            id: the policy's id.
            statement: the statements, at least one.
            creation_date: creation time in Unix seconds; the server sets it.
        """
        body = Policy.body(id=id, statement=list(statement), creation_date=creation_date)
        return self._send(Call("createPolicy", "POST", _POLICIES, {}, Policy, body=body))

    def get_policy(self, policy_id: str) -> Policy:
        """Return a policy (``getPolicy``)."""
        return self._send(Call("getPolicy", "GET", _POLICY, {"policyId": policy_id}, Policy))

    def update_policy(
        self, policy_id: str, *, statement: Iterable[Statement], id: str | None = None, creation_date: int | None = None
    ) -> Policy:
        """Replace a policy (``updatePolicy``).

        Args:
            statement: all new statements, at least one.
            id: the policy's id in the request body; default: ``policy_id``.
            creation_date: creation time in Unix seconds; the server sets it.
        """
        body = Policy.body(id=policy_id if id is None else id, statement=list(statement), creation_date=creation_date)
        params = {"policyId": policy_id}
        return self._send(Call("updatePolicy", "PUT", _POLICY, params, Policy, body=body, idempotent=True))

    def delete_policy(self, policy_id: str) -> None:
        """Delete a policy (``deletePolicy``)."""
        return self._send(Call("deletePolicy", "DELETE", _POLICY, {"policyId": policy_id}, NoneType))

    def attach_policy_to_user(self, user_id: str, policy_id: str) -> None:
        """Attach a policy to a user (``attachPolicyToUser``)."""
        params = {"userId": user_id, "policyId": policy_id}
        return self._send(Call("attachPolicyToUser", "PUT", _USER_POLICY, params, NoneType))

    def detach_policy_from_user(self, user_id: str, policy_id: str) -> None:
        """Detach a policy from a user (``detachPolicyFromUser``)."""
        params = {"userId": user_id, "policyId": policy_id}
        return self._send(Call("detachPolicyFromUser", "DELETE", _USER_POLICY, params, NoneType))

    def attach_policy_to_group(self, group_id: str, policy_id: str) -> None:
        """Attach a policy to a group (``attachPolicyToGroup``)."""
        params = {"groupId": group_id, "policyId": policy_id}
        return self._send(Call("attachPolicyToGroup", "PUT", _GROUP_POLICY, params, NoneType))

    def detach_policy_from_group(self, group_id: str, policy_id: str) -> None:
        """Detach a policy from a group (``detachPolicyFromGroup``)."""
        params = {"groupId": group_id, "policyId": policy_id}
        return self._send(Call("detachPolicyFromGroup", "DELETE", _GROUP_POLICY, params, NoneType))

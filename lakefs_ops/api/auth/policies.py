"""Policies, and whom they bind: ``/auth/policies``."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType

from lakefs_ops.api.auth.models import (
    Base,
    Policy,
    PolicyList,
    Statement,
)
from lakefs_ops.call import Call
from lakefs_ops.listing import Listing

_POLICIES = "/auth/policies"
_POLICY = f"{_POLICIES}/{{policyId}}"
_USER_POLICY = "/auth/users/{userId}/policies/{policyId}"
_GROUP_POLICY = "/auth/groups/{groupId}/policies/{policyId}"


class Policies(Base):
    """Operations on policies."""

    def list_policies(
        self, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[Policy]:
        """List policies in the order of their names (``listPolicies``).

        Args:
            prefix: only names that begin so.
            after: only names that sort behind this.
            limit: so many at most.
        """
        return self._list("listPolicies", _POLICIES, {}, PolicyList, prefix, after, limit)

    def create_policy(self, *, id: str, statement: Iterable[Statement], creation_date: int | None = None) -> Policy:
        """Make a policy (``createPolicy``).

        Args:
            id: its id.
            statement: its sentences, at least one.
            creation_date: when it was made, in Unix seconds; the server sets it.
        """
        body = Policy.body(id=id, statement=list(statement), creation_date=creation_date)
        return self._send(Call("createPolicy", "POST", _POLICIES, {}, Policy, body=body))

    def get_policy(self, policy_id: str) -> Policy:
        """Return a policy (``getPolicy``).

        Args:
            policy_id: its id.
        """
        return self._send(Call("getPolicy", "GET", _POLICY, {"policyId": policy_id}, Policy))

    def update_policy(
        self, policy_id: str, *, statement: Iterable[Statement], id: str | None = None, creation_date: int | None = None
    ) -> Policy:
        """Replace a policy (``updatePolicy``).

        Args:
            policy_id: its id.
            statement: all its sentences from now on, at least one.
            id: its id again, ``policy_id`` by default.
            creation_date: when it was made, in Unix seconds; the server sets it.
        """
        body = Policy.body(id=policy_id if id is None else id, statement=list(statement), creation_date=creation_date)
        names = {"policyId": policy_id}
        return self._send(Call("updatePolicy", "PUT", _POLICY, names, Policy, body=body, idempotent=True))

    def delete_policy(self, policy_id: str) -> None:
        """Delete a policy (``deletePolicy``).

        Args:
            policy_id: its id.
        """
        return self._send(Call("deletePolicy", "DELETE", _POLICY, {"policyId": policy_id}, NoneType))

    def attach_policy_to_user(self, user_id: str, policy_id: str) -> None:
        """Let a policy hold for a user (``attachPolicyToUser``).

        Args:
            user_id: the user's name.
            policy_id: the policy's id.
        """
        names = {"userId": user_id, "policyId": policy_id}
        return self._send(Call("attachPolicyToUser", "PUT", _USER_POLICY, names, NoneType))

    def detach_policy_from_user(self, user_id: str, policy_id: str) -> None:
        """Let a policy hold for a user no longer (``detachPolicyFromUser``).

        Args:
            user_id: the user's name.
            policy_id: the policy's id.
        """
        names = {"userId": user_id, "policyId": policy_id}
        return self._send(Call("detachPolicyFromUser", "DELETE", _USER_POLICY, names, NoneType))

    def attach_policy_to_group(self, group_id: str, policy_id: str) -> None:
        """Let a policy hold for a group (``attachPolicyToGroup``).

        Args:
            group_id: the group's id.
            policy_id: the policy's id.
        """
        names = {"groupId": group_id, "policyId": policy_id}
        return self._send(Call("attachPolicyToGroup", "PUT", _GROUP_POLICY, names, NoneType))

    def detach_policy_from_group(self, group_id: str, policy_id: str) -> None:
        """Let a policy hold for a group no longer (``detachPolicyFromGroup``).

        Args:
            group_id: the group's id.
            policy_id: the policy's id.
        """
        names = {"groupId": group_id, "policyId": policy_id}
        return self._send(Call("detachPolicyFromGroup", "DELETE", _GROUP_POLICY, names, NoneType))

"""Rights in kafka-python's words and back."""

from __future__ import annotations

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from lapse.broker.principals import Operation, Resource, Right

_RESOURCES = {
    Resource.TOPIC: ResourceType.TOPIC,
    Resource.GROUP: ResourceType.GROUP,
    Resource.TRANSACTIONAL_ID: ResourceType.TRANSACTIONAL_ID,
}
_OPERATIONS = {operation: ACLOperation[operation.value] for operation in Operation}


def binding(user: str, right: Right) -> ACL:
    """Return the ACL that gives `user` this right from any host."""
    pattern = ACLResourcePatternType.PREFIXED if right.prefixed else ACLResourcePatternType.LITERAL
    return ACL(
        principal=f"User:{user}",
        host="*",
        operation=_OPERATIONS[right.operation],
        permission_type=ACLPermissionType.DENY if right.denied else ACLPermissionType.ALLOW,
        resource_pattern=ResourcePattern(_RESOURCES[right.resource], right.name, pattern),
    )


def exactly(acl: ACL) -> ACLFilter:
    """Return the filter that matches this ACL and no other."""
    pattern = acl.resource_pattern
    return ACLFilter(
        principal=acl.principal,
        host=acl.host,
        operation=acl.operation,
        permission_type=acl.permission_type,
        resource_pattern=ResourcePatternFilter(
            pattern.resource_type, pattern.resource_name, pattern.pattern_type
        ),
    )


def of_user(user: str | None) -> ACLFilter:
    """Return the filter that matches every ACL of `user`, or of everybody."""
    return ACLFilter(
        principal=f"User:{user}" if user else None,
        host=None,
        operation=ACLOperation.ANY,
        permission_type=ACLPermissionType.ANY,
        resource_pattern=ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
    )


def spelled(acl: ACL) -> tuple[str, str, str, str, str, str, str]:
    """Return an ACL as text, for comparing and for people."""
    pattern = acl.resource_pattern
    return (
        str(acl.principal).removeprefix("User:"),
        acl.permission_type.name,
        acl.operation.name,
        pattern.resource_type.name,
        pattern.pattern_type.name,
        pattern.resource_name,
        acl.host,
    )


def said(key: tuple[str, ...]) -> str:
    """Return a spelled right in words: `READ group lapse.tag`, `not WRITE topic intake.*`."""
    _, permission, operation, resource, pattern, name, _ = key
    what = f"{operation} {resource.lower()} {name}{'*' if pattern == 'PREFIXED' else ''}"
    return f"not {what}" if permission == "DENY" else what

"""What Stripe's interface can and cannot do."""

from __future__ import annotations

from processors.manifest import Manifest

MANIFEST = Manifest(
    object="customer",
    fields={
        "email": "email",
        "name": "name",
        "phone": "phone",
        "street": "address.line1",
        "postal_code": "address.postal_code",
        "city": "address.city",
        "country": "address.country",
        "order": "metadata.order",
    },
    deletion="gone_later",
    readable=True,
    hears=True,
    in_flight=16,
    quota="100 requests a second in live mode, 25 in a sandbox, and 25 a second for one endpoint",
    evidence="status, body and Request-Id of the answer",
    source="https://docs.stripe.com/api/customers, https://docs.stripe.com/privacy/redaction",
)
"""Customers; what was charged keeps its own copies unless a redaction job is allowed."""

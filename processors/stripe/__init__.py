"""The connector for Stripe: one customer per person; what payments keep is said, never hidden.

`manifest` says what the interface can, `wire` what its requests and answers mean, `customers` finds, makes,
updates and deletes, `redaction` follows the jobs that reach further, `events` reads what Stripe tells us.
"""

from processors.stripe.connector import Stripe
from processors.stripe.manifest import MANIFEST
from processors.stripe.settings import StripeSettings

__all__ = ["MANIFEST", "Stripe", "StripeSettings"]

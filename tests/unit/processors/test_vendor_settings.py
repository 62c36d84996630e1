"""What a policy says of a vendor, and its secrets: judged before anything is called, shown to nobody."""

from __future__ import annotations

import pytest

from processors.salesforce import Salesforce, SalesforceSettings
from processors.stripe import Stripe, StripeSettings
from schemas.errors import BadInput

KEY = {"api_key": "sk_test_12345678"}
SECRETS = {"client_id": "x", "client_secret": "y"}


@pytest.mark.parametrize(
    ("vendor", "said", "secrets", "where"),
    [
        (Stripe, {}, {}, "api_key"),
        (Stripe, {}, {"api_key": "hunter2"}, "api_key"),
        (Stripe, {}, {"api_key": "sk_test_12345678", "webhook_secret": "hunter2"}, "webhook_secret"),
        (Stripe, {"redaction_version": "yes"}, KEY, "settings.redaction_version"),
        (Stripe, {"redaction_days": 0}, KEY, "settings.redaction_days"),
        (Stripe, {"redaction_fix": "no"}, KEY, "settings.redaction_fix"),
        (Salesforce, {}, {}, "client_id"),
        (Salesforce, {}, {"client_id": "x", "client_secret": "hunter2\n"}, "client_secret"),
        (Salesforce, {}, SECRETS, "settings.base_url"),
        (Salesforce, {"base_url": "https://x", "object": "Account"}, SECRETS, "settings.object"),
        (Salesforce, {"base_url": "https://x", "api_version": "62"}, SECRETS, "settings.api_version"),
        (Salesforce, {"base_url": "https://x", "mail_purposes": "a b"}, SECRETS, "settings.mail_purposes"),
        (
            Salesforce,
            {"base_url": "https://x", "external_id_field": "a/b"},
            SECRETS,
            "settings.external_id_field",
        ),
    ],
)
def test_settings_name_what_is_wrong_and_repeat_no_secret(
    vendor: type[Stripe] | type[Salesforce],
    said: dict[str, str | int | bool],
    secrets: dict[str, str],
    where: str,
) -> None:
    """The message is for a log."""
    with pytest.raises(BadInput) as refused:
        vendor.settings(said, secrets)
    assert where in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        StripeSettings(api_key="hunter2", webhook_secret="hunter2"),
        SalesforceSettings(client_id="hunter2", client_secret="hunter2", base_url="https://x"),
    ],
)
def test_secrets_do_not_show(settings: StripeSettings | SalesforceSettings) -> None:
    """Settings may be printed."""
    assert "hunter2" not in repr(settings)

"""What Salesforce's interface can and cannot do."""

from __future__ import annotations

from processors.manifest import Manifest

MANIFEST = Manifest(
    object="contact or lead",
    fields={
        "email": "Email",
        "phone": "Phone",
        "name": "LastName",
        "first_name": "FirstName",
        "last_name": "LastName",
        "job_title": "Title",
        "street": "MailingStreet",
        "postal_code": "MailingPostalCode",
        "city": "MailingCity",
        "country": "MailingCountry",
        "message": "Description",
    },
    deletion="gone",
    readable=True,
    in_flight=10,
    quota="calls per rolling 24 hours for the whole org, and 25 long ones at a time",
    evidence="status and body of the answer",
    source="https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/",
)
"""A Contact's names; a Lead's differ for the address (`Street`) and are put in their place."""

AS_LEAD = {
    "MailingStreet": "Street",
    "MailingPostalCode": "PostalCode",
    "MailingCity": "City",
    "MailingState": "State",
    "MailingCountry": "Country",
}
"""A Contact's fields and where a Lead has the same."""
LEAD_ONLY = frozenset(
    {"Company", "Industry", "AnnualRevenue", "NumberOfEmployees", "Website", "Rating", "Status"}
)
"""Fields of a Lead that its Contact does not have once it is converted."""

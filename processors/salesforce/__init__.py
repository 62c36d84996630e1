"""The connector for Salesforce: one Contact or Lead per person, named by an external id.

`manifest` says what the interface can, `wire` what its answers mean, `session` logs in, `records` finds and
writes, `erasing` overwrites and deletes, `bulk` empties the recycle bin.
"""

from processors.salesforce.connector import Salesforce
from processors.salesforce.manifest import MANIFEST
from processors.salesforce.settings import SalesforceSettings

__all__ = ["MANIFEST", "Salesforce", "SalesforceSettings"]

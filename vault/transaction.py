"""One transaction of the vault: every part of the port in one class."""

from vault.escrow import HoldRows
from vault.outbox import OutboxRows
from vault.port import Tx
from vault.progress import ProgressRows
from vault.registry import RegistryRows
from vault.residue import ResidueRows
from vault.taskrows import TaskRows
from vault.vendors import VendorRows


class Transaction(HoldRows, ProgressRows, OutboxRows, RegistryRows, VendorRows, TaskRows, ResidueRows):
    """`Tx` over the rows of any store, and what only `vault.ending` and `vault.holds` may call."""


def destroying(tx: Tx) -> Transaction:
    """Return the transaction with what only endings and holds may call."""
    assert isinstance(tx, Transaction), "endings need a transaction of this vault"
    assert tx.write, "endings need a transaction that writes"
    return tx

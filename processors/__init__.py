"""WHO receives: connectors hand out what the vault opens, remember it as objects, and take it back."""

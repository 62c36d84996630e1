"""HOW promises are checked: an oracle that shares no code with what it judges."""

"""WHEN things happen: the flow, its stages and the I/O around them."""

"""What travels: records, their bytes, ids, codes, topics, policies and errors; no I/O beside the registry."""

"""The Kafka that Lapse runs on: the embedded broker, who may do what on it, and its administration."""

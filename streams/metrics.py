"""Every metric, once. Labels hold codes, names of the policy and topics, never a person's data."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
"""The registry of a worker process."""

# Counter: outcomes of events by stage. Labels: outcome, code (empty where there is none).
OUTCOMES = Counter(
    "lapse_outcomes_total", "Events by outcome and code.", ["outcome", "code"], registry=REGISTRY
)
# Counter: chunks done. Labels: role.
CHUNKS = Counter("lapse_chunks_total", "Chunks done.", ["role"], registry=REGISTRY)
# Histogram: seconds from a chunk's arrival to its last acknowledgement. Labels: role.
CHUNK_SECONDS = Histogram("lapse_chunk_seconds", "Seconds per chunk.", ["role"], registry=REGISTRY)
# Counter: chunks dropped because another worker has the partition. Labels: role.
FENCED = Counter("lapse_fenced_total", "Chunks dropped, fenced off.", ["role"], registry=REGISTRY)
# Counter: what needs a person's eye. Labels: what.
FINDINGS = Counter("lapse_findings_total", "Anomalies that need a person's eye.", ["what"], registry=REGISTRY)
# Counter: deliveries sent. Labels: processor.
DELIVERIES = Counter("lapse_deliveries_total", "Deliveries by processor.", ["processor"], registry=REGISTRY)
# Counter: keys destroyed. Labels: cause.
LAPSES = Counter("lapse_lapses_total", "Keys destroyed by cause.", ["cause"], registry=REGISTRY)
# Histogram: seconds by which a bucket's key outlived its due date.
LATE_SECONDS = Histogram(
    "lapse_late_seconds",
    "Seconds from a bucket's due date to its key's destruction.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600),
    registry=REGISTRY,
)
# Gauge: messages owed to the log.
OUTBOX = Gauge("lapse_outbox_rows", "Messages owed to the log.", registry=REGISTRY)
# Gauge: seconds for which the oldest message has been owed.
OUTBOX_AGE = Gauge(
    "lapse_outbox_oldest_seconds", "Seconds for which the oldest message has been owed.", registry=REGISTRY
)
# Gauge: when expiry last looked at the vault's clock and did what was due: the dead man's handle.
TICKED = Gauge(
    "lapse_expiry_last_tick_timestamp_seconds",
    "When expiry last looked, by the host's clock; it looks fifty times a second.",
    registry=REGISTRY,
)
# Gauge: seconds by which the oldest open bucket is past its due date; 0 where none is.
OVERDUE = Gauge(
    "lapse_expiry_overdue_seconds", "Seconds by which the oldest living key is overdue.", registry=REGISTRY
)
# Gauge: 1 while a brake stops expiry. Labels: brake.
BRAKE = Gauge("lapse_brake", "1 while a brake stops expiry.", ["brake"], registry=REGISTRY)
# Counter: commands judged. Labels: command, code (empty where applied).
COMMANDS = Counter("lapse_commands_total", "Commands by result.", ["command", "code"], registry=REGISTRY)
# Counter: receipts of processors. Labels: processor, outcome.
RECEIPTS = Counter(
    "lapse_receipts_total", "Receipts by outcome.", ["processor", "outcome"], registry=REGISTRY
)
# Gauge: what somebody has to do because a processor did not answer as it should. Labels: processor, kind.
TASKS = Gauge("lapse_tasks_open", "Tasks by processor and kind.", ["processor", "kind"], registry=REGISTRY)
# Gauge: seconds for which a processor's oldest task has been open; 0 where none is. Labels: processor.
TASK_AGE = Gauge(
    "lapse_task_oldest_seconds",
    "Seconds for which the oldest task has been open.",
    ["processor"],
    registry=REGISTRY,
)
# Gauge: what people asked for and nobody has answered yet. Labels: right.
REQUESTS = Gauge("lapse_requests_open", "Requests not answered yet.", ["right"], registry=REGISTRY)
# Gauge: those of them that should have been answered by now. Labels: right.
OVERDUE_REQUESTS = Gauge(
    "lapse_requests_overdue", "Requests past the day they are due.", ["right"], registry=REGISTRY
)
# Gauge: letters to the privacy officer that the mail server has not taken.
LETTERS = Gauge("lapse_letters_waiting", "Letters to the privacy officer not sent yet.", registry=REGISTRY)
# Counter: offsets of intake purged.
PURGED = Counter("lapse_purged_total", "Intake records purged.", registry=REGISTRY)
# Gauge: seconds since when the oldest unread record of an intake topic is known to wait. Labels: topic.
UNREAD = Gauge(
    "lapse_intake_unread_seconds",
    "Seconds for which the oldest unread record has waited, at least.",
    ["topic"],
    registry=REGISTRY,
)
# Gauge: records a recipient has not read though its topic has kept them most of its time. Labels: processor.
OLD_BACKLOG = Gauge(
    "lapse_processor_old_backlog_records",
    "Records unread by a recipient for more than half of what its topic keeps.",
    ["processor"],
    registry=REGISTRY,
)
# Gauge: share of a disk that is free. Labels: folder (data, broker, vault, spool).
DISK_FREE = Gauge(
    "lapse_disk_free_ratio",
    "Free share of the disk below a folder of the data.",
    ["folder"],
    registry=REGISTRY,
)

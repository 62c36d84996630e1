"""Visitors who chat, and the agent who tidies up: JivoChat asks only then, and only a person can delete.

The site gives its widget the person's pseudonym at the recipient; here it is read off the recipient's own
topic, with the recipient's own credentials, and nothing of it is opened.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from confluent_kafka import Consumer, KafkaException

from lapse import main
from lapse.demo.stands import Stand
from lapse.layout import read_json
from lapse.main import Installation
from processors.credentials import stand_in_file
from processors.said import played
from schemas import codec
from schemas.errors import Rejected
from schemas.models import RecordDelivered

VISITORS = 12
"""So many people chat; the others never do, so nothing of them is ever shown."""
FORGOTTEN = 1
"""So many cards the agent overlooks: what is left is somebody's task, and the receipts say so."""
POLL_SECONDS = 0.2
ANSWER_SECONDS = 5.0
EMPTY = {"name": "", "email": "", "phone": ""}


class Chats:
    """One recipient that asks when somebody chats."""

    def __init__(self, name: str, url: str, client: Mapping[str, str], group: str, hook: str) -> None:
        self._name, self._url, self._client, self._group, self._hook = name, url, client, group, hook
        self.visitors: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"chats-{name}", daemon=True)

    def start(self) -> None:
        """Tell the stand-in where to ask, and let people chat."""
        self._send("PUT", "/_hook", {"url": self._hook})
        self._thread.start()

    def stop(self) -> None:
        """Nobody chats any more."""
        self._stop.set()
        self._thread.join(10)

    def tidy_up(self) -> None:
        """Let an agent empty the cards in the app: all but those that are overlooked."""
        stand = Stand(name=self._name, url=self._url)
        stand.look()
        filled = {str(card["id"]) for card in stand.objects}
        cards = [token for token in self.visitors if token in filled]
        for token in cards[: len(cards) - FORGOTTEN]:
            self._act("client_updated", token, EMPTY)

    def _run(self) -> None:
        settings = {"group.id": self._group, "auto.offset.reset": "earliest", "log_level": 2}
        consumer = Consumer({**self._client, **settings})
        consumer.subscribe([f"processor.{self._name}"])
        try:
            while not self._stop.is_set() and len(self.visitors) < VISITORS:
                for message in consumer.consume(50, POLL_SECONDS):
                    if not message.error() and message.value():
                        self._met(message.value())
        except KafkaException:
            return
        finally:
            consumer.close()

    def _met(self, value: bytes) -> None:
        try:
            record = codec.decode(value)
        except Rejected:
            return
        if isinstance(record, RecordDelivered) and len(self.visitors) < VISITORS:
            token = record.subject_ref.hex()
            if token not in self.visitors:
                self._stop.wait(0.5)  # its delivery is entered meanwhile, as long before most real chats
                self._act("chat_accepted", token, {})
                self.visitors.append(token)

    def _act(self, event: str, token: str, visitor: Mapping[str, str]) -> None:
        self._send("POST", "/_act", {"event_name": event, "user_token": token, "visitor": visitor})

    def _send(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = self._url + path
        request = urllib.request.Request(url, json.dumps(body).encode(), method=method)  # noqa: S310  # of run.json
        try:
            opener.open(request, timeout=ANSWER_SECONDS).close()
        except (urllib.error.URLError, TimeoutError, OSError):
            return  # a stand-in that is away shows nothing, and the check at the end examines that


def chats(here: Installation, run: Mapping[str, Any]) -> list[Chats]:
    """Return the chat of every recipient that a stand-in of JivoChat plays."""
    found = []
    for plan in here.plans.latest.processors:
        if plan.connector != "jivochat" or not played(plan):
            continue
        secret = read_json(Path(stand_in_file(here.layout.keys / "processors", plan)))["hook_secret"]
        hook = f"{run['urls']['keys']}/in/{plan.name}?secret={quote(secret)}"
        facts = run["processors"][plan.name]
        client = here.address.librdkafka(main.login(here.layout, "processors", plan.name))
        found.append(Chats(plan.name, facts["fake_url"], client, facts["group"], hook))
    return found

"""Read a topic, open late, drop what has lapsed, print what is held.

python consumer.py DATA/run.json PROCESSOR SECONDS
"""

import base64
import hmac
import io
import json
import ssl
import struct
import sys
import time
import urllib.request
from pathlib import Path

from confluent_kafka import Consumer
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastavro import parse_schema, schemaless_reader

run = json.loads(Path(sys.argv[1]).read_text())
me, security, held, schemas = run["processors"][sys.argv[2]], run["security"], {}, {}
login = json.loads(Path(me["credentials_file"]).read_text())
tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=run["ca_file"]))


def call(path, body=None):
    headers = {"Authorization": f"Bearer {login['token']}", "Content-Type": "application/json"}
    request = urllib.request.Request(run["urls"]["keys"] + path, body and json.dumps(body).encode(), headers)
    return json.load(urllib.request.build_opener(urllib.request.ProxyHandler({}), tls).open(request))


def decode(value):  # a zero byte, the schema's id, the record; without logical types times are microseconds
    number = int.from_bytes(value[1:5], "big")
    if number not in schemas:
        text = call(f"/schemas/ids/{number}")["schema"].replace("logicalType", "meant")
        schemas[number] = parse_schema(json.loads(text))
    return schemas[number]["name"].split(".")[-1], schemaless_reader(io.BytesIO(value[5:]), schemas[number])


def lapsed(lapse, delivery, grant):  # does it reach this grant? whatever the scope names must be the same
    purposes = lapse["scope"].pop("purposes", None)
    same = all({**delivery, **grant}[name] == value for name, value in lapse["scope"].items())
    lapse["scope"] |= {"purposes": purposes} if purposes else {}
    named = purposes is None or grant["purpose"] in purposes
    return same and named and grant["decided"] < lapse["reaches"]


def asked(d):  # what the key endpoint wants to know: everything but the sealed bytes
    parts = [{"n": n, "wraps": []} for n in range(len(d["compartments"]))]
    for part, compartment in zip(parts, d["compartments"], strict=True):
        for wrap in compartment["wraps"]:
            grant = {name: d["grants"][wrap["grant"]][name] for name in ("purpose", "period", "terms")}
            handle, key = d["grants"][wrap["grant"]]["handle"].hex(), base64.b64encode(wrap["key"]).decode()
            part["wraps"].append({**grant, "handle": handle, "key": key})
    head = {"delivery_id": d["delivery_id"].hex(), "revision": d["revision"], "source": d["source"]}
    return {**head, "compartments": parts}


def text(string):
    return len(string.encode()).to_bytes(2, "big") + string.encode()


def opened(d, n, key):  # docs/wire.md: check the commitment, then decrypt with all that the delivery binds
    aad = b"lapse/v1/delivery" + d["delivery_id"] + struct.pack(">I", d["revision"]) + text(d["source"])
    categories, sealed = d["compartments"][n]["categories"], d["compartments"][n]["sealed"]
    aad += struct.pack(">HH", n, len(categories)) + b"".join(map(text, categories))
    aad += struct.pack(">H", len(d["grants"]))
    for g in d["grants"]:
        aad += text(g["purpose"]) + struct.pack(">qI", g["period"], g["terms"]) + g["handle"]
        aad += struct.pack(">Qq", g["decided"], g["use_until"])
    commitment = hmac.digest(key, b"lapse/v1/commit" + sealed[16:28], "sha256")[:16]
    if not hmac.compare_digest(commitment, sealed[:16]):
        return {}
    return json.loads(AESGCM(key).decrypt(sealed[16:28], sealed[28:], aad))


settings = {"bootstrap.servers": run["bootstrap"], "security.protocol": security["protocol"]}
settings |= {"group.id": me["group"], "auto.offset.reset": "earliest", "enable.auto.commit": False}
if security["mechanism"]:
    settings |= {"sasl.mechanism": security["mechanism"]}
    settings |= {"sasl.username": login["username"], "sasl.password": login["password"]}
if security["ca"]:
    settings["ssl.ca.location"] = security["ca"]
consumer, joined = Consumer(settings), []
consumer.subscribe([me["topic"]], on_assign=lambda *_: joined.append(time.monotonic()))
while not joined or time.monotonic() < joined[0] + float(sys.argv[3]):  # what is held stays sealed
    message = consumer.poll(0.2)
    if message is None or message.error() or message.value() is None:  # no value: a tick
        continue
    name, record = decode(message.value())
    if name == "RecordDelivered":
        if record["revision"] > held.get(record["delivery_id"], {"revision": 0})["revision"]:
            held[record["delivery_id"]] = record | {"living": record["grants"]}
    elif name == "Depersonalized":
        for d in held.values():
            d["living"] = [grant for grant in d["living"] if not lapsed(record, d, grant)]
        held = {name: d for name, d in held.items() if d["living"]}
consumer.close()
for start in range(0, len(held), 500):  # opened at the moment of use, in batches, and forgotten at once
    batch = list(held.values())[start : start + 500]
    answers = call("/v1/keys", {"deliveries": [asked(d) for d in batch]})["results"]
    for d, answer in zip(batch, answers, strict=True):
        fields, closed = {}, []
        for part in answer["compartments"]:
            if "key" in part:
                fields |= opened(d, part["n"], base64.b64decode(part["key"]))
            else:
                closed.append(part["closed"]["code"])
        print(json.dumps({"delivery": answer["delivery_id"], "fields": fields, "closed": closed}))

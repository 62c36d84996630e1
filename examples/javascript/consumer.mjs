// Read a topic, open late, drop what has lapsed, print what is held: node consumer.mjs DATA/run.json PROCESSOR SECONDS
import { createDecipheriv, createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { request } from "node:https";
import avsc from "avsc";
import { Kafka, logLevel } from "kafkajs";

const [file, processor, seconds] = process.argv.slice(2);
const run = JSON.parse(readFileSync(file)), me = run.processors[processor], { security } = run;
const login = JSON.parse(readFileSync(me.credentials_file)), ca = readFileSync(run.ca_file);
const types = new Map(), held = new Map();

const call = (path, body) => new Promise((resolve, reject) => {
  const headers = { Authorization: `Bearer ${login.token}`, "Content-Type": "application/json" };
  const asked = request(run.urls.keys + path, { method: body ? "POST" : "GET", headers, ca }, (answer) => {
    const pieces = [];
    answer.on("data", (piece) => pieces.push(piece));
    answer.on("end", () => answer.statusCode === 200 ? resolve(JSON.parse(Buffer.concat(pieces)))
      : reject(new Error(`${path}: ${answer.statusCode}`)));
  });
  asked.on("error", reject).end(body && JSON.stringify(body));
});

async function decode(value) { // a zero byte, the schema's id, the record; times are microseconds
  const number = value.readUInt32BE(1);
  if (!types.has(number)) {
    const { schema } = await call(`/schemas/ids/${number}`);
    types.set(number, avsc.Type.forSchema(JSON.parse(schema), { wrapUnions: true }));
  }
  return [types.get(number).name, types.get(number).fromBuffer(value.subarray(5))];
}

function lapsed(lapse, delivery, grant) { // does it reach this grant? whatever the scope names must be the same
  const [{ purposes, ...scope }] = Object.values(lapse.scope), own = { ...delivery, ...grant };
  const same = Object.entries(scope).every(([k, v]) => Buffer.isBuffer(v) ? v.equals(own[k]) : v === own[k]);
  return same && (purposes ?? [grant.purpose]).includes(grant.purpose) && grant.decided < lapse.reaches;
}

const wrap = (d, { grant, key }) => { // what the key endpoint wants to know: everything but the sealed bytes
  const { purpose, period, terms, handle } = d.grants[grant];
  return { purpose, period, terms, handle: handle.toString("hex"), key: key.toString("base64") };
};
const ask = (d) => ({
  delivery_id: d.delivery_id.toString("hex"), revision: d.revision, source: d.source,
  compartments: d.compartments.map((c, n) => ({ n, wraps: c.wraps.map((w) => wrap(d, w)) })),
});

const number = (size, value) => { // big-endian; signed where negative, which is the same bytes
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(BigInt(value));
  return bytes.subarray(8 - size);
};
const text = (string) => Buffer.concat([number(2, Buffer.byteLength(string)), Buffer.from(string)]);

function open(d, n, key) { // docs/wire.md: check the commitment, then decrypt with all that the delivery binds
  const { categories, sealed } = d.compartments[n], nonce = sealed.subarray(16, 28);
  const aad = [Buffer.from("lapse/v1/delivery"), d.delivery_id, number(4, d.revision), text(d.source), number(2, n),
    number(2, categories.length), ...categories.map(text), number(2, d.grants.length),
    ...d.grants.flatMap((g) => [text(g.purpose), number(8, g.period), number(4, g.terms), g.handle,
      number(8, g.decided), number(8, g.use_until)])];
  const right = createHmac("sha256", key).update("lapse/v1/commit").update(nonce).digest().subarray(0, 16);
  if (!timingSafeEqual(right, sealed.subarray(0, 16))) return {};
  const cipher = createDecipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.concat(aad)).setAuthTag(sealed.subarray(-16));
  return JSON.parse(Buffer.concat([cipher.update(sealed.subarray(28, -16)), cipher.final()]));
}

const kafka = new Kafka({
  brokers: run.bootstrap.split(","), logLevel: logLevel.ERROR,
  ssl: security.protocol.endsWith("SSL") && { ca: security.ca ? [readFileSync(security.ca)] : undefined },
  sasl: security.mechanism && { mechanism: security.mechanism.toLowerCase(), username: login.username, password: login.password },
});
const consumer = kafka.consumer({ groupId: `${me.group}.js` });
await consumer.connect();
await consumer.subscribe({ topic: me.topic, fromBeginning: true });
const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve));
await consumer.run({
  autoCommit: false,
  eachMessage: async ({ message: { value } }) => { // what is held stays sealed
    if (value === null) return; // a tick
    const [name, record] = await decode(value);
    if (name === "lapse.v1.RecordDelivered") {
      const id = record.delivery_id.toString("hex");
      if (record.revision > (held.get(id)?.revision ?? 0)) held.set(id, { ...record, living: record.grants });
    } else if (name === "lapse.v1.Depersonalized") {
      for (const [id, d] of held) {
        d.living = d.living.filter((grant) => !lapsed(record, d, grant));
        if (d.living.length === 0) held.delete(id);
      }
    }
  },
});
await joined;
await new Promise((done) => setTimeout(done, 1000 * seconds));
await consumer.disconnect();
const deliveries = [...held.values()];
for (let start = 0; start < deliveries.length; start += 500) { // opened at the moment of use, and forgotten at once
  const batch = deliveries.slice(start, start + 500);
  const { results } = await call("/v1/keys", { deliveries: batch.map(ask) });
  results.forEach(({ delivery_id, compartments }, i) => {
    const open_ = compartments.filter((p) => p.key), closed = compartments.filter((p) => p.closed);
    const fields = Object.assign({}, ...open_.map((p) => open(batch[i], p.n, Buffer.from(p.key, "base64"))));
    console.log(JSON.stringify({ delivery: delivery_id, fields, closed: closed.map((p) => p.closed.code) }));
  });
}

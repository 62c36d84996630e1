// A partner in another language, judging with other authors' packages; prints one JSON line per request.
import { createServer } from "node:http";
import { HTTP } from "cloudevents";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.argv[2]);

const server = createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    const body = Buffer.concat(pieces).toString(), seen = { path: request.url };
    try {
      webhook.verify(body, request.headers);
      seen.signed = true;
      if (request.url === "/events") {
        const event = HTTP.toEvent({ headers: request.headers, body });
        seen.valid = event.validate();
        seen.event = { id: event.id, type: event.type, subject: event.subject, sequence: event.sequence, data: event.data };
        response.writeHead(204).end();
      } else {
        const asked = JSON.parse(body), now = new Date();
        const answer = JSON.stringify({ subject_request_id: asked.subject_request_id, request_status: "completed" });
        seen.erasure = asked;
        response.writeHead(200, {
          "Content-Type": "application/json", "webhook-id": "answer", "webhook-timestamp": Math.floor(now / 1000),
          "webhook-signature": webhook.sign("answer", now, answer),
        }).end(answer);
      }
    } catch (error) {
      seen.error = String(error);
      response.writeHead(400).end();
    }
    console.log(JSON.stringify(seen));
  });
});
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));

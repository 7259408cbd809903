// Receives real deliveries and verifies them with the reference library.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const { URL: base, ADMIN, ONBOARDING } = process.env;
const waiting = [];
const arrived = [];

const server = createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
        response.writeHead(204).end();
        const message = { headers: request.headers, body: Buffer.concat(chunks).toString() };
        const waiter = waiting.shift();
        waiter ? waiter(message) : arrived.push(message);
    });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const next = () => (arrived.length ? Promise.resolve(arrived.shift()) : new Promise((resolve) => waiting.push(resolve)));

async function api(path, body, token = ADMIN) {
    const headers = { authorization: `Bearer ${token}` };
    if (body) headers["content-type"] = "application/json";
    const answer = await fetch(base + path, { method: "POST", headers, body: body && JSON.stringify(body) });
    assert.ok(answer.ok, `${path}: ${answer.status}`);
    return answer.json();
}

async function event(name) {
    const { id } = await api("/v1/subjects", { kind: "person", external_id: name }, ONBOARDING);
    const statement = { type: "states", frame: "us_status", states: ["citizen"] };
    await api(`/v1/subjects/${id}/attestations`, { source: "src_self", kind: "declaration", statement }, ONBOARDING);
    const message = await next();
    assert.equal(JSON.parse(message.body).data.subject, id);
    return message;
}

const topics = ["attestation.accepted"];
const url = `http://127.0.0.1:${server.address().port}/hook`;
const made = await api("/v1/webhook-endpoints", { name: "node", url, topics });
const old = new Webhook(made.secret);
const first = await event("interop-node-1");
assert.equal(old.verify(first.body, first.headers).type, "attestation.accepted");
assert.throws(() => old.verify(`${first.body} `, first.headers));
assert.throws(() => new Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").verify(first.body, first.headers));
const rotated = await api(`/v1/webhook-endpoints/${made.id}/rotate`);
const second = await event("interop-node-2");
assert.deepEqual(old.verify(second.body, second.headers), new Webhook(rotated.secret).verify(second.body, second.headers));
console.log("node standardwebhooks: verified, refused and rotated");
server.closeAllConnections();
server.close();

// Makes the calls that it is told to, with whichever client an adapter opens, and tells what the client's user got.
//
// Standard input brings one JSON object a line: `connect` (as whom, where to, with which bearer), `list` or `call`. Each
// is answered by one line on standard output: `{"gave": …}`, or `{"threw": …}` where the client threw. The story itself
// stands in test_clients.py. When nobody can ask any more, because standard input has ended, so does this process.

import { createInterface } from "node:readline";

/** Answers until standard input ends. `open(url, bearer, fetch)` makes a client and its transport, not yet connected. */
export async function answer(open) {
  const opened = new Map();
  const verbs = {
    async connect({ as, url, bearer }) {
      const spoiling = { on: false };
      const { client, transport } = open(new URL(url), bearer, fetching(spoiling));
      await client.connect(transport);
      opened.set(as, { client, spoiling });
      return { revision: transport.protocolVersion, instructions: client.getInstructions() };
    },
    async list({ as }) {
      return await opened.get(as).client.listTools();
    },
    async call({ as, params, spoil }) {
      const { client, spoiling } = opened.get(as);
      spoiling.on = spoil;
      return await client.callTool(params);
    },
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const asked = JSON.parse(line);
    const seen = await verbs[asked.verb](asked).then(
      (gave) => ({ gave }),
      (error) => ({ threw: { message: String(error), code: error.code, data: error.data } }),
    );
    process.stdout.write(`${JSON.stringify(seen)}\n`);
  }
  for (const { client } of opened.values()) await client.close();
}

/** `fetch`, except that while it is told to spoil an answer gets a status that its tool does not advertise. */
function fetching(spoiling) {
  return async (url, init) => {
    const response = await fetch(url, init);
    if (!spoiling.on) return response;
    const reply = await response.json();
    reply.result.structuredContent.status = "spoiled";
    return new Response(JSON.stringify(reply), { headers: { "content-type": "application/json" } });
  };
}

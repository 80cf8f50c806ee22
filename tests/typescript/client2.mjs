// The client of `@modelcontextprotocol/client` 2.x. The argument says how it finds the protocol's revision: by `legacy`,
// its default, it takes the last one that begins with a handshake, by `auto` the newest that both sides know.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

import { answer } from "./calls.mjs";

const mode = process.argv[2];

await answer((url, bearer, fetch) => ({
  client: new Client({ name: "a test", version: "0" }, { versionNegotiation: { mode } }),
  transport: new StreamableHTTPClientTransport(url, {
    fetch,
    requestInit: { headers: { authorization: `Bearer ${bearer}` } },
  }),
}));

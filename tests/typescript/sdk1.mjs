// The client of `@modelcontextprotocol/sdk` 1.x.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { answer } from "./calls.mjs";

await answer((url, bearer, fetch) => ({
  client: new Client({ name: "a test", version: "0" }),
  transport: new StreamableHTTPClientTransport(url, {
    fetch,
    requestInit: { headers: { authorization: `Bearer ${bearer}` } },
  }),
}));

/**
 * Chat servers that others have written, for the tests of the load test: `node peers.ts PROTOCOL`.
 *
 * Each forwards a message to everybody, its speaker included, and lets in whoever has the token `sesame`. It writes its
 * port to standard output, and ends with its standard input.
 */
import { EventEmitter, on } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Aedes } from "aedes";
import { buildSchema } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { Server } from "socket.io";
import { createWebSocketStream, WebSocketServer } from "ws";

const TOKEN = "sesame";
const http = createServer();

const peers: Record<string, () => Promise<unknown> | unknown> = {
  "socket.io": () => {
    const io = new Server(http, { pingInterval: 300, pingTimeout: 300 });
    io.use((socket, next) => next(socket.handshake.auth.token === TOKEN ? undefined : new Error("wrong token")));
    io.on("connection", (socket) => socket.on("message", (text) => io.emit("message", text)));
  },

  mqtt: async () => {
    const broker = await Aedes.createBroker({
      authenticate: (_client, _user, password, done) => done(null, `${password}` === TOKEN),
    });
    new WebSocketServer({ server: http }).on("connection", (socket, request) =>
      broker.handle(createWebSocketStream(socket), request),
    );
  },

  "graphql-ws": () => {
    const said = new EventEmitter().setMaxListeners(0);
    async function* heard() {
      for await (const [message] of on(said, "message")) yield { message };
    }
    const schema = buildSchema(`
      type Query { version: Int }
      type Mutation { say(text: String!): Boolean }
      type Subscription { message: String }
    `);
    const mutation = { say: ({ text }: { text: string }) => said.emit("message", text) };
    useServer(
      {
        schema,
        roots: { mutation, subscription: { message: heard } },
        onConnect: (context) => context.connectionParams?.token === TOKEN,
      },
      new WebSocketServer({ server: http }),
      500,
    );
  },
};

await peers[process.argv[2] ?? ""]?.();
http.listen(0, "127.0.0.1", () => console.log((http.address() as AddressInfo).port));
process.stdin.on("end", () => process.exit()).resume();

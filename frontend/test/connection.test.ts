import { afterEach, beforeEach, expect, it, vi } from "vitest";
import {
  BACKOFF_BASE_MS,
  BACKOFF_CAP_MS,
  Connection,
  IDLE_MS,
  OFFLINE_PROOF_MS,
  OVERLAP_MS,
  PROOF_OF_LIFE_MS,
  RENEW_MS,
} from "../src/connection";
import { FakeSocket } from "./fake-socket";

let chance: number;
let isReachable: boolean;
let isOnline: boolean;
let frames: string[];
let connection: Connection;
const [onOpen, onLost, onSignOfLifeDue] = [vi.fn(), vi.fn(), vi.fn()];
const latest = () => FakeSocket.latest;

beforeEach(() => {
  vi.useFakeTimers();
  vi.resetAllMocks();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("fetch", async () => (isReachable ? new Response() : Promise.reject(new TypeError("no answer"))));
  vi.spyOn(Math, "random").mockImplementation(() => chance);
  vi.spyOn(navigator, "onLine", "get").mockImplementation(() => isOnline);
  FakeSocket.made = [];
  chance = 1;
  isReachable = false;
  isOnline = true;
  frames = [];
  location.hash = "#key=a-secret";
  connection = new Connection(
    { ok: true, url: new URL("ws://a.example"), httpOrigin: "http://a.example" },
    { onState: () => {}, onOpen, onLost, onFrame: (frame) => frames.push(frame), onSignOfLifeDue },
  );
  connection.start();
});

afterEach(() => connection.stop());

const waitMs = () => ("retryAtMs" in connection.state ? (connection.state.retryAtMs ?? 0) - performance.now() : NaN);

const refuse = async () => {
  latest().breaks();
  await vi.advanceTimersByTimeAsync(0);
};
const shown = () => document.dispatchEvent(new Event("visibilitychange"));
const online = () => window.dispatchEvent(new Event("online"));
const offline = () => window.dispatchEvent(new Event("offline"));

it("connects with the room's key, and says when the connection is lost", () => {
  expect(latest().url.href).toBe("ws://a.example/?key=a-secret");
  expect(connection.state.name).toBe("connecting");
  latest().opens();
  expect(connection.state.name).toBe("connected");
  expect(onOpen).toHaveBeenCalledOnce();
  latest().brings(new ArrayBuffer(2)); // the server forwards text only
  latest().brings("text");
  expect(frames).toEqual(["text"]);
  latest().breaks();
  expect(connection.state).toMatchObject({ name: "reconnecting", cause: "lost" });
  expect(onLost).toHaveBeenCalledExactlyOnceWith(false);
  expect(connection.send("x")).toBe(false);
});

it("tells a refusal from a server that does not answer, and from having no network", async () => {
  isReachable = true;
  await refuse();
  expect(connection.state.name).toBe("refused");
  isReachable = false;
  await vi.advanceTimersByTimeAsync(BACKOFF_BASE_MS + 30_000); // the second attempt is never answered
  expect(connection.state).toMatchObject({ name: "reconnecting", cause: "unreachable" });
  await vi.advanceTimersByTimeAsync(2 * BACKOFF_BASE_MS);
  isOnline = false;
  await refuse();
  expect(connection.state.name).toBe("offline");
  isOnline = true;
  connection.retryNow();
  latest().breaks();
  connection.stop();
  await vi.advanceTimersByTimeAsync(0); // the answer comes after the end, and changes nothing
  expect(connection.state.name).toBe("closed");
});

it("doubles the longest wait up to a cap, and begins afresh after a connection that lasted", async () => {
  const waits = [];
  for (let i = 0; i < 6; i += 1) {
    await refuse();
    waits.push(waitMs());
    await vi.advanceTimersByTimeAsync(BACKOFF_CAP_MS);
  }
  expect(waits).toEqual([1000, 2000, 4000, 8000, BACKOFF_CAP_MS, BACKOFF_CAP_MS]);
  latest().opens();
  await vi.advanceTimersByTimeAsync(60_000);
  chance = 0.25; // any part of the wait, by chance
  latest().breaks();
  expect(waitMs()).toBe(BACKOFF_BASE_MS / 4);
});

it.each([online, shown, () => connection.retryNow()])("cuts a wait short for %s", async (event) => {
  await refuse();
  event();
  expect(FakeSocket.made).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(BACKOFF_CAP_MS);
  expect(FakeSocket.made).toHaveLength(2);
});

it("sends something before ten idle minutes, and nothing while there is traffic", async () => {
  chance = 0;
  latest().opens();
  await vi.advanceTimersByTimeAsync(IDLE_MS - 1000);
  expect(onSignOfLifeDue).not.toHaveBeenCalled();
  connection.send("x");
  await vi.advanceTimersByTimeAsync(IDLE_MS - 70_000);
  expect(onSignOfLifeDue).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(70_000);
  expect(onSignOfLifeDue).toHaveBeenCalledOnce();
});

it("waits while a socket is closing, which takes nothing that would show that it is alive", async () => {
  chance = 0;
  latest().opens();
  latest().readyState = 2;
  await vi.advanceTimersByTimeAsync(IDLE_MS);
  const started = vi.spyOn(globalThis, "setTimeout");
  await vi.advanceTimersByTimeAsync(PROOF_OF_LIFE_MS - 1);
  expect(started.mock.calls.length).toBeLessThan(3);
  await vi.advanceTimersByTimeAsync(1);
  expect(FakeSocket.made).toHaveLength(2);
});

it("opens a new connection before two hours, without a gap and without saying anything twice", async () => {
  chance = 0;
  latest().opens();
  onSignOfLifeDue.mockImplementation(() => {
    connection.send("alive");
    FakeSocket.made[0]?.brings("alive");
  });
  await vi.advanceTimersByTimeAsync(RENEW_MS);
  await refuse(); // and tries again a minute later where that fails
  await vi.advanceTimersByTimeAsync(60_000);
  const [before, , after] = FakeSocket.made as [FakeSocket, FakeSocket, FakeSocket];
  frames.length = 0;
  before.brings("one");
  after.opens();
  for (const socket of [before, after]) socket.brings("two");
  for (const socket of [after, before]) socket.brings("three");
  for (const socket of [before, after]) socket.brings("one"); // said again
  expect(frames).toEqual(["one", "two", "three", "one"]);
  expect(connection.state.name).toBe("connected");
  expect(onOpen).toHaveBeenCalledOnce();
  connection.send("four");
  expect(after.sent).toEqual(["four"]);
  await vi.advanceTimersByTimeAsync(OVERLAP_MS);
  expect(before.readyState).toBe(3);
  expect(after.readyState).toBe(1);
  expect(onLost).not.toHaveBeenCalled();
});

it("gives up a connection in doubt when nothing comes back", async () => {
  latest().opens();
  shown();
  expect(onSignOfLifeDue).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(60_000);
  shown();
  shown();
  expect(onSignOfLifeDue).toHaveBeenCalledOnce();
  await vi.advanceTimersByTimeAsync(PROOF_OF_LIFE_MS);
  expect(FakeSocket.made).toHaveLength(2);
  expect(onLost).toHaveBeenCalledOnce();
});

it("keeps it when something comes back, even with no network, as on one's own machine", async () => {
  latest().opens();
  isOnline = false;
  offline();
  latest().brings("still here");
  await vi.advanceTimersByTimeAsync(OFFLINE_PROOF_MS);
  expect(connection.state.name).toBe("connected");
  offline();
  await vi.advanceTimersByTimeAsync(OFFLINE_PROOF_MS);
  expect(connection.state.name).toBe("offline");
});

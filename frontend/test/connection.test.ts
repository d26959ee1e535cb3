import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
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
import type { Socket } from "../src/environment";
import { FakeSocket } from "./fake-socket";

let sockets: FakeSocket[];
let chance: number;
let isReachable: boolean;
let isOnline: boolean;
let frames: string[];
let connection: Connection;
const onOpen = vi.fn();
const onLost = vi.fn();
const onSignOfLifeDue = vi.fn();
const latest = () => sockets.at(-1) as FakeSocket;

beforeEach(() => {
  vi.useFakeTimers();
  vi.resetAllMocks();
  sockets = [];
  chance = 1;
  isReachable = false;
  isOnline = true;
  frames = [];
  connection = new Connection(
    {
      openSocket: () => {
        sockets.push(new FakeSocket());
        return latest() as unknown as Socket;
      },
      isReachable: async () => isReachable,
      isOnline: () => isOnline,
      random: () => chance,
    },
    { onState: () => {}, onOpen, onLost, onFrame: (frame) => frames.push(frame), onSignOfLifeDue },
  );
  connection.start();
});

afterEach(() => {
  connection.stop();
  vi.useRealTimers();
});

/** How long the wait is that the connection is in now. */
const waitMs = () =>
  "retryAtMs" in connection.state ? (connection.state.retryAtMs ?? 0) - performance.now() : undefined;

const refuse = async () => {
  latest().breaks();
  await vi.advanceTimersByTimeAsync(0);
};

describe("states", () => {
  it("connects", () => {
    expect(connection.state.name).toBe("connecting");
    latest().opens();
    expect(connection.state.name).toBe("connected");
    expect(onOpen).toHaveBeenCalledOnce();
  });

  it("tells a refusal from a server that does not answer", async () => {
    isReachable = true;
    await refuse();
    expect(connection.state.name).toBe("refused");
    isReachable = false;
    await vi.advanceTimersByTimeAsync(BACKOFF_BASE_MS);
    await refuse();
    expect(connection.state).toMatchObject({ name: "reconnecting", cause: "unreachable" });
  });

  it("is offline when the browser says so and the connection is gone", async () => {
    isOnline = false;
    await refuse();
    expect(connection.state.name).toBe("offline");
  });

  it("says that it was lost, and takes no frame meanwhile", () => {
    latest().opens();
    latest().breaks();
    expect(connection.state).toMatchObject({ name: "reconnecting", cause: "lost" });
    expect(onLost).toHaveBeenCalledOnce();
    expect(connection.send("x")).toBe(false);
  });
});

describe("backoff", () => {
  it("doubles the longest wait up to a cap", async () => {
    const waits = [];
    for (let i = 0; i < 6; i += 1) {
      await refuse();
      waits.push(waitMs());
      await vi.advanceTimersByTimeAsync(BACKOFF_CAP_MS);
    }
    expect(waits).toEqual([1000, 2000, 4000, 8000, BACKOFF_CAP_MS, BACKOFF_CAP_MS]);
  });

  it("waits any part of it, by chance", async () => {
    chance = 0.25;
    await refuse();
    expect(waitMs()).toBe(BACKOFF_BASE_MS / 4);
  });

  it("begins afresh after a connection that lasted", async () => {
    for (let i = 0; i < 4; i += 1) {
      await refuse();
      await vi.advanceTimersByTimeAsync(BACKOFF_CAP_MS);
    }
    latest().opens();
    await vi.advanceTimersByTimeAsync(60_000);
    latest().breaks();
    expect(waitMs()).toBe(BACKOFF_BASE_MS);
  });

  it.each(["cameOnline", "becameVisible", "retryNow"] as const)("is cut short by %s", async (event) => {
    await refuse();
    connection[event]();
    expect(sockets).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(BACKOFF_CAP_MS);
    expect(sockets).toHaveLength(2);
  });
});

describe("limits", () => {
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
    expect(sockets).toHaveLength(2);
  });

  it("makes a new connection before two hours, without a gap and without saying anything twice", async () => {
    chance = 0;
    latest().opens();
    onSignOfLifeDue.mockImplementation(() => {
      connection.send("alive");
      sockets[0]?.brings("alive");
    });
    await vi.advanceTimersByTimeAsync(RENEW_MS);
    const [before, after] = sockets as [FakeSocket, FakeSocket];
    expect(sockets).toHaveLength(2);
    frames.length = 0;
    before.brings("one");
    after.opens();
    for (const socket of [before, after]) socket.brings("two");
    for (const socket of [after, before]) socket.brings("three");
    expect(frames).toEqual(["one", "two", "three"]);
    expect(connection.state.name).toBe("connected");
    expect(onOpen).toHaveBeenCalledOnce();
    connection.send("four");
    expect(after.sent).toEqual(["four"]);
    await vi.advanceTimersByTimeAsync(OVERLAP_MS);
    expect(before.readyState).toBe(3);
    expect(onLost).not.toHaveBeenCalled();
  });
});

describe("a connection in doubt", () => {
  it("is given up when nothing comes back", async () => {
    latest().opens();
    await vi.advanceTimersByTimeAsync(60_000);
    connection.becameVisible();
    expect(onSignOfLifeDue).toHaveBeenCalledOnce();
    await vi.advanceTimersByTimeAsync(PROOF_OF_LIFE_MS);
    expect(sockets).toHaveLength(2);
    expect(onLost).toHaveBeenCalledOnce();
  });

  it("is kept when something comes back, even with no network, as on one's own machine", async () => {
    latest().opens();
    isOnline = false;
    connection.wentOffline();
    latest().brings("still here");
    await vi.advanceTimersByTimeAsync(OFFLINE_PROOF_MS);
    expect(connection.state.name).toBe("connected");
    connection.wentOffline();
    await vi.advanceTimersByTimeAsync(OFFLINE_PROOF_MS);
    expect(connection.state.name).toBe("offline");
  });
});

it("ignores what is not text", () => {
  latest().opens();
  latest().brings(new ArrayBuffer(2));
  latest().brings("text");
  expect(frames).toEqual(["text"]);
});

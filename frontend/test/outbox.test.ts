import { beforeEach, expect, it } from "vitest";
import { MAX_TRIES, ORDER_PATIENCE_MS, Outbox } from "../src/outbox";

let outbox: Outbox;
let sent: string[];
let isOpen: boolean;

const flush = (nowMs = 0) =>
  outbox.flush(
    nowMs,
    ({ id, text }) => `${id}:${text}`,
    (frame) => isOpen && sent.push(frame) > 0,
  );
const statuses = () => outbox.messages.map(({ status }) => status);

beforeEach(() => {
  outbox = new Outbox();
  sent = [];
  isOpen = true;
  for (const id of ["a", "b", "c"]) outbox.add(id, `text ${id}`);
});

it("keeps everything while there is no connection", () => {
  isOpen = false;
  flush();
  expect(statuses()).toEqual(["waiting", "waiting", "waiting"]);
});

it("sends in order, each after the echo of the one before, and once", () => {
  for (const id of ["a", "b", "c"]) {
    flush();
    flush();
    expect(sent.at(-1)).toBe(`${id}:text ${id}`);
    outbox.confirm(id, 30);
  }
  flush();
  expect(sent).toHaveLength(3);
  expect(outbox.messages).toEqual([]);
});

it("does not let one missing echo hold up the rest", () => {
  flush(0);
  flush(ORDER_PATIENCE_MS - 1);
  expect(sent).toHaveLength(1);
  flush(ORDER_PATIENCE_MS);
  expect(sent).toEqual(["a:text a", "b:text b"]);
});

it("sends what was in flight when the connection broke again, first and as the same frame", () => {
  flush();
  outbox.doubt();
  expect(statuses()).toEqual(["unconfirmed", "waiting", "waiting"]);
  flush();
  expect(sent).toEqual(["a:text a", "a:text a"]);
});

it("measures a delivery from hand-over to echo, and only where it was handed over once", () => {
  flush(100);
  expect(outbox.confirm("a", 142)?.deliveryMs).toBe(42);
  flush(200);
  outbox.doubt();
  flush(300);
  expect(outbox.confirm("b", 350)?.deliveryMs).toBeUndefined();
});

it("takes a second echo for nothing new", () => {
  flush();
  expect(outbox.confirm("a", 1)).toBeDefined();
  expect(outbox.confirm("a", 2)).toBeUndefined();
  expect(outbox.owns("a")).toBe(true);
});

it("leaves it to the person after some tries, and goes on with the rest", () => {
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    flush();
    outbox.doubt();
  }
  expect(statuses()[0]).toBe("failed");
  flush();
  expect(sent.at(-1)).toBe("b:text b");
  outbox.sendAgain("a");
  outbox.confirm("b", 0);
  flush();
  expect(sent.at(-1)).toBe("a:text a");
});

it("never sends again what was too long for the server, the longest in flight", () => {
  outbox.add("d", "a much longer text");
  for (let nowMs = 0; sent.length < 4; nowMs += ORDER_PATIENCE_MS) flush(nowMs);
  outbox.refuseLargest();
  outbox.doubt();
  expect(statuses()).toEqual(["unconfirmed", "unconfirmed", "unconfirmed", "refused"]);
  for (let nowMs = 1e6; nowMs < 2e6; nowMs += ORDER_PATIENCE_MS) flush(nowMs);
  expect(sent.filter((frame) => frame.startsWith("d:"))).toHaveLength(1);
});

it("never sends what was discarded", () => {
  outbox.discard("a");
  outbox.discard("b");
  flush();
  expect(sent).toEqual(["c:text c"]);
});

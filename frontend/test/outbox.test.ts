import fc from "fast-check";
import { beforeEach, expect, it } from "vitest";
import { MAX_TRIES, ORDER_PATIENCE_MS, Outbox } from "../src/outbox";

let outbox: Outbox;
let sent: string[];

const flush = (nowMs = 0) =>
  outbox.flush(
    nowMs,
    ({ id, text }) => `${id}:${text}`,
    (frame) => sent.push(frame) > 0,
  );
const statuses = () => outbox.messages.map(({ status }) => status);

beforeEach(() => {
  outbox = new Outbox();
  sent = [];
  for (const id of ["a", "b", "c"]) outbox.add(id, `text ${id}`);
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

it("measures a delivery from hand-over to echo, and only where it was handed over once", () => {
  flush(100);
  expect(outbox.confirm("a", 142)).toBe(42);
  expect(outbox.confirm("a", 143)).toBeUndefined(); // a second echo is nothing new
  expect(outbox.owns("a")).toBe(true);
  flush(200);
  outbox.doubt();
  flush(300);
  expect(outbox.confirm("b", 350)).toBeUndefined();
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
  outbox.refuseLongest();
  outbox.doubt();
  expect(statuses()).toEqual(["unconfirmed", "unconfirmed", "unconfirmed", "refused"]);
  for (let nowMs = 1e6; nowMs < 2e6; nowMs += ORDER_PATIENCE_MS) flush(nowMs);
  expect(sent.filter((frame) => frame.startsWith("d:"))).toHaveLength(1);
});

it("loses nothing, whatever happens in whatever order", () => {
  const ids = fc.constantFrom("a", "b", "c");
  const steps = fc.oneof(
    { weight: 4, arbitrary: fc.constant(["flush"] as const) },
    fc.tuple(fc.constantFrom("confirm" as const, "discard" as const, "sendAgain" as const), ids),
    { weight: 4, arbitrary: fc.constant(["doubt"] as const) },
    fc.constant(["refuseLongest"] as const),
    fc.tuple(fc.constant("isOpen" as const), fc.boolean()),
    fc.tuple(fc.constant("wait" as const), fc.nat(2 * ORDER_PATIENCE_MS)),
  );
  fc.assert(
    fc.property(fc.array(steps, { maxLength: 60, size: "max" }), (taken) => {
      const box = new Outbox();
      for (const id of ["a", "b", "c"]) box.add(id, `text ${id}`);
      const here = new Set(["a", "b", "c"]);
      const frames = new Map<string, string>();
      let nowMs = 0;
      let open = true;
      for (const [step, value] of taken) {
        if (step === "flush") {
          box.flush(
            nowMs,
            ({ id }) => `${id} at ${nowMs}`,
            (frame) => {
              const id = frame.charAt(0);
              expect(open ? (frames.get(id) ?? frame) : frame).toBe(frame); // byte for byte the same each time
              if (open) frames.set(id, frame);
              return open;
            },
          );
        } else if (step === "doubt") box.doubt();
        else if (step === "refuseLongest") box.refuseLongest();
        else if (step === "isOpen") open = value;
        else if (step === "wait") nowMs += value;
        else if (step === "sendAgain") {
          if (box.messages.some(({ id, status }) => id === value && status === "failed")) box.sendAgain(value);
        } else {
          if (step === "confirm") box.confirm(value, nowMs);
          else box.discard(value);
          here.delete(value);
        }
        expect(new Set(box.messages.map(({ id }) => id))).toEqual(here);
        for (const { status, tries, frame } of box.messages) {
          expect(tries).toBeLessThanOrEqual(MAX_TRIES);
          expect(frame === undefined).toBe(status === "waiting");
        }
      }
    }),
  );
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nameProblem } from "../src/names";
import { characterCount, frameBytes, isBlank, parse, serialise } from "../src/protocol";

const chat = { type: "chat", id: "1", client: "c", name: "Ada", text: "hello", sent_at: 1_700_000_000_000 } as const;

describe("parse", () => {
  it("ignores unknown fields, and allows a name of 40 emoji", () => {
    const message = { ...chat, name: "🎉".repeat(40) };
    expect(parse(JSON.stringify({ ...message, action: "x", __proto__: 1 }))).toEqual(message);
  });

  it.each([
    ["an id of a wrong type", { id: 7 }],
    ["an empty id", { id: "" }],
    ["an id that is too long", { id: "x".repeat(65) }],
    ["no client", { client: undefined }],
    ["a blank name", { name: " \u200b" }],
    ["a name of 41 characters", { name: "x".repeat(41) }],
    ["a blank text", { text: "\n " }],
    ["a time with a fraction", { sent_at: 1.5 }],
    ["a time that no date can hold", { sent_at: 1e300 }],
  ])("takes a chat message with %s for plain text", (_, change) => {
    const frame = JSON.stringify({ ...chat, ...change });
    expect(parse(frame)).toEqual({ type: "plain", text: frame });
  });

  it.each([
    "",
    "{",
    "{}",
    "null",
    '{"message":"hi","connectionId":1,"requestId":"b"}',
    '{"type":"presence","client":"c","name":"n","state":"gone"}',
  ])("takes %j for plain text", (frame) => expect(parse(frame)).toEqual({ type: "plain", text: frame }));

  it("recognises the load test's broadcasts and the cloud's own errors", () => {
    expect(parse('{"type":"load","run":"r","id":3,"speaker":1,"sent_ns":5,"pad":"xx"}')).toEqual({
      type: "load",
      run: "r",
      id: 3,
    });
    expect(parse('{"message":"Forbidden","connectionId":"a","requestId":"b"}')).toEqual({
      type: "cloud-error",
      text: "Forbidden",
    });
  });
});

describe("parse, of anything", () => {
  const wellFormed = {
    type: fc.constantFrom("chat", "presence", "load"),
    id: fc.string(),
    client: fc.string(),
    name: fc.string({ unit: "binary" }),
    text: fc.string({ unit: "binary" }),
    sent_at: fc.oneof(fc.integer(), fc.constantFrom(8.64e15 + 1, 1e300)),
    state: fc.constantFrom("join", "here", "leave"),
    run: fc.string(),
    message: fc.string(),
    connectionId: fc.string(),
    requestId: fc.string(),
  };
  const fields = Object.fromEntries(
    Object.entries(wellFormed).map(([name, good]) => [name, fc.oneof({ weight: 4, arbitrary: good }, fc.jsonValue())]),
  );
  const frames = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.json(),
    fc.record(fields, { requiredKeys: [] }).map((object) => JSON.stringify(object)),
    fc.constant('{"a":'.repeat(100_000)),
  );

  it("finds a message that is whole, or the text as it is, and never fails", () => {
    fc.assert(
      fc.property(frames, (frame) => {
        const found = parse(frame);
        switch (found.type) {
          case "plain":
            return found.text === frame;
          case "chat":
            return !isBlank(found.text) && !isBlank(found.name) && !Number.isNaN(new Date(found.sent_at).getTime());
          case "presence":
            return !isBlank(found.name) && found.client.length > 0;
          case "load":
            return Number.isInteger(found.id);
          case "cloud-error":
            return typeof found.text === "string";
        }
      }),
    );
  });

  it("reads back whatever a person may say under any name that is allowed", () => {
    const said = fc.string({ unit: "binary" }).filter((text) => !isBlank(text));
    const names = fc.string({ unit: "binary" }).filter((name) => nameProblem(name) === undefined);
    fc.assert(
      fc.property(said, names, fc.integer(), (text, name, sent_at) => {
        const message = { ...chat, text, name: name.trim(), sent_at };
        expect(parse(serialise(message))).toEqual(message);
      }),
    );
  });
});

it("counts bytes of UTF-8 for a frame, characters for a name, and nothing of what is invisible", () => {
  expect(frameBytes("aé👍")).toBe(7);
  expect(characterCount("aé👍")).toBe(3);
  expect(isBlank(" \n\t\u200b\ufeff")).toBe(true);
  expect(isBlank("\u200bx")).toBe(false);
});

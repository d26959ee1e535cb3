/** The parts that chat.ts joins: what is shown, who is here, the load test, delivery times. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Chat } from "../src/chat";
import { formatMs, median } from "../src/delivery";
import { LoadTraffic } from "../src/load";
import { nameProblem, randomName } from "../src/names";
import { answerDelayMs, EXPIRY_MS, Roster } from "../src/presence";
import { MESSAGES_KEPT, Timeline } from "../src/timeline";
import { FakeSocket } from "./fake-socket";

const said = (client: string, receivedAt = 0, text = "x") => ({
  kind: "chat" as const,
  client,
  name: client,
  text,
  receivedAt,
});

it("groups what one person says in a row, until a pause", () => {
  const timeline = new Timeline();
  const namesake = { ...said("b", 600_000), client: "c" };
  for (const entry of [said("a"), said("a", 1000), said("b", 2000), said("b", 600_000), namesake]) {
    timeline.append(entry);
  }
  expect(timeline.next().entries.map(({ startsGroup }) => startsGroup)).toEqual([true, false, true, true, true]);
  expect(timeline.next().entries).toBe(timeline.next().entries);
});

it("stays within bounds, by number and by size, and drops the oldest in a step of its own", () => {
  const timeline = new Timeline();
  let step = timeline.next();
  let trims = 0;
  const settle = () => {
    do {
      const { entries, messageCount } = step;
      step = timeline.next();
      if (!step.trimmed) continue;
      trims += 1;
      expect(step.messageCount).toBe(messageCount);
      expect(entries.slice(entries.length - step.entries.length)).toEqual(step.entries);
    } while (!step.isSettled);
  };
  for (let i = 0; i < 10_000; i += 1) {
    timeline.append(said("a", i, `message ${i}`));
    if (i % 50 === 0) settle();
  }
  settle();
  expect(step.entries.length).toBeGreaterThanOrEqual(MESSAGES_KEPT);
  expect(step.entries.length).toBeLessThanOrEqual(MESSAGES_KEPT + 500);
  expect(step.entries.at(-1)?.text).toBe("message 9999");
  expect(step.messageCount).toBe(10_000);
  expect(trims).toBe(14);

  for (let i = 0; i < 300; i += 1) timeline.append(said("a", i, "x".repeat(120_000)));
  settle();
  expect(step.entries).toHaveLength(133);
});

it("knows who is here", () => {
  const roster = new Roster();
  const names = () => roster.people.map(({ name }) => name);
  roster.joined("1", "Zoë", 0);
  roster.heard("2", "Ada", 0);
  expect(names()).toEqual(["Ada", "Zoë"]);
  expect(roster.people).toBe(roster.people);
  roster.left("2");
  roster.heard("2", "Ada", 1); // overtaken by the leaving
  expect(names()).toEqual(["Zoë"]);
  roster.joined("2", "Ada", 2);
  expect(names()).toEqual(["Ada", "Zoë"]);
  roster.heard("2", "Grace", EXPIRY_MS);
  expect(names()).toEqual(["Grace", "Zoë"]);
  roster.expire(EXPIRY_MS + 1);
  expect(names()).toEqual(["Grace"]);
});

it("answers a newcomer soon in a small room, later or not at all in a large one", () => {
  expect(answerDelayMs(2, () => 0.999)).toBeLessThan(500);
  expect(answerDelayMs(1000, () => 0.5)).toBeUndefined();
  expect(answerDelayMs(1000, () => 0.04)).toBeCloseTo(400);
});

it("counts load-test broadcasts by run, with the rate of the last two seconds", () => {
  const load = new LoadTraffic();
  expect(load.summary(0)).toBeUndefined();
  for (let id = 0; id < 100; id += 1) load.add({ type: "load", run: id < 10 ? "old" : "new", id }, 200, id * 10);
  const summary = load.summary(1000);
  expect(summary).toMatchObject({ count: 100, perSecond: 50 });
  expect(summary?.runs).toEqual([
    { run: "new", count: 90, bytes: 18_000 },
    { run: "old", count: 10, bytes: 2000 },
  ]);
  expect(summary?.latest.map(({ id }) => id)).toEqual([99, 98, 97, 96, 95, 94, 93, 92]);
  expect(load.summary(10_000)?.perSecond).toBe(0);
});

it("writes delivery times as exactly as a person can use", () => {
  expect([median([]), median([30, 1000, 10]), median([30, 10])]).toEqual([undefined, 30, 20]);
  expect([4.24, 42.4, 1500, 15_000].map(formatMs)).toEqual(["4.2 ms", "42 ms", "1.5 s", "15 s"]);
});

it("offers names that are allowed, and allows 40 characters of any kind", () => {
  for (const chance of [0, 0.999999]) expect(nameProblem(randomName(() => chance))).toBeUndefined();
  expect(nameProblem(` ${"🎉".repeat(40)} `)).toBeUndefined();
});

describe("a stay", () => {
  const cloud = () => FakeSocket.latest;
  const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
  const people = () => chat.getSnapshot().people.map(({ name }) => name);
  let chat: Chat;

  beforeEach(async () => {
    vi.useFakeTimers();
    vi.stubGlobal("WebSocket", FakeSocket);
    chat = new Chat("Ada", { ok: true, url: new URL("ws://a.example"), httpOrigin: "http://a.example" });
    chat.start();
    cloud().opens();
    await pass(1);
  });

  afterEach(() => chat.leave());

  it.each<[string, () => unknown]>([
    ["the connection broke", () => cloud().breaks()],
    ["the person left and came back", () => [chat.leave(), chat.start()]],
    ["nothing came for more than 20 seconds", () => pass(20_000)],
  ])("sends the same frame again on a new connection when %s", async (_, happen) => {
    chat.say("hello \n");
    const before = cloud();
    await happen();
    await pass(1000);
    expect(cloud()).not.toBe(before);
    cloud().opens();
    expect(before.said).toMatchObject([{ text: "hello" }]);
    expect(cloud().said).toEqual(before.said);
  });

  it("sends it again on the same connection when only the echo is missing", async () => {
    chat.say("hello");
    await pass(19_000);
    cloud().brings("something else");
    chat.say("later");
    await pass(5000);
    expect(cloud().said.map(({ text }) => text)).toEqual(["hello", "later", "hello"]);
  });

  it("shows as its own only what it sent", async () => {
    cloud().says({ type: "chat", id: "1", client: chat.client, name: "Mallory", text: "I am Ada", sent_at: 1 });
    await pass(20);
    expect(chat.getSnapshot().entries).toMatchObject([{ name: "Mallory", own: false }]);
  });

  it("hears who is here, and says so itself once to all who join, unless what it sends meanwhile says it", async () => {
    cloud().brings(cloud().sent[0]); // its own join
    await pass(600);
    cloud().says({ type: "chat", id: "1", client: "z", name: "Zoë", text: "hello", sent_at: 1 });
    await pass(600);
    expect(people()).toEqual(["Ada", "Zoë"]);
    expect(cloud().sent).toHaveLength(1);
    const joins = () => cloud().says({ type: "presence", client: "g", name: "Grace", state: "join" });
    joins();
    joins();
    await pass(600);
    expect(cloud().sent.slice(1)).toEqual([expect.stringContaining('"here"')]);
    joins();
    chat.say("hello");
    await cloud().echoesAll(pass);
    await pass(600);
    expect(cloud().sent).toHaveLength(3);
    await pass(EXPIRY_MS + 2000);
    expect(people()).toEqual(["Ada"]);
  });
});

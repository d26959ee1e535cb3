import { expect, it } from "vitest";
import { DeliveryTimes, formatMs } from "../src/delivery";
import { LoadTraffic } from "../src/load";
import { answerDelayMs, EXPIRY_MS, Roster } from "../src/presence";

it("gives the median of the last 20 delivery times", () => {
  const times = new DeliveryTimes();
  expect(times.medianMs).toBeUndefined();
  for (const ms of [1000, 1000, 1000, 10, 30]) times.add(ms);
  expect(times.medianMs).toBe(1000);
  for (let i = 0; i < 20; i += 1) times.add(i % 2 === 0 ? 10 : 30);
  expect(times.medianMs).toBe(20);
  expect(times.count).toBe(20);
});

it("writes times as exactly as a person can use", () => {
  expect([4.24, 42.4, 1500, 15_000].map(formatMs)).toEqual(["4.2 ms", "42 ms", "1.5 s", "15 s"]);
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

it("knows who is here", () => {
  const roster = new Roster();
  roster.joined("1", "Zoë", 0);
  roster.heard("2", "Ada", 0);
  expect(roster.people.map(({ name }) => name)).toEqual(["Ada", "Zoë"]);
  roster.left("2");
  expect(roster.heard("2", "Ada", 1)).toBe(false);
  expect(roster.size).toBe(1);
  roster.expire(EXPIRY_MS + 1);
  expect(roster.size).toBe(0);
});

it("answers a newcomer soon in a small room, later or not at all in a large one", () => {
  expect(answerDelayMs(2, () => 0.999)).toBeLessThan(500);
  expect(answerDelayMs(1000, () => 0.5)).toBeUndefined();
  expect(answerDelayMs(1000, () => 0.04)).toBeLessThan(10_000);
});

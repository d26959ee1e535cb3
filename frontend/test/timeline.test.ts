import { expect, it } from "vitest";
import { MESSAGES_KEPT, type NewEntry, Timeline } from "../src/timeline";

const said = (client: string, receivedAt = 0, text = "x"): NewEntry => ({
  kind: "chat",
  client,
  name: client,
  text,
  receivedAt,
  own: false,
  deliveryMs: undefined,
});

it("groups what one person says in a row, until a pause", () => {
  const timeline = new Timeline();
  for (const entry of [said("a"), said("a", 1000), said("b", 2000), said("b", 600_000)]) timeline.append(entry);
  expect(timeline.next().entries.map(({ startsGroup }) => startsGroup)).toEqual([true, false, true, true]);
});

it("knows an id that it has seen", () => {
  const timeline = new Timeline();
  expect([timeline.isNew("1"), timeline.isNew("2"), timeline.isNew("1")]).toEqual([true, true, false]);
});

it("keeps the same list while nothing happens", () => {
  const timeline = new Timeline();
  timeline.append(said("a"));
  expect(timeline.next().entries).toBe(timeline.next().entries);
});

it("stays within bounds, by number and by size, and lets go at the start only", () => {
  const timeline = new Timeline();
  for (let i = 0; i < 10_000; i += 1) {
    timeline.append(said("a", i, `message ${i}`));
    if (i % 50 === 0) timeline.next();
  }
  let step = timeline.next();
  while (!step.isSettled) step = timeline.next();
  expect(step.entries.length).toBeLessThanOrEqual(MESSAGES_KEPT + 500);
  expect(step.entries.at(-1)?.text).toBe("message 9999");

  for (let i = 0; i < 300; i += 1) timeline.append(said("a", i, "x".repeat(120_000)));
  do step = timeline.next();
  while (!step.isSettled);
  expect(step.entries.length).toBeLessThan(140);
});

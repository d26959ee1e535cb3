import { expect, it } from "vitest";
import { nameProblem, randomName, rememberedName, rememberName } from "../src/names";

it("allows 1 to 40 characters", () => {
  expect(nameProblem("A")).toBeUndefined();
  expect(nameProblem(` ${"🎉".repeat(40)} `)).toBeUndefined();
  expect(nameProblem("x".repeat(41))).toContain("this one has 41");
  expect(nameProblem("  ")).toContain("Please enter a name");
});

it("offers names that are allowed", () => {
  for (const chance of [0, 0.5, 0.999999]) expect(nameProblem(randomName(() => chance))).toBeUndefined();
});

it("remembers a name, but not one that is no longer allowed", () => {
  expect(rememberedName()).toBeUndefined();
  rememberName("Ada");
  expect(rememberedName()).toBe("Ada");
  rememberName("x".repeat(41));
  expect(rememberedName()).toBeUndefined();
});

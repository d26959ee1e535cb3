/** Display names: what is allowed, a friendly one to start with, and remembering the last one. */
import { characterCount, isBlank, MAX_NAME_LENGTH } from "./protocol";

const STORAGE_KEY = "chat.name";

// biome-ignore format: a list of words reads better filled
const MANNERS = [
  "Amber", "Brave", "Bright", "Calm", "Cheerful", "Clever", "Cosy", "Curious", "Dapper", "Eager", "Gentle", "Golden",
  "Happy", "Kind", "Lively", "Lucky", "Mellow", "Merry", "Nimble", "Patient", "Quiet", "Sunny", "Swift", "Witty",
];
// biome-ignore format: a list of words reads better filled
const ANIMALS = [
  "Badger", "Beaver", "Bison", "Crane", "Dolphin", "Falcon", "Ferret", "Finch", "Gecko", "Hare", "Heron", "Ibex",
  "Kestrel", "Lemur", "Lynx", "Magpie", "Marten", "Otter", "Owl", "Panda", "Puffin", "Robin", "Tortoise", "Wren",
];

/** A manner and an animal, such as “Calm Heron”. */
export function randomName(random: () => number = Math.random): string {
  const pick = (words: string[]) => words[Math.floor(random() * words.length)];
  return `${pick(MANNERS)} ${pick(ANIMALS)}`;
}

/** What is wrong with a name, in a sentence; undefined if it is fine. */
export function nameProblem(name: string): string | undefined {
  if (isBlank(name)) return "Please enter a name: the others see it beside what you say.";
  const length = characterCount(name.trim());
  if (length > MAX_NAME_LENGTH) return `A name has at most ${MAX_NAME_LENGTH} characters; this one has ${length}.`;
  return undefined;
}

/** The last visit's name, if that is allowed. A browser can forbid storage; the chat works without it. */
export function rememberedName(): string | undefined {
  try {
    const name = localStorage.getItem(STORAGE_KEY);
    return name !== null && nameProblem(name) === undefined ? name : undefined;
  } catch {
    return undefined;
  }
}

/** Keeps the name for the next visit, if the browser allows it. */
export function rememberName(name: string): void {
  try {
    localStorage.setItem(STORAGE_KEY, name);
  } catch {
    // Then the next visit begins with a random name.
  }
}

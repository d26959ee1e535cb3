/** Who is here, as far as their own messages tell: the server says nothing about it. */

/** Someone who is here. */
export interface Person {
  client: string;
  name: string;
}

/** Everyone sends something at least every 9 minutes (see connection.ts), so who is silent for longer has vanished. */
export const EXPIRY_MS = 10 * 60_000;
const PEOPLE_KEPT = 2000;
const DEPARTED_KEPT = 500;
/** About how many answer one newcomer. In a larger room the others become known when they say something. */
const ANSWERS_WANTED = 50;

/** Who is here. Each change answers whether what is shown has changed. */
export class Roster {
  readonly #people = new Map<string, { name: string; lastHeardMs: number }>();
  /** A message can overtake another, and one that was overtaken by its author's leaving must not bring the author back. */
  readonly #departed = new Set<string>();

  /** Someone said something at `nowMs`, and so is here. */
  heard(client: string, name: string, nowMs: number): boolean {
    if (this.#departed.has(client)) return false;
    const known = this.#people.get(client);
    if (known === undefined && this.#people.size >= PEOPLE_KEPT) return false;
    this.#people.set(client, { name, lastHeardMs: nowMs });
    return known?.name !== name;
  }

  /** Someone came. */
  joined(client: string, name: string, nowMs: number): boolean {
    this.#departed.delete(client);
    return this.heard(client, name, nowMs);
  }

  /** Someone went. */
  left(client: string): boolean {
    this.#departed.add(client);
    const [oldest] = this.#departed;
    if (this.#departed.size > DEPARTED_KEPT && oldest !== undefined) this.#departed.delete(oldest);
    return this.#people.delete(client);
  }

  /** Forgets those who vanished without a word. */
  expire(nowMs: number): boolean {
    const before = this.#people.size;
    for (const [client, { lastHeardMs }] of this.#people) {
      if (nowMs - lastHeardMs > EXPIRY_MS) this.#people.delete(client);
    }
    return this.#people.size !== before;
  }

  /** Forgets everyone. */
  clear(): void {
    this.#people.clear();
  }

  get size(): number {
    return this.#people.size;
  }

  /** Everyone, by name. */
  get people(): Person[] {
    return [...this.#people]
      .map(([client, { name }]) => ({ client, name }))
      .sort((a, b) => a.name.localeCompare(b.name));
  }
}

/**
 * When to answer someone's `join` with `here`: undefined means not at all. N people who all answered at once would be N²
 * deliveries in one moment, so the answers are spread over a time that grows with the room, and in a large one only some
 * answer.
 */
export function answerDelayMs(peopleHere: number, random: () => number): number | undefined {
  if (random() * peopleHere > ANSWERS_WANTED) return undefined;
  return random() * Math.min(10_000, Math.max(500, peopleHere * 50));
}

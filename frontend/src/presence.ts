/** Who is here, as far as people's own messages show: the server does not say. */

/** Someone who is here. */
export interface Person {
  client: string;
  name: string;
}

/** Everyone sends something at least every 9 minutes (see connection.ts); a client silent for longer has vanished. */
export const EXPIRY_MS = 10 * 60_000;
const PEOPLE_KEPT = 2000;
const DEPARTED_KEPT = 500;
/** About how many people answer one newcomer. In a larger room the others appear when they say something. */
const ANSWERS_WANTED = 50;

/** Who is here. */
export class Roster {
  readonly #people = new Map<string, { name: string; lastHeardMs: number }>();
  /** If its author's `leave` overtakes a message, that message must not bring the author back. */
  readonly #departed = new Set<string>();
  #sorted: readonly Person[] | undefined;

  /** Someone said something at `nowMs`, and so is here. */
  heard(client: string, name: string, nowMs: number): void {
    const known = this.#people.get(client);
    if (this.#departed.has(client) || (known === undefined && this.#people.size >= PEOPLE_KEPT)) return;
    this.#people.set(client, { name, lastHeardMs: nowMs });
    if (known?.name !== name) this.#sorted = undefined;
  }

  /** Someone came. */
  joined(client: string, name: string, nowMs: number): void {
    this.#departed.delete(client);
    this.heard(client, name, nowMs);
  }

  /** Someone went. */
  left(client: string): void {
    this.#departed.add(client);
    const [oldest] = this.#departed;
    if (this.#departed.size > DEPARTED_KEPT && oldest !== undefined) this.#departed.delete(oldest);
    this.#forget(client);
  }

  /** Forgets the people who vanished without a word. */
  expire(nowMs: number): void {
    for (const [client, { lastHeardMs }] of this.#people) {
      if (nowMs - lastHeardMs > EXPIRY_MS) this.#forget(client);
    }
  }

  /** Forgets everyone. */
  clear(): void {
    this.#people.clear();
    this.#sorted = undefined;
  }

  get size(): number {
    return this.#people.size;
  }

  /** Everyone, by name: the same array until someone comes, goes or takes another name. */
  get people(): readonly Person[] {
    this.#sorted ??= [...this.#people]
      .map(([client, { name }]) => ({ client, name }))
      .sort((a, b) => a.name.localeCompare(b.name));
    return this.#sorted;
  }

  #forget(client: string): void {
    if (this.#people.delete(client)) this.#sorted = undefined;
  }
}

/**
 * In how many milliseconds to answer someone's `join` with `here`; undefined: not at all. If all N people answered at
 * once, that would be N² deliveries in one moment. So the answers are spread over a time that grows with the room, and
 * in a large room only some answer.
 */
export function answerDelayMs(peopleHere: number, random: () => number): number | undefined {
  if (random() * peopleHere > ANSWERS_WANTED) return undefined;
  return random() * Math.min(10_000, Math.max(500, peopleHere * 50));
}

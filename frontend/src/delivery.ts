/** How long this page's own messages took to come back: the median of the last twenty. */

const WINDOW = 20;

/** Keeps the last twenty delivery times. */
export class DeliveryTimes {
  readonly #lastMs: number[] = [];

  /** Takes one delivery time, in milliseconds. */
  add(deliveryMs: number): void {
    this.#lastMs.push(deliveryMs);
    if (this.#lastMs.length > WINDOW) this.#lastMs.shift();
  }

  /** How many are kept: twenty at the most. */
  get count(): number {
    return this.#lastMs.length;
  }

  /** In milliseconds; undefined while nothing has come back yet. */
  get medianMs(): number | undefined {
    const sorted = this.#lastMs.toSorted((a, b) => a - b);
    const upper = sorted[Math.floor(sorted.length / 2)];
    const lower = sorted[Math.ceil(sorted.length / 2) - 1];
    return upper === undefined || lower === undefined ? undefined : (lower + upper) / 2;
  }
}

/** Tenths under ten milliseconds, seconds from a thousand on: as exact as a person can use. */
export function formatMs(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}

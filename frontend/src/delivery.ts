/** How long this page's own messages took to come back, for people to read. */

/** The median; undefined of no times at all. */
export function median(timesMs: readonly number[]): number | undefined {
  const sorted = timesMs.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  return upper === undefined || lower === undefined ? undefined : (lower + upper) / 2;
}

/** Tenths under ten milliseconds, seconds from a thousand on: as exact as a person can use. */
export function formatMs(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}

/** Load-test traffic, counted instead of shown: one number and a rate instead of thousands of lines. */
import type { LoadMessage } from "./protocol";

const BUCKET_MS = 250;
const RATE_WINDOW_MS = 2000;
const RUNS_KEPT = 5;
const BROADCASTS_KEPT = 8;

/** One broadcast, as it arrived. */
export interface LoadBroadcast {
  key: number;
  id: number;
  bytes: number;
  receivedAt: number;
}

/** What arrived from one run of the load test. */
export interface LoadRun {
  run: string;
  count: number;
  bytes: number;
}

/** What arrived from the load test so far. */
export interface LoadSummary {
  count: number;
  perSecond: number;
  /** The newest run first; earlier ones than the last five are only in `count`. */
  runs: readonly LoadRun[];
  /** The last few, newest first. */
  latest: readonly LoadBroadcast[];
}

/** Counts the load test's broadcasts. */
export class LoadTraffic {
  #count = 0;
  #runs: LoadRun[] = [];
  #latest: LoadBroadcast[] = [];
  #buckets: { startMs: number; count: number }[] = [];

  /** Takes a broadcast of `bytes` that arrived at `nowMs` of the monotonic clock. */
  add(message: LoadMessage, bytes: number, nowMs: number): void {
    this.#count += 1;
    const name = message.run.slice(0, 64);
    let run = this.#runs.find((known) => known.run === name);
    if (run === undefined) {
      run = { run: name, count: 0, bytes: 0 };
      this.#runs = [run, ...this.#runs].slice(0, RUNS_KEPT);
    }
    run.count += 1;
    run.bytes += bytes;
    const broadcast = { key: this.#count, id: message.id, bytes, receivedAt: Date.now() };
    this.#latest = [broadcast, ...this.#latest.slice(0, BROADCASTS_KEPT - 1)];

    const startMs = Math.floor(nowMs / BUCKET_MS) * BUCKET_MS;
    const bucket = this.#buckets.at(-1);
    if (bucket?.startMs === startMs) bucket.count += 1;
    else this.#buckets.push({ startMs, count: 1 });
    this.#dropOldBuckets(nowMs);
  }

  /** Undefined while no broadcast has come. */
  summary(nowMs: number): LoadSummary | undefined {
    if (this.#count === 0) return undefined;
    this.#dropOldBuckets(nowMs);
    const recent = this.#buckets.reduce((sum, bucket) => sum + bucket.count, 0);
    return {
      count: this.#count,
      perSecond: Math.round((recent * 1000) / RATE_WINDOW_MS),
      runs: this.#runs.map((run) => ({ ...run })),
      latest: this.#latest,
    };
  }

  #dropOldBuckets(nowMs: number): void {
    this.#buckets = this.#buckets.filter((bucket) => bucket.startMs > nowMs - RATE_WINDOW_MS);
  }
}

/** Load-test traffic, counted instead of shown: one number and a rate instead of thousands of lines. */
import type { LoadMessage } from "./protocol";

const RATE_WINDOW_MS = 2000;
const RUNS_KEPT = 5;
const BROADCASTS_KEPT = 8;

/** One broadcast, as it arrived. */
interface LoadBroadcast {
  key: number;
  id: number;
  bytes: number;
  receivedAt: number;
}

/** What arrived from one run of the load test. */
interface LoadRun {
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
  #arrivalsMs: number[] = [];

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
    this.#arrivalsMs.push(nowMs);
  }

  /** Undefined while no broadcast has come. */
  summary(nowMs: number): LoadSummary | undefined {
    if (this.#count === 0) return undefined;
    this.#arrivalsMs = this.#arrivalsMs.filter((arrivalMs) => arrivalMs > nowMs - RATE_WINDOW_MS);
    return {
      count: this.#count,
      perSecond: Math.round((this.#arrivalsMs.length * 1000) / RATE_WINDOW_MS),
      runs: this.#runs.map((run) => ({ ...run })),
      latest: this.#latest,
    };
  }
}

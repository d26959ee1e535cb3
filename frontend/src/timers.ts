/** Timers by their names, of which each runs once at a time. */
export class Timers<Name extends string> {
  readonly #running = new Map<Name, ReturnType<typeof setTimeout>>();

  /** Calls `action` in `delayMs`, and not when it would have been called by an earlier `start` of this name. */
  start(name: Name, delayMs: number, action: () => void): void {
    this.stop(name);
    const timer = setTimeout(() => {
      this.#running.delete(name);
      action();
    }, delayMs);
    this.#running.set(name, timer);
  }

  /** Without effect on a timer that does not run. */
  stop(name: Name): void {
    clearTimeout(this.#running.get(name));
    this.#running.delete(name);
  }

  stopAll(): void {
    for (const name of [...this.#running.keys()]) this.stop(name);
  }

  isRunning(name: Name): boolean {
    return this.#running.has(name);
  }
}

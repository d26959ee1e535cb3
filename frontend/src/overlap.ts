import type { Socket } from "./environment";

/**
 * While two connections are open, the server forwards every frame to both. A frame is passed on once for each time that
 * one connection alone has brought it, so that a line which was really said twice still appears twice.
 */
export class Overlap {
  readonly #timesBrought = new Map<Socket, Map<string, number>>();
  readonly #timesPassedOn = new Map<string, number>();

  isRepeated(socket: Socket, frame: string): boolean {
    const brought = this.#timesBrought.get(socket) ?? new Map<string, number>();
    this.#timesBrought.set(socket, brought);
    const times = (brought.get(frame) ?? 0) + 1;
    brought.set(frame, times);
    if (times <= (this.#timesPassedOn.get(frame) ?? 0)) return true;
    this.#timesPassedOn.set(frame, times);
    return false;
  }
}

/**
 * What this page has to say and has not yet seen come back.
 *
 * The server forwards a message to its sender too. That echo proves the delivery; until it comes, the message stays
 * here. By these rules nothing is lost silently, or shown twice:
 *
 * - In order: the next message is handed to the socket when the echo of the previous one has come, or after
 *   `ORDER_PATIENCE_MS`. The cloud may handle two frames at the same time, so the second could overtake the first.
 * - If the connection breaks before the echo, nobody knows whether the message arrived. It is `unconfirmed`, and the
 *   next connection gets the same frame with the same `id`, which receivers show once.
 * - After `MAX_TRIES` a message is `failed`, and the person decides: send again, or discard.
 * - If the server closed the connection because a message was too long, that one is `refused` and never sent again.
 */
import { frameBytes } from "./protocol";

/** How often a message is handed over before it waits for the person. */
export const MAX_TRIES = 3;
/** How long a message without an echo holds up the next one. */
export const ORDER_PATIENCE_MS = 2000;

export type OutboxStatus = "waiting" | "sent" | "unconfirmed" | "failed" | "refused";

/** One message on its way. */
export interface OutboxMessage {
  readonly id: string;
  readonly text: string;
  readonly status: OutboxStatus;
  readonly tries: number;
  /** The frame as it was first handed over, so that a second try is byte for byte the same message. */
  readonly frame: string | undefined;
  /** When it was last handed over, on the monotonic clock, in milliseconds; 0 until then. */
  readonly handedOverMs: number;
}

const bytesOf = ({ frame }: OutboxMessage) => frameBytes(frame ?? "");

/** The messages on their way, in the order in which they were written. */
export class Outbox {
  // Entries are replaced, never changed, so that React sees by identity which of them differ.
  #messages: readonly OutboxMessage[] = [];
  readonly #ownIds = new Set<string>();

  /** The messages on their way: the same array until something changes. */
  get messages(): readonly OutboxMessage[] {
    return this.#messages;
  }

  /** Whether this page wrote the message, even if it is delivered or discarded. */
  owns(id: string): boolean {
    return this.#ownIds.has(id);
  }

  /** Takes a new message, to be sent after the others. */
  add(id: string, text: string): void {
    this.#ownIds.add(id);
    const message: OutboxMessage = { id, text, status: "waiting", tries: 0, frame: undefined, handedOverMs: 0 };
    this.#messages = [...this.#messages, message];
  }

  /** Hands over what may go now. `send` answers false when the socket does not take it. */
  flush(nowMs: number, toFrame: (message: OutboxMessage) => string, send: (frame: string) => boolean): void {
    for (const message of this.#messages) {
      if (message.status === "failed" || message.status === "refused") continue;
      if (message.status === "sent") {
        if (nowMs - message.handedOverMs < ORDER_PATIENCE_MS) return;
        continue;
      }
      const frame = message.frame ?? toFrame(message);
      if (!send(frame)) return;
      this.#update(message.id, { status: "sent", tries: message.tries + 1, frame, handedOverMs: nowMs });
      return;
    }
  }

  /**
   * The echo came: the milliseconds since hand-over. Undefined if the message is no longer in here, or was handed over
   * more than once, since then nobody knows which time counts.
   */
  confirm(id: string, nowMs: number): number | undefined {
    const message = this.#messages.find((candidate) => candidate.id === id);
    if (message === undefined) return undefined;
    this.discard(id);
    return message.tries === 1 ? nowMs - message.handedOverMs : undefined;
  }

  /** When the oldest message in flight was handed over, on the monotonic clock. */
  get oldestInFlightMs(): number | undefined {
    return this.#messages.find((message) => message.status === "sent")?.handedOverMs;
  }

  /** Everything in flight is in doubt: the connection broke, or the echo is overdue. */
  doubt(handedOverBeforeMs = Infinity): void {
    for (const { id, status, tries, handedOverMs } of this.#messages) {
      if (status !== "sent" || handedOverMs >= handedOverBeforeMs) continue;
      this.#update(id, { status: tries >= MAX_TRIES ? "failed" : "unconfirmed" });
    }
  }

  /** The server closed the connection because something in flight was too long: surely the longest. */
  refuseLongest(): void {
    const inFlight = this.#messages.filter(({ status }) => status === "sent");
    const [longest] = inFlight.toSorted((a, b) => bytesOf(b) - bytesOf(a));
    if (longest !== undefined) this.#update(longest.id, { status: "refused" });
  }

  /** Gives a failed message new tries. */
  sendAgain(id: string): void {
    this.#update(id, { status: "unconfirmed", tries: 1 });
  }

  /** Forgets a message. */
  discard(id: string): void {
    this.#messages = this.#messages.filter((message) => message.id !== id);
  }

  #update(id: string, change: Partial<OutboxMessage>): void {
    this.#messages = this.#messages.map((message) => (message.id === id ? { ...message, ...change } : message));
  }
}

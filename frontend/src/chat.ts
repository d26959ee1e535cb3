/**
 * One stay in the chat: joins the connection, the outbox, the roster and the timeline, and gives React one immutable
 * snapshot of them, at most once per animation frame however much arrives.
 */
import type { Endpoint } from "./config";
import { Connection, type ConnectionState } from "./connection";
import { type LoadSummary, LoadTraffic } from "./load";
import { Outbox, type OutboxMessage } from "./outbox";
import { answerDelayMs, type Person, Roster } from "./presence";
import { type ChatMessage, frameBytes, type PresenceMessage, parse, serialise } from "./protocol";
import { Timeline, type TimelineStep } from "./timeline";

/** An echo that takes longer is missing: the message is in doubt. */
const ECHO_OVERDUE_MS = 20_000;
const TICK_MS = 1000;
const HIDDEN_REFRESH_MS = 250;
const DELIVERIES_KEPT = 20;

/** All that the room shows, at one moment. */
export interface Snapshot extends TimelineStep {
  connection: ConnectionState;
  outbox: readonly OutboxMessage[];
  people: readonly Person[];
  /** How long the last twenty own messages took to come back, in milliseconds. */
  deliveriesMs: readonly number[];
  load: LoadSummary | undefined;
}

/** One person's stay. React subscribes to it with `useSyncExternalStore`. */
export class Chat {
  readonly client = randomId();
  readonly name: string;
  readonly #connection: Connection;
  readonly #outbox = new Outbox();
  readonly #roster = new Roster();
  readonly #timeline = new Timeline();
  readonly #load = new LoadTraffic();
  readonly #subscribers = new Set<() => void>();
  #deliveriesMs: readonly number[] = [];
  #snapshot: Snapshot;
  #isRefreshDue = false;
  #answerTimer: ReturnType<typeof setTimeout> | undefined;
  #tickTimer: ReturnType<typeof setInterval> | undefined;

  constructor(name: string, endpoint: Endpoint) {
    this.name = name;
    this.#connection = new Connection(endpoint, {
      onState: () => this.#refresh(),
      onOpen: () => this.#opened(),
      onLost: (isTooBig) => this.#lost(isTooBig),
      onFrame: (frame, receivedMs) => this.#received(frame, receivedMs),
      onSignOfLifeDue: () => this.#sendPresence("here"),
    });
    this.#snapshot = this.#takeSnapshot();
  }

  /** Calls `subscriber` with every new snapshot, until the function that it returns is called. */
  readonly subscribe = (subscriber: () => void): (() => void) => {
    this.#subscribers.add(subscriber);
    return () => this.#subscribers.delete(subscriber);
  };

  /** The latest snapshot: the same object until there is a new one. */
  readonly getSnapshot = (): Snapshot => this.#snapshot;

  /** Connects. No effect on a stay that has started. */
  start(): void {
    this.#roster.joined(this.client, this.name, performance.now());
    this.#tickTimer ??= setInterval(() => this.#tick(), TICK_MS);
    this.#connection.start();
    this.#publish();
  }

  /** Says goodbye and closes. `start` takes up the stay again, with all that was there. */
  leave(): void {
    this.#sendPresence("leave");
    clearTimeout(this.#answerTimer);
    clearInterval(this.#tickTimer);
    this.#tickTimer = undefined;
    this.#connection.stop();
    this.#outbox.doubt();
  }

  /** Takes a message into the outbox. It must not be blank or too long. */
  say(text: string): void {
    this.#outbox.add(randomId(), text.trimEnd());
    this.#flush();
  }

  /** The size in bytes of the whole frame, which is what the limit is about. */
  bytesOnTheWire(text: string): number {
    return frameBytes(this.#frame({ id: randomId(), text: text.trimEnd() }));
  }

  /** Sends a failed message again. */
  sendAgain(id: string): void {
    this.#outbox.sendAgain(id);
    this.#flush();
  }

  /** Takes a message out of the outbox; one that was handed over may arrive all the same. */
  discard(id: string): void {
    this.#outbox.discard(id);
    this.#flush();
  }

  /** Tries to connect at once instead of waiting. */
  retryNow(): void {
    this.#connection.retryNow();
  }

  #opened(): void {
    // Nobody told this page who left meanwhile, and everyone who is still here answers the `join`.
    this.#roster.clear();
    this.#roster.joined(this.client, this.name, performance.now());
    this.#sendPresence("join");
    this.#flush();
  }

  #lost(isTooBig: boolean): void {
    if (isTooBig) this.#outbox.refuseLongest();
    this.#outbox.doubt();
  }

  #flush(): void {
    this.#outbox.flush(
      performance.now(),
      (message) => this.#frame(message),
      (frame) => this.#send(frame),
    );
    this.#refresh();
  }

  #frame({ id, text }: Pick<ChatMessage, "id" | "text">): string {
    return serialise({ type: "chat", id, client: this.client, name: this.name, text, sent_at: Date.now() });
  }

  #sendPresence(state: PresenceMessage["state"]): void {
    this.#send(serialise({ type: "presence", client: this.client, name: this.name, state }));
  }

  #send(frame: string): boolean {
    const isSent = this.#connection.send(frame);
    // Any frame shows that this person is here, and so answers a newcomer as well.
    if (isSent) {
      clearTimeout(this.#answerTimer);
      this.#answerTimer = undefined;
    }
    return isSent;
  }

  #received(frame: string, receivedMs: number): void {
    const message = parse(frame);
    switch (message.type) {
      case "chat":
        this.#receivedChat(message, receivedMs);
        break;
      case "presence":
        this.#receivedPresence(message, receivedMs);
        break;
      case "load":
        this.#load.add(message, frameBytes(frame), receivedMs);
        break;
      default:
        this.#timeline.append({ kind: message.type, text: message.text, receivedAt: Date.now() });
    }
    this.#refresh();
  }

  #receivedChat({ id, client, name, text }: ChatMessage, receivedMs: number): void {
    const own = client === this.client && this.#outbox.owns(id);
    const deliveryMs = own ? this.#outbox.confirm(id, receivedMs) : undefined;
    if (deliveryMs !== undefined) this.#deliveriesMs = [...this.#deliveriesMs, deliveryMs].slice(-DELIVERIES_KEPT);
    if (this.#timeline.isNew(id)) {
      // An own message keeps its key from the outbox, so that its place on the screen is not built anew.
      const key = own ? id : undefined;
      this.#timeline.append({ kind: "chat", client, name, text, receivedAt: Date.now(), own, deliveryMs }, key);
    }
    if (client !== this.client) this.#roster.heard(client, name, receivedMs);
    if (own) this.#flush();
  }

  #receivedPresence({ client, name, state }: PresenceMessage, receivedMs: number): void {
    if (client === this.client) return;
    if (state === "leave") {
      this.#roster.left(client);
    } else if (state === "here") {
      this.#roster.heard(client, name, receivedMs);
    } else {
      this.#roster.joined(client, name, receivedMs);
      this.#answerJoin();
    }
  }

  /** One answer serves everyone who joined meanwhile, since everyone hears it. */
  #answerJoin(): void {
    if (this.#answerTimer !== undefined) return;
    const delayMs = answerDelayMs(this.#roster.size, Math.random);
    if (delayMs === undefined) return;
    this.#answerTimer = setTimeout(() => {
      this.#answerTimer = undefined;
      this.#sendPresence("here");
    }, delayMs);
  }

  #tick(): void {
    const nowMs = performance.now();
    this.#roster.heard(this.client, this.name, nowMs);
    this.#roster.expire(nowMs);
    this.#doubtOverdueEchoes(nowMs);
    this.#flush();
  }

  #doubtOverdueEchoes(nowMs: number): void {
    const handedOverMs = this.#outbox.oldestInFlightMs;
    if (handedOverMs === undefined || nowMs - handedOverMs < ECHO_OVERDUE_MS) return;
    // Nothing at all came since: the connection itself is dead, whatever the browser believes.
    if (this.#connection.lastReceivedMs < handedOverMs) this.#connection.restart();
    this.#outbox.doubt(nowMs - ECHO_OVERDUE_MS);
  }

  #refresh(): void {
    if (this.#isRefreshDue) return;
    this.#isRefreshDue = true;
    // A hidden tab gets no animation frames.
    if (document.hidden) setTimeout(this.#publish, HIDDEN_REFRESH_MS);
    else requestAnimationFrame(this.#publish);
  }

  readonly #publish = () => {
    this.#isRefreshDue = false;
    this.#snapshot = this.#takeSnapshot();
    for (const subscriber of this.#subscribers) subscriber();
    if (!this.#snapshot.isSettled) this.#refresh();
  };

  #takeSnapshot(): Snapshot {
    return {
      ...this.#timeline.next(),
      connection: this.#connection.state,
      outbox: this.#outbox.messages,
      people: this.#roster.people,
      deliveriesMs: this.#deliveriesMs,
      load: this.#load.summary(performance.now()),
    };
  }
}

/** `crypto.randomUUID` is missing on pages that another machine serves by plain http. */
function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

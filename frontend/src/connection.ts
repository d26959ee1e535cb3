/**
 * Keeps one WebSocket to the chat alive, and says truthfully how it stands.
 *
 * The reconnecting-socket packages know nothing of API Gateway's two limits (ten idle minutes, two hours in all) and
 * can't tell a refusal from an unreachable server. Their send buffers would send a second time what the outbox sends
 * again.
 */
import { type Endpoint, withRoomKey } from "./config";

export const BACKOFF_BASE_MS = 1000;
/** A crowd of 10,000 is back a sixth later with 15 s, and makes a third more handshakes with 4 s: chatlab/storm.py. */
export const BACKOFF_CAP_MS = 8000;
/** A connection that lived this long was a good one: the next failure starts the backoff afresh. */
const STABLE_MS = 5000;
/** A cold start of the $connect function takes seconds; API Gateway itself gives up after 29. */
const OPEN_TIMEOUT_MS = 30_000;
/** API Gateway closes a connection after 10 idle minutes; a hidden tab's timers may be a minute late. */
export const IDLE_MS = 8 * 60_000;
const IDLE_JITTER_MS = 60_000;
/** API Gateway closes every connection after 2 hours. The jitter keeps a room from renewing all at once. */
export const RENEW_MS = 115 * 60_000;
const RENEW_JITTER_MS = 15 * 60_000;
const RENEW_RETRY_MS = 60_000;
/** How long a replaced socket is still read, for what was on its way to it. */
export const OVERLAP_MS = 10_000;
/** How long a connection in doubt may stay silent before it counts as lost. */
export const PROOF_OF_LIFE_MS = 10_000;
/** The same, when the browser says that there is no network. */
export const OFFLINE_PROOF_MS = 2000;
/** A connection that was silent for this long is in doubt when its tab is shown again. */
const QUIET_MS = 30_000;
const REACHABLE_TIMEOUT_MS = 3000;
/** The code with which a server closes a socket whose frame was too long (RFC 6455, 7.4.1). */
const MESSAGE_TOO_BIG = 1009;

/** How the connection stands. */
export type ConnectionState =
  | { name: "connecting" }
  | { name: "connected" }
  /** `retryAtMs` is on the monotonic clock; undefined means that an attempt is under way. */
  | { name: "reconnecting"; cause: "lost" | "unreachable"; retryAtMs: number | undefined }
  | { name: "offline" }
  | { name: "refused"; retryAtMs: number | undefined }
  | { name: "closed" };

/** Whom the connection calls, and when. */
export interface ConnectionListener {
  onState(): void;
  /** A new connection can carry frames. Not called for a renewal, which nobody needs to notice. */
  onOpen(): void;
  /** The connection broke, so what was in flight may not have arrived. `isTooBig`: because a frame was too long. */
  onLost(isTooBig: boolean): void;
  onFrame(frame: string, receivedMs: number): void;
  /** Something has to be sent: nothing was for a long time, or the connection must prove that it is alive. */
  onSignOfLifeDue(): void;
}

/** One connection to the chat, opened again as often as necessary. */
export class Connection {
  readonly #endpoint: Endpoint;
  readonly #listener: ConnectionListener;
  readonly #timers = new Timers<"retry" | "open" | "stable" | "idle" | "renew" | "overlap" | "proof">();
  #browserEvents = new AbortController();
  #state: ConnectionState = { name: "closed" };
  /** The socket that is being opened or used. */
  #socket: WebSocket | undefined;
  /** While one socket replaces another: by how many times `to` has brought each frame more often than `from`. */
  #renewal: { from: WebSocket; to: WebSocket; lead: Map<string, number> } | undefined;
  /** Grows with each dropped connection, so that a late answer about an earlier one is recognised. */
  #generation = 0;
  #failures = 0;
  #lastSentMs = 0;
  #lastReceivedMs = 0;

  constructor(endpoint: Endpoint, listener: ConnectionListener) {
    this.#endpoint = endpoint;
    this.#listener = listener;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** When the last frame arrived, on the monotonic clock, in milliseconds. */
  get lastReceivedMs(): number {
    return this.#lastReceivedMs;
  }

  /** Connects, and listens to what the browser says of network and tab. No effect unless it is closed. */
  start(): void {
    if (this.#state.name !== "closed") return;
    this.#browserEvents = new AbortController();
    const { signal } = this.#browserEvents;
    window.addEventListener("online", () => this.#cameOnline(), { signal });
    window.addEventListener("offline", () => this.#wentOffline(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.#becameVisible(), { signal });
    this.#failures = 0;
    this.#setState({ name: "connecting" });
    this.#attempt();
  }

  /** Closes, and stays closed. */
  stop(): void {
    this.#browserEvents.abort();
    this.#dropSockets();
    this.#setState({ name: "closed" });
  }

  /** Hands a frame to the socket. False when no connection is open; the frame is then not kept. */
  send(frame: string): boolean {
    if (this.#state.name !== "connected" || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(frame);
    this.#lastSentMs = performance.now();
    return true;
  }

  /** Gives up the present connection and opens a new one at once. */
  restart(): void {
    if (this.#state.name !== "connected") return;
    this.#lost();
    this.retryNow();
  }

  /** Cuts a wait short. No effect while connected or while an attempt is under way. */
  retryNow(): void {
    if (!this.#timers.isRunning("retry")) return;
    this.#timers.stop("retry");
    this.#retry();
  }

  #cameOnline(): void {
    if (this.#state.name === "connected") this.#demandProofOfLife();
    else this.retryNow();
  }

  /** A server on this machine needs no network, so an open connection has to answer before it counts as lost. */
  #wentOffline(): void {
    if (this.#state.name === "connected") this.#demandProofOfLife(OFFLINE_PROOF_MS);
    else if (this.#timers.isRunning("retry")) this.#setState({ name: "offline" });
  }

  /** The tab is shown again: perhaps after a night's sleep, with a socket that only looks alive. */
  #becameVisible(): void {
    if (this.#state.name !== "connected") this.retryNow();
    else if (performance.now() - this.#lastReceivedMs > QUIET_MS) this.#demandProofOfLife();
  }

  #attempt(): void {
    const opened = () => {
      this.#timers.start("stable", STABLE_MS, () => {
        this.#failures = 0;
      });
      this.#setState({ name: "connected" });
      this.#listener.onOpen();
    };
    this.#socket = this.#openSocket(opened, () => this.#failed());
  }

  #openSocket(opened: () => void, failed: () => void): WebSocket {
    const socket = new WebSocket(withRoomKey(this.#endpoint.url, location.hash));
    socket.onopen = () => {
      this.#timers.stop("open");
      socket.onclose = ({ code }) => this.#lost(code);
      this.#startLimits();
      opened();
    };
    socket.onclose = failed;
    socket.onmessage = (event) => this.#received(socket, event.data);
    this.#timers.start("open", OPEN_TIMEOUT_MS, failed);
    return socket;
  }

  /** Starts the clocks of API Gateway's two limits, which run for each connection anew. */
  #startLimits(): void {
    this.#lastSentMs = performance.now();
    this.#lastReceivedMs = performance.now();
    this.#awaitIdle();
    this.#scheduleRenewal(RENEW_MS - Math.random() * RENEW_JITTER_MS);
  }

  #received(socket: WebSocket, data: unknown): void {
    const receivedMs = performance.now();
    this.#lastReceivedMs = receivedMs;
    this.#timers.stop("proof");
    // The server forwards text only.
    if (typeof data === "string" && !this.#isRepeated(socket, data)) this.#listener.onFrame(data, receivedMs);
  }

  /**
   * While two connections are open, the server forwards every frame to both. A frame is skipped if the other socket has
   * brought it more often so far: a line that was really said twice still appears twice.
   */
  #isRepeated(socket: WebSocket, frame: string): boolean {
    if (this.#renewal === undefined) return false;
    const { to, lead } = this.#renewal;
    const step = socket === to ? 1 : -1;
    const before = lead.get(frame) ?? 0;
    lead.set(frame, before + step);
    return before * step < 0;
  }

  /** The socket closed, or timed out, before it ever opened. */
  async #failed(): Promise<void> {
    this.#dropSockets();
    this.#failures += 1;
    // A browser does not tell a page whether a handshake was answered with a refusal or with nothing, so ask.
    const generation = this.#generation;
    const isRefused = navigator.onLine && (await isReachable(this.#endpoint.httpOrigin));
    if (generation !== this.#generation) return;
    const retryAtMs = this.#scheduleRetry();
    if (isRefused) this.#setState({ name: "refused", retryAtMs });
    else if (navigator.onLine) this.#setState({ name: "reconnecting", cause: "unreachable", retryAtMs });
    else this.#setState({ name: "offline" });
  }

  /** The connection broke after it had been open. */
  #lost(code?: number): void {
    this.#dropSockets();
    this.#failures += 1;
    const retryAtMs = this.#scheduleRetry();
    this.#setState(navigator.onLine ? { name: "reconnecting", cause: "lost", retryAtMs } : { name: "offline" });
    this.#listener.onLost(code === MESSAGE_TOO_BIG);
  }

  /** Exponential backoff with full jitter, so that a room that lost its server does not return to it in one wave. */
  #scheduleRetry(): number {
    const delayMs = Math.random() * Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (this.#failures - 1));
    this.#timers.start("retry", delayMs, () => this.#retry());
    return performance.now() + delayMs;
  }

  #retry(): void {
    const state = this.#state;
    if (state.name === "reconnecting" || state.name === "refused") this.#setState({ ...state, retryAtMs: undefined });
    else if (navigator.onLine) this.#setState({ name: "reconnecting", cause: "lost", retryAtMs: undefined });
    this.#attempt();
  }

  #awaitIdle(atLeastMs = 0): void {
    const dueMs = this.#lastSentMs + IDLE_MS - Math.random() * IDLE_JITTER_MS;
    this.#timers.start("idle", Math.max(atLeastMs, dueMs - performance.now()), () => {
      if (performance.now() - this.#lastSentMs >= IDLE_MS - IDLE_JITTER_MS) this.#demandProofOfLife();
      // A socket that is closing takes nothing, so without a pause this would be due again at once.
      this.#awaitIdle(PROOF_OF_LIFE_MS);
    });
  }

  /** Everything that is sent comes back, so a connection on which nothing comes back is dead. */
  #demandProofOfLife(patienceMs = PROOF_OF_LIFE_MS): void {
    if (this.#timers.isRunning("proof")) return;
    this.#timers.start("proof", patienceMs, () => this.restart());
    this.#listener.onSignOfLifeDue();
  }

  #scheduleRenewal(delayMs: number): void {
    this.#timers.start("renew", delayMs, () => this.#renew());
  }

  /** Opens the next connection before the present one reaches its limit, and changes over without a gap. */
  #renew(): void {
    const from = this.#socket;
    if (from === undefined) return;
    const opened = () => {
      from.onclose = null;
      this.#socket = to;
      this.#timers.start("overlap", OVERLAP_MS, () => {
        detach(from);
        this.#renewal = undefined;
      });
    };
    const failed = () => {
      this.#timers.stop("open");
      detach(to);
      this.#renewal = undefined;
      this.#scheduleRenewal(RENEW_RETRY_MS * (1 + Math.random()));
    };
    const to = this.#openSocket(opened, failed);
    this.#renewal = { from, to, lead: new Map() };
  }

  #dropSockets(): void {
    this.#generation += 1;
    this.#timers.stopAll();
    for (const socket of [this.#socket, this.#renewal?.from, this.#renewal?.to]) detach(socket);
    this.#socket = undefined;
    this.#renewal = undefined;
  }

  #setState(state: ConnectionState): void {
    this.#state = state;
    this.#listener.onState();
  }
}

/** Closes a socket, and hears no more of it. */
function detach(socket: WebSocket | undefined): void {
  if (socket === undefined) return;
  socket.onopen = null;
  socket.onclose = null;
  socket.onmessage = null;
  socket.close();
}

/**
 * Whether anything answers at a server's address. A page can't read the status of a refused WebSocket handshake (403
 * looks like no server at all), but it can see whether a plain request to the same server gets any answer.
 */
async function isReachable(httpOrigin: string): Promise<boolean> {
  try {
    await fetch(httpOrigin, {
      method: "HEAD",
      mode: "no-cors",
      credentials: "omit",
      cache: "no-store",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(REACHABLE_TIMEOUT_MS),
    });
    return true;
  } catch {
    return false;
  }
}

/** Timers by name, at most one of each name at a time. */
class Timers<Name extends string> {
  readonly #running = new Map<Name, ReturnType<typeof setTimeout>>();

  /** Calls `action` in `delayMs`, instead of what an earlier `start` of this name would have called. */
  start(name: Name, delayMs: number, action: () => void): void {
    this.stop(name);
    const timer = setTimeout(() => {
      this.#running.delete(name);
      action();
    }, delayMs);
    this.#running.set(name, timer);
  }

  stop(name: Name): void {
    clearTimeout(this.#running.get(name));
    this.#running.delete(name);
  }

  stopAll(): void {
    for (const name of this.#running.keys()) this.stop(name);
  }

  isRunning(name: Name): boolean {
    return this.#running.has(name);
  }
}

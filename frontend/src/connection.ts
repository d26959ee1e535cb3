/**
 * Keeps one WebSocket to the chat alive and says truthfully how it stands.
 *
 * Written here rather than taken from a reconnecting-socket package, since those neither know API Gateway's two limits
 * (ten idle minutes, two hours in all), nor tell a refusal from an unreachable server, and their send buffers would
 * compete with the outbox over what is sent once.
 */

import { type ConnectionEnvironment, detach, type Socket } from "./environment";
import { Overlap } from "./overlap";
import { Timers } from "./timers";

export const BACKOFF_BASE_MS = 1000;
export const BACKOFF_CAP_MS = 15_000;
/** A connection that lived this long was a good one, and the next failure starts the backoff afresh. */
export const STABLE_MS = 5000;
/** A cold start of the $connect function takes seconds; API Gateway itself gives up after 29. */
export const OPEN_TIMEOUT_MS = 30_000;
/** API Gateway closes a connection after 10 idle minutes; a hidden tab's timers may be a minute late. */
export const IDLE_MS = 8 * 60_000;
const IDLE_JITTER_MS = 60_000;
/** API Gateway closes every connection after 2 hours. The jitter keeps a room from renewing all at once. */
export const RENEW_MS = 115 * 60_000;
export const RENEW_JITTER_MS = 15 * 60_000;
const RENEW_RETRY_MS = 60_000;
/** How long a replaced socket is still read, for what was on its way to it. */
export const OVERLAP_MS = 10_000;
/** How long a connection that is in doubt may stay silent before it counts as lost. */
export const PROOF_OF_LIFE_MS = 10_000;
/** The same, where the browser says that there is no network at all. */
export const OFFLINE_PROOF_MS = 2000;
const QUIET_MS = 30_000;
/** The code with which a socket is closed whose frame was too long (RFC 6455, 7.4.1). */
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

const OPEN = 1;

/** What the connection tells. */
export interface ConnectionListener {
  onState(state: ConnectionState): void;
  /** A new connection can carry frames. Not called for a renewal, which nobody needs to notice. */
  onOpen(): void;
  /**
   * The connection broke: what was in flight may not have arrived. `isTooBig`: because something was too long, which it
   * will be again.
   */
  onLost(isTooBig: boolean): void;
  onFrame(frame: string, receivedMs: number): void;
  /** Something has to be sent, since nothing was for long, or since the connection must prove that it is alive. */
  onSignOfLifeDue(): void;
}

/** One connection to the chat, made anew as often as it takes. */
export class Connection {
  readonly #environment: ConnectionEnvironment;
  readonly #listener: ConnectionListener;
  #state: ConnectionState = { name: "closed" };
  /** The socket that is being opened or used. */
  #socket: Socket | undefined;
  /** The socket that will replace it, and later the one that was replaced. */
  #successor: Socket | undefined;
  #predecessor: Socket | undefined;
  #overlap: Overlap | undefined;
  /** Grows with each dropped connection, so that a late answer about an earlier one is recognised. */
  #generation = 0;
  #failures = 0;
  #lastSentMs = 0;
  #lastReceivedMs = 0;
  readonly #timers = new Timers<"retry" | "open" | "stable" | "idle" | "renew" | "overlap" | "proof">();

  constructor(environment: ConnectionEnvironment, listener: ConnectionListener) {
    this.#environment = environment;
    this.#listener = listener;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** When the last frame arrived, on the monotonic clock, in milliseconds. */
  get lastReceivedMs(): number {
    return this.#lastReceivedMs;
  }

  /** Begins to connect. Without effect unless it is closed. */
  start(): void {
    if (this.#state.name !== "closed") return;
    this.#failures = 0;
    this.#setState({ name: "connecting" });
    this.#attempt();
  }

  /** Closes, and stays closed. */
  stop(): void {
    this.#dropSockets();
    this.#setState({ name: "closed" });
  }

  /** Hands a frame to the socket. False when there is no open connection; the frame is then not kept. */
  send(frame: string): boolean {
    if (this.#state.name !== "connected" || this.#socket?.readyState !== OPEN) return false;
    this.#socket.send(frame);
    this.#lastSentMs = performance.now();
    return true;
  }

  /** Gives up the present connection and makes a new one at once. */
  restart(): void {
    if (this.#state.name !== "connected") return;
    this.#lost();
    this.retryNow();
  }

  /** Cuts a wait short. Without effect while connected or while an attempt is under way. */
  retryNow(): void {
    if (!this.#timers.isRunning("retry")) return;
    this.#timers.stop("retry");
    this.#retry();
  }

  /** The browser has a network again. */
  cameOnline(): void {
    if (this.#state.name === "connected") this.#demandProofOfLife();
    else this.retryNow();
  }

  /** A server on this machine is reached without any network, so an open connection is asked before it counts as lost. */
  wentOffline(): void {
    if (this.#state.name === "connected") this.#demandProofOfLife(OFFLINE_PROOF_MS);
    else if (this.#timers.isRunning("retry")) this.#setState({ name: "offline" });
  }

  /** The tab is shown again: perhaps after a night's sleep, with a socket that only looks alive. */
  becameVisible(): void {
    if (this.#state.name !== "connected") this.retryNow();
    else if (performance.now() - this.#lastReceivedMs > QUIET_MS) this.#demandProofOfLife();
  }

  #attempt(): void {
    const socket = this.#environment.openSocket();
    this.#socket = socket;
    socket.onopen = () => this.#opened(socket);
    socket.onclose = () => this.#failed();
    this.#timers.start("open", OPEN_TIMEOUT_MS, () => this.#failed());
  }

  #opened(socket: Socket): void {
    this.#timers.stop("open");
    socket.onclose = ({ code }) => this.#lost(code);
    socket.onmessage = (event) => this.#received(socket, event.data);
    this.#timers.start("stable", STABLE_MS, () => {
      this.#failures = 0;
    });
    this.#startLimits();
    this.#setState({ name: "connected" });
    this.#listener.onOpen();
  }

  /** Starts the clocks of API Gateway's two limits, which run for each connection anew. */
  #startLimits(): void {
    this.#lastSentMs = performance.now();
    this.#lastReceivedMs = performance.now();
    this.#awaitIdle();
    this.#scheduleRenewal(RENEW_MS - this.#environment.random() * RENEW_JITTER_MS);
  }

  #received(socket: Socket, data: unknown): void {
    const receivedMs = performance.now();
    this.#lastReceivedMs = receivedMs;
    this.#timers.stop("proof");
    // The server forwards text only.
    if (typeof data !== "string" || this.#overlap?.isRepeated(socket, data)) return;
    this.#listener.onFrame(data, receivedMs);
  }

  /** The socket closed, or timed out, before it ever opened. */
  async #failed(): Promise<void> {
    this.#dropSockets();
    this.#failures += 1;
    // A browser does not tell a page whether a handshake was answered with a refusal or with nothing, so ask.
    const generation = this.#generation;
    const isReachable = this.#environment.isOnline() && (await this.#environment.isReachable());
    if (generation !== this.#generation) return;
    const retryAtMs = this.#scheduleRetry();
    if (isReachable) this.#setState({ name: "refused", retryAtMs });
    else if (this.#environment.isOnline()) this.#setState({ name: "reconnecting", cause: "unreachable", retryAtMs });
    else this.#setState({ name: "offline" });
  }

  /** The connection broke after it had been open. */
  #lost(code?: number): void {
    this.#dropSockets();
    this.#failures += 1;
    const retryAtMs = this.#scheduleRetry();
    this.#setState(
      this.#environment.isOnline() ? { name: "reconnecting", cause: "lost", retryAtMs } : { name: "offline" },
    );
    this.#listener.onLost(code === MESSAGE_TOO_BIG);
  }

  /** Exponential backoff with full jitter, so that a room that lost its server does not return to it in one wave. */
  #scheduleRetry(): number {
    const ceilingMs = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (this.#failures - 1));
    const delayMs = this.#environment.random() * ceilingMs;
    this.#timers.start("retry", delayMs, () => this.#retry());
    return performance.now() + delayMs;
  }

  #retry(): void {
    this.#setState(
      this.#state.name === "offline" && !this.#environment.isOnline()
        ? this.#state
        : { ...this.#waitingState(), retryAtMs: undefined },
    );
    this.#attempt();
  }

  #waitingState(): Extract<ConnectionState, { retryAtMs: unknown }> {
    const state = this.#state;
    if (state.name === "reconnecting" || state.name === "refused") return state;
    return { name: "reconnecting", cause: "lost", retryAtMs: undefined };
  }

  #awaitIdle(atLeastMs = 0): void {
    const dueMs = this.#lastSentMs + IDLE_MS - this.#environment.random() * IDLE_JITTER_MS;
    this.#timers.start("idle", Math.max(atLeastMs, dueMs - performance.now()), () => {
      if (performance.now() - this.#lastSentMs >= IDLE_MS - IDLE_JITTER_MS) this.#demandProofOfLife();
      // A socket that is closing takes nothing, so the same would be due again at once.
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

  /** Makes the next connection before the present one reaches its limit, and changes over without a gap. */
  #renew(): void {
    const socket = this.#environment.openSocket();
    const abandon = () => {
      this.#timers.stop("open");
      detach(socket);
      this.#successor = undefined;
      this.#overlap = undefined;
      this.#scheduleRenewal(RENEW_RETRY_MS * (1 + this.#environment.random()));
    };
    this.#successor = socket;
    this.#overlap = new Overlap();
    this.#timers.start("open", OPEN_TIMEOUT_MS, abandon);
    socket.onclose = abandon;
    socket.onmessage = (event) => this.#received(socket, event.data);
    socket.onopen = () => {
      this.#timers.stop("open");
      const predecessor = this.#socket;
      if (predecessor) predecessor.onclose = null;
      this.#predecessor = predecessor;
      this.#successor = undefined;
      this.#socket = socket;
      socket.onclose = ({ code }) => this.#lost(code);
      this.#startLimits();
      this.#timers.start("overlap", OVERLAP_MS, () => {
        detach(this.#predecessor);
        this.#predecessor = undefined;
        this.#overlap = undefined;
      });
    };
  }

  #dropSockets(): void {
    this.#generation += 1;
    this.#timers.stopAll();
    for (const socket of [this.#socket, this.#successor, this.#predecessor]) detach(socket);
    this.#socket = undefined;
    this.#successor = undefined;
    this.#predecessor = undefined;
    this.#overlap = undefined;
  }

  #setState(state: ConnectionState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#listener.onState(state);
  }
}

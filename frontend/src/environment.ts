/** What the chat takes from the browser it runs in. */
import { type WebSocketTarget, withRoomKey } from "./config";
import { isReachable } from "./probe";

/** The part of the browser's WebSocket that is used. */
export type Socket = Pick<WebSocket, "onopen" | "onclose" | "onmessage" | "readyState" | "send" | "close">;

/** What the connection needs of its surroundings; tests give their own. */
export interface ConnectionEnvironment {
  openSocket(): Socket;
  /** Whether anything at all answers at the server's address. */
  isReachable(): Promise<boolean>;
  isOnline(): boolean;
  random(): number;
}

/** The real socket, clock and chance. */
export function browserEnvironment(target: Extract<WebSocketTarget, { ok: true }>): ConnectionEnvironment {
  return {
    openSocket: () => new WebSocket(withRoomKey(target.url, location.hash)),
    isReachable: () => isReachable(target.httpOrigin),
    isOnline: () => navigator.onLine,
    random: Math.random,
  };
}

/** Closes a socket, and hears no more of it. */
export function detach(socket: Socket | undefined): void {
  if (socket === undefined) return;
  socket.onopen = null;
  socket.onclose = null;
  socket.onmessage = null;
  socket.close();
}

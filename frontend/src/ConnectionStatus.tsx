import { useEffect, useState } from "react";
import type { ConnectionState } from "./connection";

/**
 * How the connection stands, in words that a screen reader announces when they change. It leaves out the countdown,
 * which changes every second.
 */
export function ConnectionStatus({ state, onRetry }: { state: ConnectionState; onRetry: () => void }) {
  const retryAtMs = "retryAtMs" in state ? state.retryAtMs : undefined;
  const seconds = useSecondsUntil(retryAtMs);
  return (
    <>
      <p role="status" data-state={state.name}>
        <span>
          {describe(state)}
          {"retryAtMs" in state && (
            <span aria-hidden="true">{seconds === undefined ? "…" : ` in ${seconds}\u00a0s`}</span>
          )}
        </span>
      </p>
      {retryAtMs !== undefined && (
        <button type="button" className="quiet" onClick={onRetry}>
          Try now
        </button>
      )}
    </>
  );
}

function describe(state: ConnectionState): string {
  switch (state.name) {
    case "connecting":
      return "Connecting…";
    case "connected":
      return "Connected";
    case "reconnecting":
      return state.cause === "lost" ? "Connection lost, reconnecting" : "The server does not answer, reconnecting";
    case "offline":
      return "Offline. What you write is kept and sent when you are back.";
    case "refused":
      return "Refused by the server (as with 403), trying again";
    case "closed":
      return "Disconnected";
  }
}

/** Whole seconds until a moment of the monotonic clock, kept up to date. */
function useSecondsUntil(momentMs: number | undefined): number | undefined {
  const [nowMs, setNowMs] = useState(() => performance.now());
  useEffect(() => {
    if (momentMs === undefined) return;
    setNowMs(performance.now());
    const timer = setInterval(() => setNowMs(performance.now()), 250);
    return () => clearInterval(timer);
  }, [momentMs]);
  return momentMs === undefined ? undefined : Math.max(0, Math.ceil((momentMs - nowMs) / 1000));
}

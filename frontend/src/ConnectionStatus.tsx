import { useEffect, useState } from "react";
import type { ConnectionState } from "./connection";

/** How the connection stands, in words, for screen readers as well; the countdown is for eyes only, since it changes every second. */
export function ConnectionStatus({ state, onRetry }: { state: ConnectionState; onRetry: () => void }) {
  const retryAtMs = "retryAtMs" in state ? state.retryAtMs : undefined;
  const seconds = useSecondsUntil(retryAtMs);
  return (
    <>
      <p role="status" data-state={state.name}>
        {describe(state)}
        {seconds !== undefined && <span aria-hidden="true"> Next try in {seconds} s.</span>}
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
      return state.cause === "lost" ? "Connection lost. Reconnecting…" : "The server does not answer. Reconnecting…";
    case "offline":
      return "You are offline. What you write is sent when you are back.";
    case "refused":
      return "The server refused the connection (403, or the like).";
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

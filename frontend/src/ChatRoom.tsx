import { useEffect, useLayoutEffect, useSyncExternalStore } from "react";
import { Composer } from "./Composer";
import { ConnectionStatus } from "./ConnectionStatus";
import type { Chat } from "./chat";
import { formatMs } from "./delivery";
import { LoadPanel } from "./LoadPanel";
import { MessageList } from "./MessageList";
import { People } from "./People";

/** The conversation and everything around it. */
export function ChatRoom({ chat, onLeave }: { chat: Chat; onLeave: () => void }) {
  const snapshot = useSyncExternalStore(chat.subscribe, chat.getSnapshot);
  const { connection, outbox, deliveryMedianMs, deliveryCount, load } = snapshot;

  // Before the first paint, which then shows that it is connecting.
  useLayoutEffect(() => {
    const start = () => chat.start();
    const leave = () => chat.leave();
    start();
    // A page in the back/forward cache may come back.
    window.addEventListener("pageshow", start);
    window.addEventListener("pagehide", leave);
    return () => {
      window.removeEventListener("pageshow", start);
      window.removeEventListener("pagehide", leave);
      leave();
    };
  }, [chat]);

  const hasUnsent = outbox.length > 0;
  useEffect(() => {
    if (!hasUnsent) return;
    const ask = (event: BeforeUnloadEvent) => event.preventDefault();
    window.addEventListener("beforeunload", ask);
    return () => window.removeEventListener("beforeunload", ask);
  }, [hasUnsent]);

  const leave = () => {
    if (!hasUnsent || window.confirm("What you wrote is not sent yet and will be lost. Leave anyway?")) onLeave();
  };

  return (
    <div className="room">
      <header>
        <h1>Chat</h1>
        <People people={snapshot.people} client={chat.client} />
        <button type="button" className="quiet" onClick={leave}>
          Leave
        </button>
      </header>
      <main>
        <div className="facts" data-state={connection.name}>
          <ConnectionStatus state={connection} onRetry={() => chat.retryNow()} />
          <p
            className="median"
            data-testid="median"
            title={`From sending to coming back: the median of your last ${deliveryCount}`}
          >
            {deliveryMedianMs === undefined ? "No delivery yet" : `Delivery ${formatMs(deliveryMedianMs)}`}
          </p>
        </div>
        {load !== undefined && <LoadPanel load={load} />}
        <MessageList snapshot={snapshot} chat={chat} />
      </main>
      <footer>
        <Composer chat={chat} />
      </footer>
    </div>
  );
}

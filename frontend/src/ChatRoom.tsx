import { memo, useEffect, useLayoutEffect, useSyncExternalStore } from "react";
import { Composer } from "./Composer";
import { ConnectionStatus } from "./ConnectionStatus";
import type { Chat } from "./chat";
import { formatMs, median } from "./delivery";
import { LoadPanel } from "./LoadPanel";
import { MessageList } from "./MessageList";
import type { Person } from "./presence";

/** The conversation and everything around it. */
export function ChatRoom({ chat, onLeave }: { chat: Chat; onLeave: () => void }) {
  const snapshot = useSyncExternalStore(chat.subscribe, chat.getSnapshot);
  const { connection, outbox, deliveriesMs, load } = snapshot;
  const medianMs = median(deliveriesMs);

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
            title={`From sending to coming back: the median of your last ${deliveriesMs.length}`}
          >
            {medianMs === undefined ? "No delivery yet" : `Delivery ${formatMs(medianMs)}`}
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

/** How many are here and, opened, who. */
const People = memo(function People({ people, client }: { people: readonly Person[]; client: string }) {
  return (
    <>
      <button type="button" className="quiet" data-testid="people" popoverTarget="people">
        {people.length === 1 ? "1 person" : `${people.length} people`}
      </button>
      <ul id="people" popover="auto" aria-label="People">
        {people.map((person) => (
          <li key={person.client}>
            <bdi>{person.name}</bdi>
            {person.client === client && " (you)"}
          </li>
        ))}
      </ul>
    </>
  );
});

import type { Chat } from "./chat";
import { MessageText } from "./MessageText";
import type { OutboxMessage } from "./outbox";

/** One message of this page that has not come back yet: on its way, or queued until there is a connection. */
export function PendingMessage({
  message,
  chat,
  isConnected,
}: {
  message: OutboxMessage;
  chat: Chat;
  isConnected: boolean;
}) {
  const isFailed = message.status === "failed";
  const isQueued = isFailed || !isConnected;
  return (
    <div className="row own">
      <article className="pending" data-testid={isQueued ? "queued" : "sending"} data-status={message.status}>
        <MessageText text={message.text} />
        <p className="fate">
          {describe(message, isConnected)}
          {isFailed && (
            <button type="button" className="quiet" onClick={() => chat.sendAgain(message.id)}>
              Try again
            </button>
          )}
          {isQueued && (
            <button type="button" className="quiet" onClick={() => chat.discard(message.id)}>
              Discard
            </button>
          )}
        </p>
      </article>
    </div>
  );
}

function describe({ status }: OutboxMessage, isConnected: boolean): string {
  if (status === "failed") return "Tried several times, never confirmed";
  if (isConnected) return "Sending…";
  return status === "waiting" ? "Waiting to be sent" : "Not confirmed, will be sent again";
}

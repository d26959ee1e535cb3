import { MessageText } from "./MessageText";
import type { OutboxMessage } from "./outbox";

interface Props {
  message: OutboxMessage;
  startsGroup: boolean;
  isConnected: boolean;
  onTryAgain: () => void;
  onDiscard: () => void;
}

/**
 * One message of this page that has not come back yet. On its way it looks just as it will when it has arrived, so that
 * nothing moves then; queued, it says so and can be discarded.
 */
export function PendingMessage({ message, startsGroup, isConnected, onTryAgain, onDiscard }: Props) {
  const isFailed = message.status === "failed";
  const isQueued = isFailed || message.status === "refused" || !isConnected;
  return (
    <div className={startsGroup ? "row own first" : "row own"}>
      <article className={isQueued ? "queued" : ""} data-testid={isQueued ? "queued" : "sending"}>
        {startsGroup && <p className="author">You</p>}
        <MessageText text={message.text} />
        <p className="fate">
          {describe(message, isConnected)}
          {isFailed && (
            <button type="button" className="quiet" onClick={onTryAgain}>
              Try again
            </button>
          )}
          {isQueued && (
            <button type="button" className="quiet" onClick={onDiscard}>
              Discard
            </button>
          )}
        </p>
      </article>
    </div>
  );
}

function describe({ status }: OutboxMessage, isConnected: boolean): string {
  if (status === "refused") return "Too long for the server, which closed the connection; not sent again";
  if (status === "failed") return "Tried several times, never confirmed";
  if (isConnected) return "Sending…";
  return status === "waiting" ? "Waiting to be sent" : "Not confirmed, will be sent again";
}

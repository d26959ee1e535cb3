import Linkify from "linkify-react";
import { memo, useState } from "react";
import { formatMs } from "./delivery";
import type { OutboxMessage } from "./outbox";
import type { Entry } from "./timeline";

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** One message as it arrived. */
export const Message = memo(function Message({ entry, startsGroup }: { entry: Entry; startsGroup: boolean }) {
  const { own = false, deliveryMs } = entry;
  return (
    <div className={`row ${own ? "own" : "other"} ${startsGroup ? "first" : ""}`}>
      <article data-testid="message" data-own={own} data-kind={entry.kind}>
        {startsGroup && (
          <p className="author">
            <bdi>{author(entry)}</bdi>{" "}
            <time dateTime={new Date(entry.receivedAt).toISOString()} title={moment.format(entry.receivedAt)}>
              {clock.format(entry.receivedAt)}
            </time>
          </p>
        )}
        <MessageText text={entry.text} />
        {deliveryMs !== undefined && (
          <p className="delivery" data-testid="delivery" title="From sending until it came back from the cloud">
            {formatMs(deliveryMs)}
          </p>
        )}
      </article>
    </div>
  );
});

function author({ kind, own, name }: Entry): string | undefined {
  if (kind === "chat") return own ? "You" : name;
  return kind === "plain" ? "Plain text" : "Error from the cloud";
}

interface PendingProps {
  message: OutboxMessage;
  startsGroup: boolean;
  isConnected: boolean;
  onTryAgain: () => void;
  onDiscard: () => void;
}

/**
 * One message of this page that has not come back yet. On its way it already looks as it will on arrival, so that
 * nothing moves then; queued, it says so and can be discarded.
 */
export function PendingMessage({ message, startsGroup, isConnected, onTryAgain, onDiscard }: PendingProps) {
  const isFailed = message.status === "failed";
  const isQueued = isFailed || message.status === "refused" || !isConnected;
  return (
    <div className={startsGroup ? "row own first" : "row own"}>
      <article className={isQueued ? "queued" : ""} data-testid={isQueued ? "queued" : "sending"}>
        {startsGroup && <p className="author">You</p>}
        <MessageText text={message.text} />
        <p className="fate">
          {fate(message, isConnected)}
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

function fate({ status }: OutboxMessage, isConnected: boolean): string {
  if (status === "refused") return "Too long for the server, which closed the connection; not sent again";
  if (status === "failed") return "Tried several times, never confirmed";
  if (isConnected) return "Sending…";
  return status === "waiting" ? "Waiting to be sent" : "Not confirmed, will be sent again";
}

const LINKS = {
  defaultProtocol: "https",
  // Everything but the web stays text: javascript:, data:, mail addresses and the rest.
  validate: (value: string, type: string) => type === "url" && !/^(?!https?:)[a-z][a-z0-9+.-]*:/i.test(value),
  rel: "noopener noreferrer nofollow ugc",
  target: "_blank",
};

/** A longer text is shown folded, so that it does not push the conversation out of view. */
const LONG_CHARACTERS = 3000;

/** What someone said: data, in which only web addresses become more than text. */
export const MessageText = memo(function MessageText({ text }: { text: string }) {
  const [isFolded, setIsFolded] = useState(text.length > LONG_CHARACTERS);
  return (
    <>
      <p className={isFolded ? "text folded" : "text"} dir="auto">
        <Linkify options={LINKS}>{text}</Linkify>
      </p>
      {isFolded && (
        <button type="button" className="quiet" onClick={() => setIsFolded(false)}>
          Show all {Math.round(text.length / 1000)},000 characters
        </button>
      )}
    </>
  );
});

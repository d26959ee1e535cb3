import { memo } from "react";
import { formatMs } from "./delivery";
import { MessageText } from "./MessageText";
import type { Entry } from "./timeline";

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** One message as it arrived. */
export const Message = memo(function Message({ entry, startsGroup }: { entry: Entry; startsGroup: boolean }) {
  const own = entry.kind === "chat" && entry.own;
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
        {own && entry.deliveryMs !== undefined && (
          <p className="delivery" data-testid="delivery" title="From sending until it came back from the cloud">
            {formatMs(entry.deliveryMs)}
          </p>
        )}
      </article>
    </div>
  );
});

function author(entry: Entry): string {
  if (entry.kind === "chat") return entry.own ? "You" : entry.name;
  return entry.kind === "plain" ? "Plain text" : "Error from the cloud";
}

import { useLayoutEffect, useMemo, useRef, useState } from "react";
import { VList, type VListHandle } from "virtua";
import type { Chat, Snapshot } from "./chat";
import { Message } from "./Message";
import type { OutboxMessage } from "./outbox";
import { PendingMessage } from "./PendingMessage";
import type { Entry } from "./timeline";

/** Closer to the end than this counts as being there. */
const END_PX = 40;

type Row = { entry: Entry; startsGroup: boolean } | { pending: OutboxMessage; startsGroup: boolean };

/** The conversation, of which only what is in view is built. It follows the newest message unless the reader scrolled up. */
export function MessageList({ snapshot, chat }: { snapshot: Snapshot; chat: Chat }) {
  const { entries, trimmed, trimmedCount, outbox, connection } = snapshot;
  const conversation = useRef<HTMLDivElement>(null);
  const list = useRef<VListHandle>(null);
  const lastOffset = useRef(0);
  /** How many messages there had been when the reader scrolled up; undefined while the newest is in view. */
  const [leftAt, setLeftAt] = useState<number>();
  const rows = useMemo(() => toRows(entries, outbox), [entries, outbox]);
  const total = trimmedCount + entries.length;
  const unseen = leftAt === undefined ? 0 : total - leftAt;

  const toEnd = () => list.current?.scrollToIndex(rows.length - 1, { align: "end" });
  useLayoutEffect(() => {
    if (leftAt === undefined) toEnd();
  }, [rows, leftAt]);

  // What this person says is always shown.
  const newestPending = outbox.at(-1)?.id;
  useLayoutEffect(() => {
    if (newestPending !== undefined) setLeftAt(undefined);
  }, [newestPending]);

  /** For a button that goes away when it is pressed, so that the keyboard does not lose its place. */
  const focusLog = () => conversation.current?.querySelector<HTMLElement>("[role=log]")?.focus();

  const showNewest = () => {
    setLeftAt(undefined);
    focusLog();
  };

  const scrolled = (offset: number) => {
    const { scrollSize = 0, viewportSize = 0 } = list.current ?? {};
    const isAtEnd = offset + viewportSize >= scrollSize - END_PX;
    // Only a movement upwards is the reader's: the page itself moves down, and letting go of old messages is no reading.
    const isReader = offset < lastOffset.current && !trimmed;
    lastOffset.current = offset;
    if (isAtEnd) setLeftAt(undefined);
    else if (isReader) setLeftAt((before) => before ?? total);
  };

  return (
    <div className="conversation" ref={conversation}>
      <VList
        ref={list}
        className="log"
        role="log"
        aria-label="Conversation"
        // Scrolling back builds old messages anew, which are no news.
        aria-live={leftAt === undefined ? "polite" : "off"}
        tabIndex={0}
        data={rows}
        shift={trimmed}
        onScroll={scrolled}
        onResize={() => leftAt === undefined && toEnd()}
      >
        {(row) =>
          "entry" in row ? (
            <Message key={row.entry.key} entry={row.entry} startsGroup={row.startsGroup} />
          ) : (
            <PendingMessage
              key={row.pending.id}
              message={row.pending}
              startsGroup={row.startsGroup}
              isConnected={connection.name === "connected"}
              onTryAgain={() => chat.sendAgain(row.pending.id)}
              onDiscard={() => {
                chat.discard(row.pending.id);
                focusLog();
              }}
            />
          )
        }
      </VList>
      {rows.length === 0 && <p className="empty">Nothing has been said yet. Say hello!</p>}
      {unseen > 0 && (
        <button type="button" className="new-messages" data-testid="new-messages" onClick={showNewest}>
          {unseen === 1 ? "1 new message" : `${unseen} new messages`}
        </button>
      )}
    </div>
  );
}

function toRows(entries: readonly Entry[], outbox: readonly OutboxMessage[]): Row[] {
  const newest = entries.at(-1);
  const isOwnNewest = newest?.kind === "chat" && newest.own;
  return [
    ...entries.map((entry, index) => ({ entry, startsGroup: entry.startsGroup || index === 0 })),
    ...outbox.map((pending, index) => ({ pending, startsGroup: index === 0 && !isOwnNewest })),
  ];
}

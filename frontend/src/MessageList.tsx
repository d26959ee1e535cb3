import { useCallback, useLayoutEffect, useMemo, useRef, useState } from "react";
import { VList, type VListHandle } from "virtua";
import type { Chat, Snapshot } from "./chat";
import { Message, PendingMessage } from "./Message";

/** A reader who scrolls down to this distance from the end follows the newest message again. */
const NEAR_END_PX = 40;
/** Scroll positions are not whole pixels. */
const AT_END_PX = 2;

/** The conversation; only the rows in view are built. It follows the newest message unless the reader scrolled up. */
export function MessageList({ snapshot, chat }: { snapshot: Snapshot; chat: Chat }) {
  const { entries, messageCount, trimmed, outbox, connection } = snapshot;
  const conversation = useRef<HTMLDivElement>(null);
  const list = useRef<VListHandle>(null);
  const lastOffset = useRef(0);
  /** Beside the state: React may show the next messages before it has taken over a new state. */
  const isFollowing = useRef(true);
  /** How many messages there had been when the reader scrolled up; undefined while the list follows the newest. */
  const [leftAt, setLeftAt] = useState<number>();
  const rows = useMemo(() => [...entries, ...outbox], [entries, outbox]);
  const unseen = leftAt === undefined ? 0 : messageCount - leftAt;

  const findLog = () => conversation.current?.querySelector<HTMLElement>("[role=log]");
  /** After a press on a button that then vanishes, so that the keyboard does not lose its place. */
  const focusLog = () => findLog()?.focus();

  const follow = useCallback(() => {
    isFollowing.current = true;
    setLeftAt(undefined);
  }, []);
  const toEndIfFollowing = () => {
    // The list's own scrollToIndex goes on for a while, and would undo what the reader does meanwhile.
    const log = findLog();
    if (!isFollowing.current || !log) return;
    log.scrollTop = log.scrollHeight;
    lastOffset.current = log.scrollTop;
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: it runs whenever the rows change, but reads none of them
  useLayoutEffect(toEndIfFollowing, [rows, leftAt]);

  // What this person says is always shown.
  const newestPending = outbox.at(-1)?.id;
  useLayoutEffect(() => {
    if (newestPending !== undefined) follow();
  }, [newestPending, follow]);

  const showNewest = () => {
    follow();
    focusLog();
  };

  const scrolled = (offset: number) => {
    const { scrollSize = 0, viewportSize = 0 } = list.current ?? {};
    const toEndPx = scrollSize - viewportSize - offset;
    const isUpwards = offset < lastOffset.current;
    lastOffset.current = offset;
    if (toEndPx <= (isUpwards ? AT_END_PX : NEAR_END_PX)) {
      follow();
    } else if (isUpwards && !trimmed && isFollowing.current) {
      // Only the reader scrolls upwards. The page itself scrolls down, or moves while it drops old messages.
      isFollowing.current = false;
      setLeftAt(messageCount);
    }
  };

  return (
    <div className="conversation" ref={conversation}>
      <VList
        ref={list}
        className="log"
        role="log"
        aria-label="Conversation"
        // Scrolling back builds old messages again, which are not news.
        aria-live={leftAt === undefined ? "polite" : "off"}
        tabIndex={0}
        data={rows}
        shift={trimmed}
        onScroll={scrolled}
        onResize={toEndIfFollowing}
      >
        {(row, index) =>
          "key" in row ? (
            <Message key={row.key} entry={row} startsGroup={row.startsGroup || index === 0} />
          ) : (
            <PendingMessage
              key={row.id}
              message={row}
              startsGroup={index === entries.length && !entries.at(-1)?.own}
              isConnected={connection.name === "connected"}
              onTryAgain={() => chat.sendAgain(row.id)}
              onDiscard={() => {
                chat.discard(row.id);
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

/** The messages that are shown, in the order in which the cloud delivered them, within bounds. */

/** After letting go of the oldest, this many messages are kept. */
export const MESSAGES_KEPT = 2000;
/** Letting go of many now and then, instead of one for each that arrives, keeps the list from moving all the time. */
const SLACK = 500;
/** A few thousand messages of 128 KB would be too much as well. */
const CHARACTERS_KEPT = 16_000_000;
const GROUP_GAP_MS = 3 * 60_000;
const IDS_KEPT = 10_000;

interface EntryBase {
  key: string;
  text: string;
  receivedAt: number;
  /** Whether this one begins a group, and so carries author and time. */
  startsGroup: boolean;
}

/** What a person said. */
export interface ChatEntry extends EntryBase {
  kind: "chat";
  client: string;
  name: string;
  own: boolean;
  deliveryMs: number | undefined;
}

/** Text of a client that does not speak the wire format, or a word from the cloud itself. */
export interface OtherEntry extends EntryBase {
  kind: "plain" | "cloud-error";
}

/** One line of the conversation. */
export type Entry = ChatEntry | OtherEntry;
/** An entry that has no place in the timeline yet. */
export type NewEntry = Omit<ChatEntry, "startsGroup" | "key"> | Omit<OtherEntry, "startsGroup" | "key">;

/** The messages that are shown. */
export class Timeline {
  #entries: Entry[] = [];
  #pending: Entry[] = [];
  #characters = 0;
  #appended = 0;
  readonly #seenIds = new Set<string>();

  /** True the first time that an id is seen. */
  isNew(id: string): boolean {
    if (this.#seenIds.has(id)) return false;
    this.#seenIds.add(id);
    const [oldest] = this.#seenIds;
    if (this.#seenIds.size > IDS_KEPT && oldest !== undefined) this.#seenIds.delete(oldest);
    return true;
  }

  /** Puts an entry at the end, to be shown with the next list. */
  append(entry: NewEntry, key = `entry-${this.#appended}`): void {
    this.#appended += 1;
    this.#characters += entry.text.length;
    const previous = this.#pending.at(-1) ?? this.#entries.at(-1);
    this.#pending.push({ ...entry, key, startsGroup: !continuesGroup(previous, entry) });
  }

  /**
   * The list to show next. It changes at one end only, which the windowed list needs in order to keep the reading position:
   * either the oldest are let go (`trimmed`) or new ones are added. Where it is not settled, it has to be asked for again.
   */
  next(): { entries: readonly Entry[]; trimmed: boolean; isSettled: boolean } {
    const excess = this.#excess();
    if (excess > 0) {
      const [gone, kept] = [this.#entries.slice(0, excess), this.#entries.slice(excess)];
      this.#characters -= gone.reduce((sum, entry) => sum + entry.text.length, 0);
      this.#entries = kept;
      return { entries: kept, trimmed: true, isSettled: false };
    }
    if (this.#pending.length === 0) return { entries: this.#entries, trimmed: false, isSettled: true };
    // A tab in the background can fall behind by more than what is kept.
    const skipped = this.#pending.splice(0, Math.max(0, this.#pending.length - MESSAGES_KEPT));
    this.#characters -= skipped.reduce((sum, entry) => sum + entry.text.length, 0);
    this.#entries = [...this.#entries, ...this.#pending];
    this.#pending = [];
    return { entries: this.#entries, trimmed: false, isSettled: this.#excess() === 0 };
  }

  #excess(): number {
    const length = this.#entries.length;
    if (length > MESSAGES_KEPT + SLACK) return length - MESSAGES_KEPT;
    let excess = 0;
    let characters = this.#characters;
    while (characters > CHARACTERS_KEPT && excess < length) {
      characters -= this.#entries[excess]?.text.length ?? 0;
      excess += 1;
    }
    return excess;
  }
}

/** Whether an entry belongs to the group of the one before: the same author, and soon after. */
function continuesGroup(previous: Entry | undefined, next: NewEntry): boolean {
  if (previous === undefined || previous.kind !== next.kind) return false;
  if (next.receivedAt - previous.receivedAt > GROUP_GAP_MS) return false;
  if (previous.kind !== "chat" || next.kind !== "chat") return true;
  return previous.client === next.client && previous.name === next.name;
}

/** The messages that are shown, in the order in which the cloud delivered them, within bounds. */

/** After the oldest are dropped, this many messages are left. */
export const MESSAGES_KEPT = 2000;
/** Dropping many now and then, instead of one for each that arrives, keeps the list from moving all the time. */
const SLACK = 500;
/** A few thousand messages of 128 KB would be too much as well. */
const CHARACTERS_KEPT = 16_000_000;
const GROUP_GAP_MS = 3 * 60_000;
const IDS_KEPT = 10_000;

/** One message that is shown. `client`, `name`, `own` and `deliveryMs` are those of the kind `chat` only. */
export interface Entry {
  key: string;
  /** `plain` is text of a client that does not speak the wire format, `cloud-error` an error of the cloud itself. */
  kind: "chat" | "plain" | "cloud-error";
  text: string;
  receivedAt: number;
  client?: string;
  name?: string;
  own?: boolean;
  deliveryMs?: number | undefined;
  /** Whether this one begins a group, and so carries author and time. */
  startsGroup: boolean;
}

/** What to show next. */
export interface TimelineStep {
  entries: readonly Entry[];
  /** How many messages there have been, those that are no longer shown included. */
  messageCount: number;
  /** Whether the oldest messages were dropped in this very step. */
  trimmed: boolean;
  /** False when there is a further step to show. */
  isSettled: boolean;
}

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

  /** Puts an entry at the end, to be shown with the next step. */
  append(entry: Omit<Entry, "key" | "startsGroup">, key = `entry-${this.#appended}`): void {
    this.#appended += 1;
    this.#characters += entry.text.length;
    const previous = this.#pending.at(-1) ?? this.#entries.at(-1);
    // A group is what one author says in a row, without a long pause.
    const continuesGroup =
      previous?.kind === entry.kind &&
      previous.client === entry.client &&
      previous.name === entry.name &&
      entry.receivedAt - previous.receivedAt <= GROUP_GAP_MS;
    this.#pending.push({ ...entry, key, startsGroup: !continuesGroup });
  }

  /**
   * The list to show next. It changes at one end only, or the windowed list could not keep the reading position: in one
   * step either the oldest are dropped or new ones are added.
   */
  next(): TimelineStep {
    const excess = this.#excess();
    if (excess > 0) {
      this.#forget(this.#entries.slice(0, excess));
      this.#entries = this.#entries.slice(excess);
    } else if (this.#pending.length > 0) {
      // A tab in the background can fall behind by more than what is kept.
      this.#forget(this.#pending.splice(0, Math.max(0, this.#pending.length - MESSAGES_KEPT)));
      this.#entries = [...this.#entries, ...this.#pending];
      this.#pending = [];
    }
    return {
      entries: this.#entries,
      messageCount: this.#appended - this.#pending.length,
      trimmed: excess > 0,
      isSettled: excess === 0 && this.#excess() === 0,
    };
  }

  #forget(entries: readonly Entry[]): void {
    this.#characters -= entries.reduce((sum, entry) => sum + entry.text.length, 0);
  }

  /** How many of the oldest entries are too many. */
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

import type { ConnectionState } from "./connection";
import type { LoadSummary } from "./load";
import type { OutboxMessage } from "./outbox";
import type { Person } from "./presence";
import type { Entry } from "./timeline";

/** All that the room shows, at one moment. */
export interface Snapshot {
  connection: ConnectionState;
  entries: readonly Entry[];
  /** True where the oldest messages were let go in this very step. */
  trimmed: boolean;
  /** How many of the oldest messages were let go altogether. */
  trimmedCount: number;
  outbox: readonly OutboxMessage[];
  people: readonly Person[];
  deliveryMedianMs: number | undefined;
  deliveryCount: number;
  load: LoadSummary | undefined;
}

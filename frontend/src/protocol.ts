/**
 * The wire format of docs/protocol.md: turning frames into messages and messages into frames.
 *
 * Someone else wrote what arrives, and the server checks none of it. So `parse` never throws, and accepts only
 * messages of exactly the documented shape; the rest is plain text.
 */

/** API Gateway's limit for one WebSocket frame. A message may have several, but a browser sends each text as one. */
export const MAX_FRAME_BYTES = 32_768;
export const MAX_NAME_LENGTH = 40;
const MAX_ID_LENGTH = 64;
/** The largest time that a `Date` can hold. */
const MAX_TIME_MS = 8.64e15;

/** Something a person said. */
export interface ChatMessage {
  type: "chat";
  id: string;
  client: string;
  name: string;
  text: string;
  sent_at: number;
}

/** Who comes, is here, or goes. */
export interface PresenceMessage {
  type: "presence";
  client: string;
  name: string;
  state: "join" | "here" | "leave";
}

/** One broadcast of the load test. Its other fields are of use only to the test itself. */
export interface LoadMessage {
  type: "load";
  run: string;
  id: number;
}

/**
 * Everything else: `plain` is a frame as it came, `cloud-error` API Gateway's own answer when a route's integration
 * failed or is missing, which only the sender gets.
 */
export interface OtherMessage {
  type: "plain" | "cloud-error";
  text: string;
}

/** What a frame can turn out to be. */
export type Received = ChatMessage | PresenceMessage | LoadMessage | OtherMessage;

/** Counts an emoji of two UTF-16 units as one character. */
export function characterCount(text: string): number {
  return [...text].length;
}

/** The size of a frame in bytes of UTF-8. */
export function frameBytes(frame: string): number {
  return new TextEncoder().encode(frame).length;
}

/** Whether a text has nothing that can be seen. */
export function isBlank(text: string): boolean {
  // Zero-width characters alone would be an invisible message.
  return !/[^\s\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/u.test(text);
}

/** The frame of a message. */
export function serialise(message: ChatMessage | PresenceMessage): string {
  return JSON.stringify(message);
}

/** The message that a frame holds, whatever the frame is. */
export function parse(frame: string): Received {
  const plain: OtherMessage = { type: "plain", text: frame };
  const fields = parseObject(frame);
  if (fields === undefined) return plain;
  switch (fields.type) {
    case "chat":
      return parseChat(fields) ?? plain;
    case "presence":
      return parsePresence(fields) ?? plain;
    case "load":
      return parseLoad(fields) ?? plain;
    default:
      return parseCloudError(fields) ?? plain;
  }
}

type Fields = Record<string, unknown>;

function parseObject(frame: string): Fields | undefined {
  if (!frame.trimStart().startsWith("{")) return undefined;
  try {
    return JSON.parse(frame) as Fields;
  } catch {
    return undefined;
  }
}

function parseChat({ id, client, name, text, sent_at }: Fields): ChatMessage | undefined {
  if (!isId(id) || !isId(client) || !isName(name)) return undefined;
  if (typeof text !== "string" || isBlank(text)) return undefined;
  if (!Number.isInteger(sent_at) || Math.abs(sent_at as number) > MAX_TIME_MS) return undefined;
  return { type: "chat", id, client, name, text, sent_at: sent_at as number };
}

function parsePresence({ client, name, state }: Fields): PresenceMessage | undefined {
  if (!isId(client) || !isName(name)) return undefined;
  if (state !== "join" && state !== "here" && state !== "leave") return undefined;
  return { type: "presence", client, name, state };
}

function parseLoad({ run, id }: Fields): LoadMessage | undefined {
  return typeof run === "string" && Number.isInteger(id) ? { type: "load", run, id: id as number } : undefined;
}

function parseCloudError({ message, connectionId, requestId }: Fields): OtherMessage | undefined {
  const isCloudError = typeof message === "string" && typeof connectionId === "string" && typeof requestId === "string";
  return isCloudError ? { type: "cloud-error", text: message } : undefined;
}

function isId(value: unknown): value is string {
  return typeof value === "string" && value.length >= 1 && value.length <= MAX_ID_LENGTH;
}

function isName(value: unknown): value is string {
  // The cheap test first: no name of 40 characters has more than 80 UTF-16 units.
  if (typeof value !== "string" || value.length > 2 * MAX_NAME_LENGTH) return false;
  return !isBlank(value) && characterCount(value) <= MAX_NAME_LENGTH;
}

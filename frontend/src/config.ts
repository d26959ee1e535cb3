/** Where the page's WebSocket goes: read at build time from `REACT_APP_WEBSOCKET_URL`. */

/** For a page that was built without a URL. */
export const DEFAULT_WEBSOCKET_URL = "ws://localhost:8080";

const EXAMPLE = "wss://API-ID.execute-api.REGION.amazonaws.com/production";

/** A WebSocket URL that can be used, and the http(s) origin of its server. */
export interface Endpoint {
  ok: true;
  url: URL;
  httpOrigin: string;
}

/** What is wrong with a URL, and what to set. */
export interface Misconfiguration {
  ok: false;
  problem: string;
  remedy: string;
}

/** Checks the URL that the page was built with. An unset or blank one means the default on this machine. */
export function readWebSocketUrl(value: string | undefined): Endpoint | Misconfiguration {
  const given = value?.trim() ?? "";
  const text = given === "" ? DEFAULT_WEBSOCKET_URL : given;
  const url = URL.canParse(text) ? new URL(text) : undefined;

  if (url === undefined || !["ws:", "wss:"].includes(url.protocol)) {
    const web = /^http(s?):\/\/(.*)$/i.exec(text);
    const example = web ? `ws${web[1]}://${web[2]?.replace(/\/?@connections\/?$/, "")}` : EXAMPLE;
    return {
      ok: false,
      problem: `This page was built with REACT_APP_WEBSOCKET_URL set to “${text}”, which is not a WebSocket URL.`,
      remedy: `Set REACT_APP_WEBSOCKET_URL to a ws:// or wss:// URL, for example ${example}, and build the page again.`,
    };
  }
  if (url.hash !== "") {
    return {
      ok: false,
      problem: `This page was built with REACT_APP_WEBSOCKET_URL set to “${text}”, but a WebSocket URL can’t have a “#”.`,
      remedy: `Set REACT_APP_WEBSOCKET_URL to ${text.slice(0, text.indexOf("#"))} and build the page again.`,
    };
  }
  return { ok: true, url, httpOrigin: url.origin.replace(/^ws/, "http") };
}

/**
 * The socket's URL with the room's key, if the page's own address has one after its “#”: `#key=…`. A browser sends that
 * part of an address to no server, so neither S3 nor its logs learn the key.
 */
export function withRoomKey(url: URL, fragment: string): URL {
  const key = new URLSearchParams(fragment.replace(/^#/, "")).get("key");
  if (key === null) return url;
  const keyed = new URL(url);
  keyed.searchParams.set("key", key);
  return keyed;
}

import { expect, it } from "vitest";
import { policy } from "../content-security-policy";
import { DEFAULT_WEBSOCKET_URL, readWebSocketUrl, withRoomKey } from "../src/config";

it.each([undefined, " "])("goes to this machine when the URL is %j", (value) => {
  const target = readWebSocketUrl(value);
  expect(target.ok && target.url.href).toBe(`${DEFAULT_WEBSOCKET_URL}/`);
});

it.each([
  ["https://a.example/production/@connections", "wss://a.example/production"],
  ["http://a.example/p", "ws://a.example/p"],
  ["a.example/production", "wss://API-ID.execute-api.REGION.amazonaws.com/production"],
  ["wss://a.example/p#here", "wss://a.example/p"],
])("says what to set instead of %s", (value, remedy) => {
  const target = readWebSocketUrl(value);
  expect(!target.ok && target.problem).toContain(value);
  expect(!target.ok && target.remedy).toContain(`REACT_APP_WEBSOCKET_URL to `);
  expect(!target.ok && target.remedy).toContain(`${remedy}`);
});

it.each([
  ["#somewhere", "wss://a.example/p"],
  ["#room=1&key=a%26b", "wss://a.example/p?key=a%26b"],
])("takes the room's key from the page's fragment %j alone", (fragment, url) => {
  expect(withRoomKey(new URL("wss://a.example/p"), fragment).href).toBe(url);
});

it.each([
  [
    "wss://a1b2c3.execute-api.eu-central-1.amazonaws.com/production",
    "wss://a1b2c3.execute-api.eu-central-1.amazonaws.com https://a1b2c3.execute-api.eu-central-1.amazonaws.com",
  ],
  ["ws://127.0.0.1:4566/_aws/execute-api/a1b2c3/production", "ws://127.0.0.1:4566 http://127.0.0.1:4566"],
  ["https://a.example/production", "'none'"],
])("allows the page built with %s to speak to %s alone", (url, origins) => {
  // The hash is that of the inline style, as `openssl dgst -sha256 -binary | base64` gives it.
  expect(policy(readWebSocketUrl(url), ["html { color: red }"]).split("; ")).toEqual([
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self' 'sha256-vKsDs4oCZHOqEtDRrxxtijkzQz5GJITLPPhf/zi7Bno='",
    "img-src 'self'",
    `connect-src ${origins}`,
    "base-uri 'none'",
    "form-action 'none'",
  ]);
});

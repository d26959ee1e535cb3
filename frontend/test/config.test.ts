import { expect, it } from "vitest";
import { DEFAULT_WEBSOCKET_URL, readWebSocketUrl, withRoomKey } from "../src/config";

it.each([undefined, "", "  "])("goes to this machine when the URL is %j", (value) => {
  const target = readWebSocketUrl(value);
  expect(target.ok && target.url.href).toBe(`${DEFAULT_WEBSOCKET_URL}/`);
});

it("takes ws and wss, and knows which http origin belongs to them", () => {
  expect(readWebSocketUrl("wss://a.example/production")).toMatchObject({ ok: true, httpOrigin: "https://a.example" });
  expect(readWebSocketUrl("ws://127.0.0.1:4566/x/production")).toMatchObject({
    ok: true,
    httpOrigin: "http://127.0.0.1:4566",
  });
});

it.each([
  ["https://a.example/production/@connections", "wss://a.example/production"],
  ["http://a.example/p", "ws://a.example/p"],
  ["a.example/production", "wss://API-ID.execute-api.REGION.amazonaws.com/production"],
  ["wss://a.example/p#here", "wss://a.example/p"],
])("says what to set instead of %s", (value, remedy) => {
  const target = readWebSocketUrl(value);
  expect(!target.ok && target.problem).toContain(value);
  expect(!target.ok && target.remedy).toContain("REACT_APP_WEBSOCKET_URL");
  expect(!target.ok && target.remedy).toContain(`${remedy}`);
});

it.each([
  ["", "wss://a.example/p"],
  ["#", "wss://a.example/p"],
  ["#somewhere", "wss://a.example/p"],
  ["#key=a-secret", "wss://a.example/p?key=a-secret"],
  ["#room=1&key=a%26b", "wss://a.example/p?key=a%26b"],
])("takes the room's key from the page's fragment %j alone", (fragment, url) => {
  expect(withRoomKey(new URL("wss://a.example/p"), fragment).href).toBe(url);
});

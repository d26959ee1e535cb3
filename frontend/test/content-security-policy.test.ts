import { expect, it } from "vitest";
import { policy } from "../content-security-policy";
import { readWebSocketUrl } from "../src/config";

it.each([
  [
    "wss://a1b2c3.execute-api.eu-central-1.amazonaws.com/production",
    "wss://a1b2c3.execute-api.eu-central-1.amazonaws.com https://a1b2c3.execute-api.eu-central-1.amazonaws.com",
  ],
  ["ws://127.0.0.1:4566/_aws/execute-api/a1b2c3/production", "ws://127.0.0.1:4566 http://127.0.0.1:4566"],
  [undefined, "ws://localhost:8080 http://localhost:8080"],
  ["https://a.example/production", "'none'"],
])("allows the page built with %s to speak to %s alone", (url, origins) => {
  const directives = policy(readWebSocketUrl(url), []).split("; ");
  expect(directives).toContain(`connect-src ${origins}`);
  expect(directives[0]).toBe("default-src 'none'");
  expect(directives.filter((directive) => /unsafe|\*|https?:$/.test(directive))).toEqual([]);
});

it("takes the inline styles that it is given, by their hashes", () => {
  expect(policy(readWebSocketUrl(undefined), ["html { color: red }"])).toContain(
    "style-src 'self' 'sha256-vKsDs4oCZHOqEtDRrxxtijkzQz5GJITLPPhf/zi7Bno=';",
  );
});

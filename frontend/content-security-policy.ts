import { createHash } from "node:crypto";
import type { Plugin } from "vite";
import type { Endpoint, Misconfiguration } from "./src/config.ts";

/**
 * The policy of a page with this WebSocket and these inline styles: the page takes scripts, styles and pictures from
 * its own folder, speaks to its own endpoint, and does nothing else.
 */
export function policy(target: Endpoint | Misconfiguration, inlineStyles: readonly string[]): string {
  // The page asks the endpoint's http(s) origin one thing only: whether anything answers there (see connection.ts).
  const connect = target.ok ? `${target.url.origin} ${target.httpOrigin}` : "'none'";
  const hashes = inlineStyles.map((style) => ` 'sha256-${createHash("sha256").update(style).digest("base64")}'`);
  return [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'self'${hashes.join("")}`,
    "img-src 'self'",
    `connect-src ${connect}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
}

/** Puts the policy into the built page itself, since S3 sends no header of your choice. */
export function contentSecurityPolicy(target: Endpoint | Misconfiguration): Plugin {
  return {
    name: "content-security-policy",
    // Vite's development server needs inline scripts, so the policy is for the built page.
    apply: "build",
    transformIndexHtml: {
      order: "post",
      handler(html) {
        // The one inline style sets the background before the style sheet comes: a dark page never flashes light.
        const inlineStyles = [...html.matchAll(/<style>(.*?)<\/style>/gs)].map(([, style = ""]) => style);
        const attrs = { "http-equiv": "Content-Security-Policy", content: policy(target, inlineStyles) };
        return [{ tag: "meta", attrs, injectTo: "head-prepend" }];
      },
    },
  };
}

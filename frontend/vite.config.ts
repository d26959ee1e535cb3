import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { loadEnv, type Plugin } from "vite";
import { defineConfig } from "vitest/config";
import { readWebSocketUrl } from "./src/config.ts";

const BUNDLE_LIMIT_BYTES = 100_000;

/** Forbids the built page to talk to anything but its own folder and its own WebSocket endpoint. */
function contentSecurityPolicy(webSocketUrl: string | undefined): Plugin {
  const target = readWebSocketUrl(webSocketUrl);
  // The endpoint's http(s) origin is there for one question only: whether anything answers at all (see probe.ts).
  const connect = target.ok ? `${target.url.origin} ${target.httpOrigin}` : "'none'";
  return {
    name: "content-security-policy",
    // Vite's development server needs inline scripts, so the policy is for the built page.
    apply: "build",
    transformIndexHtml: {
      order: "post",
      handler(html) {
        // The one inline style has the page's background before the style sheet arrives, so that dark never flashes light.
        const styles = [...html.matchAll(/<style>(.*?)<\/style>/gs)]
          .map(([, style = ""]) => `'sha256-${createHash("sha256").update(style).digest("base64")}'`)
          .join(" ");
        const content = [
          "default-src 'none'",
          "script-src 'self'",
          `style-src 'self' ${styles}`,
          "img-src 'self'",
          `connect-src ${connect}`,
          "base-uri 'none'",
          "form-action 'none'",
        ].join("; ");
        const attrs = { "http-equiv": "Content-Security-Policy", content };
        return [{ tag: "meta", attrs, injectTo: "head-prepend" }];
      },
    },
  };
}

/** Prints what a first visit downloads, gzipped, and fails the build when that has grown past the limit. */
function bundleSize(): Plugin {
  let folder = "";
  return {
    name: "bundle-size",
    apply: "build",
    configResolved(config) {
      folder = resolve(config.root, config.build.outDir);
    },
    closeBundle() {
      const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
      const bytes = files
        .map((entry) => gzipSync(readFileSync(join(entry.parentPath, entry.name))).length)
        .reduce((sum, size) => sum + size, 0);
      const total = `${(bytes / 1000).toFixed(1)} KB gzipped in ${files.length} files`;
      if (bytes >= BUNDLE_LIMIT_BYTES) {
        throw new Error(`The page is ${total}; the limit is ${BUNDLE_LIMIT_BYTES / 1000} KB.`);
      }
      console.log(`Total: ${total} (limit ${BUNDLE_LIMIT_BYTES / 1000} KB)`);
    },
  };
}

export default defineConfig(({ mode }) => {
  const environment = loadEnv(mode, import.meta.dirname, "REACT_APP_");
  return {
    // S3 serves the page from below a bucket's name, so no path may begin at the root.
    base: "./",
    envPrefix: "REACT_APP_",
    plugins: [react(), contentSecurityPolicy(environment["REACT_APP_WEBSOCKET_URL"]), bundleSize()],
    build: {
      outDir: process.env["BUILD_PATH"] ?? "build",
      emptyOutDir: true, // also where it is outside of this folder
      assetsInlineLimit: 0,
      modulePreload: false,
      reportCompressedSize: false,
    },
    server: { host: "127.0.0.1" },
    test: {
      environment: "jsdom",
      include: ["test/**/*.test.{ts,tsx}"],
      setupFiles: ["test/setup.ts"],
    },
  };
});

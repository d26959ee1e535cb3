import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { loadEnv, type Plugin } from "vite";
import { defineConfig } from "vitest/config";
import { contentSecurityPolicy } from "./content-security-policy.ts";
import { readWebSocketUrl } from "./src/config.ts";

const BUNDLE_LIMIT_BYTES = 100_000;

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
  const target = readWebSocketUrl(loadEnv(mode, import.meta.dirname, "REACT_APP_").REACT_APP_WEBSOCKET_URL);
  return {
    // S3 serves the page from below a bucket's name, so no path may begin at the root.
    base: "./",
    envPrefix: "REACT_APP_",
    plugins: [react(), contentSecurityPolicy(target), bundleSize()],
    build: {
      outDir: process.env.BUILD_PATH ?? "build",
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
      isolate: false,
    },
  };
});

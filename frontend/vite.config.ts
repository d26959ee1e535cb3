import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { loadEnv, type Plugin } from "vite";
import { defineConfig } from "vitest/config";
import { contentSecurityPolicy } from "./content-security-policy.ts";
import { readWebSocketUrl } from "./src/config.ts";

const BUNDLE_LIMIT_BYTES = 100_000;

/** Prints what a first visit downloads, gzipped, and fails the build if that has grown past the limit. */
function bundleSize(): Plugin {
  return {
    name: "bundle-size",
    apply: "build",
    writeBundle(_, bundle) {
      const files = Object.values(bundle).map((file) => (file.type === "chunk" ? file.code : file.source));
      const bytes = files.reduce((sum, file) => sum + gzipSync(file).length, 0);
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
      emptyOutDir: true, // also if it is outside of this folder
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

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App";
import { readWebSocketUrl } from "./config";

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no element #root");

createRoot(root).render(
  <StrictMode>
    <App target={readWebSocketUrl(import.meta.env.REACT_APP_WEBSOCKET_URL)} />
  </StrictMode>,
);

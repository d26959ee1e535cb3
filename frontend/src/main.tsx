import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App";
import { readWebSocketUrl } from "./config";

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <App target={readWebSocketUrl(import.meta.env.REACT_APP_WEBSOCKET_URL)} />
  </StrictMode>,
);

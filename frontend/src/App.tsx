import { useState } from "react";
import { ChatRoom } from "./ChatRoom";
import { Chat } from "./chat";
import type { Endpoint, Misconfiguration } from "./config";
import { JoinForm } from "./JoinForm";
import { rememberName } from "./names";

/** The whole page: what to set if it was built with a wrong URL, else the way in, else the chat. */
export function App({ target }: { target: Endpoint | Misconfiguration }) {
  const [chat, setChat] = useState<Chat>();
  if (!target.ok) return <Misconfigured {...target} />;
  if (chat !== undefined) return <ChatRoom chat={chat} onLeave={() => setChat(undefined)} />;
  return (
    <JoinForm
      onJoin={(name) => {
        rememberName(name);
        setChat(new Chat(name, target));
      }}
    />
  );
}

function Misconfigured({ problem, remedy }: Misconfiguration) {
  return (
    <main className="card">
      <h1>This page can’t connect</h1>
      <div role="status" data-state="misconfigured">
        <p>{problem}</p>
        <p>{remedy}</p>
      </div>
    </main>
  );
}

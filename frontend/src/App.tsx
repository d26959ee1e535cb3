import { useState } from "react";
import { ChatRoom } from "./ChatRoom";
import { Chat } from "./chat";
import type { WebSocketTarget } from "./config";
import { browserEnvironment } from "./environment";
import { JoinForm } from "./JoinForm";
import { Misconfigured } from "./Misconfigured";
import { rememberName } from "./names";

/** The whole page: what to set when it was built with a wrong URL, else the way in, else the chat. */
export function App({ target }: { target: WebSocketTarget }) {
  const [chat, setChat] = useState<Chat>();
  if (!target.ok) return <Misconfigured {...target} />;
  if (chat !== undefined) return <ChatRoom chat={chat} onLeave={() => setChat(undefined)} />;
  return (
    <JoinForm
      onJoin={(name) => {
        rememberName(name);
        setChat(new Chat(name, browserEnvironment(target)));
      }}
    />
  );
}

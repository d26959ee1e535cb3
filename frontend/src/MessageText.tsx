import Linkify from "linkify-react";
import { memo } from "react";

const LINKS = {
  defaultProtocol: "https",
  // Everything but the web stays text: javascript:, data:, mail addresses and the rest.
  validate: (value: string, type: string) => type === "url" && !/^(?!https?:)[a-z][a-z0-9+.-]*:/i.test(value),
  rel: "noopener noreferrer nofollow ugc",
  target: "_blank",
};

/** What someone said: data, in which only web addresses become more than text. */
export const MessageText = memo(function MessageText({ text }: { text: string }) {
  return (
    <p className="text" dir="auto">
      <Linkify options={LINKS}>{text}</Linkify>
    </p>
  );
});

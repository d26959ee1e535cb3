import Linkify from "linkify-react";
import { memo, useState } from "react";

const LINKS = {
  defaultProtocol: "https",
  // Everything but the web stays text: javascript:, data:, mail addresses and the rest.
  validate: (value: string, type: string) => type === "url" && !/^(?!https?:)[a-z][a-z0-9+.-]*:/i.test(value),
  rel: "noopener noreferrer nofollow ugc",
  target: "_blank",
};

/** A longer text is shown folded, so that one message does not push the conversation out of view. */
const LONG_CHARACTERS = 3000;

/** What someone said: data, in which only web addresses become more than text. */
export const MessageText = memo(function MessageText({ text }: { text: string }) {
  const [isFolded, setIsFolded] = useState(text.length > LONG_CHARACTERS);
  return (
    <>
      <p className={isFolded ? "text folded" : "text"} dir="auto">
        <Linkify options={LINKS}>{text}</Linkify>
      </p>
      {isFolded && (
        <button type="button" className="quiet" onClick={() => setIsFolded(false)}>
          Show all {Math.round(text.length / 1000)},000 characters
        </button>
      )}
    </>
  );
});

import { type KeyboardEvent, memo, type SubmitEvent, useRef, useState } from "react";
import type { Chat } from "./chat";
import { isBlank, MAX_FRAME_BYTES } from "./protocol";

/** The counter appears when only this many are left. */
const COUNTER_BYTES = 0.1 * MAX_FRAME_BYTES;
const whole = new Intl.NumberFormat("en");

/** Where people write. Enter sends, Shift+Enter begins a new line. */
export const Composer = memo(function Composer({ chat }: { chat: Chat }) {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState<string>();
  const field = useRef<HTMLTextAreaElement>(null);
  const bytesLeft = MAX_FRAME_BYTES - chat.bytesOnTheWire(text);

  const send = () => {
    const found = problemOf(text, bytesLeft);
    setProblem(found);
    if (found === undefined) {
      chat.say(text);
      setText("");
    }
    field.current?.focus();
  };
  const submitted = (event: SubmitEvent) => {
    event.preventDefault();
    send();
  };
  const keyPressed = (event: KeyboardEvent) => {
    // While a word is being composed (Japanese, Chinese), Enter only ends the composition.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  };

  return (
    <form className="composer" onSubmit={submitted}>
      <label htmlFor="message">Message</label>
      <textarea
        id="message"
        ref={field}
        rows={1}
        placeholder="Write a message"
        dir="auto"
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setProblem(undefined);
        }}
        onKeyDown={keyPressed}
        // biome-ignore lint/a11y/noAutofocus: people join to write
        autoFocus
        aria-describedby="message-problem message-counter"
        aria-invalid={problem !== undefined || bytesLeft < 0}
      />
      <button type="submit" className="primary">
        Send
      </button>
      <p id="message-problem" className="problem" role="alert">
        {problem}
      </p>
      <p id="message-counter" className={bytesLeft < 0 ? "problem" : "muted"} data-testid="counter">
        {problem === undefined && bytesLeft <= COUNTER_BYTES && remaining(bytesLeft)}
      </p>
    </form>
  );
});

function remaining(bytesLeft: number): string {
  return bytesLeft >= 0 ? `${whole.format(bytesLeft)} bytes left` : `${whole.format(-bytesLeft)} bytes too long`;
}

function problemOf(text: string, bytesLeft: number): string | undefined {
  if (isBlank(text)) return "Write something first: an empty message can’t be sent.";
  if (bytesLeft >= 0) return undefined;
  return `This is too long: a message may have 32 KB at the most, its envelope included. Shorten it by ${whole.format(-bytesLeft)} bytes.`;
}

import { type SubmitEvent, useRef, useState } from "react";
import { nameProblem, randomName, rememberedName } from "./names";

/** The way in: a name, first the last visit's or a friendly random one. */
export function JoinForm({ onJoin }: { onJoin: (name: string) => void }) {
  const [name, setName] = useState(() => rememberedName() ?? randomName());
  const [problem, setProblem] = useState<string>();
  const field = useRef<HTMLInputElement>(null);

  const join = (event: SubmitEvent) => {
    event.preventDefault();
    const found = nameProblem(name);
    setProblem(found);
    if (found === undefined) onJoin(name.trim());
    else field.current?.focus();
  };

  return (
    <main className="card">
      <h1>Join the chat</h1>
      <p className="muted">No account needed. Nothing is stored: you see what is said while you are here.</p>
      <form onSubmit={join} noValidate>
        <label htmlFor="name">Your name</label>
        <div className="name-row">
          <input
            id="name"
            ref={field}
            value={name}
            onChange={(event) => {
              setName(event.target.value);
              setProblem(undefined);
            }}
            dir="auto"
            autoComplete="nickname"
            // biome-ignore lint/a11y/noAutofocus: the form is all there is on the page
            autoFocus
            spellCheck={false}
            aria-invalid={problem !== undefined}
            aria-describedby="name-problem"
          />
          <button type="button" className="quiet" onClick={() => setName(randomName())}>
            Another one
          </button>
        </div>
        <p id="name-problem" className="problem" role="alert">
          {problem}
        </p>
        <button type="submit" className="primary">
          Join
        </button>
      </form>
    </main>
  );
}

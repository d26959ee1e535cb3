import { useState } from "react";
import type { LoadSummary } from "./load";

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const whole = new Intl.NumberFormat("en");

/** The load test's traffic, folded into one line; unfolded, what came from each run. */
export function LoadPanel({ load }: { load: LoadSummary }) {
  const [isOpen, setIsOpen] = useState(false);
  return (
    <section className="load" aria-label="Load test">
      <p>
        Load test: {whole.format(load.count)} broadcasts, {whole.format(load.perSecond)}/s
      </p>
      <button
        type="button"
        className="quiet"
        data-testid="load-toggle"
        aria-expanded={isOpen}
        onClick={() => setIsOpen(!isOpen)}
      >
        {isOpen ? "Hide" : "Show"}
      </button>
      {isOpen && (
        <ul data-testid="load-details">
          {load.latest.map(({ key, id, bytes, receivedAt }) => (
            <li key={key}>
              {clock.format(receivedAt)} broadcast {whole.format(id)}, {whole.format(bytes)} bytes
            </li>
          ))}
          {load.runs.map(({ run, count, bytes }) => (
            <li key={run}>
              Run <bdi>{run}</bdi>: {whole.format(count)} broadcasts, {whole.format(Math.round(bytes / 1000))} KB
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

/** Instead of a chat that can't work: what is wrong with the page, and what to set. */
export function Misconfigured({ problem, remedy }: { problem: string; remedy: string }) {
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

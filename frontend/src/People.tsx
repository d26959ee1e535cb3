import { memo } from "react";
import type { Person } from "./presence";

/** How many are here and, opened, who. */
export const People = memo(function People({ people, client }: { people: readonly Person[]; client: string }) {
  return (
    <details className="people">
      <summary data-testid="people">{people.length === 1 ? "1 person" : `${people.length} people`}</summary>
      <ul>
        {people.map((person) => (
          <li key={person.client}>
            <bdi>{person.name}</bdi>
            {person.client === client && " (you)"}
          </li>
        ))}
      </ul>
    </details>
  );
});

import { memo } from "react";
import type { Person } from "./presence";

/** How many are here and, opened, who. */
export const People = memo(function People({ people, client }: { people: readonly Person[]; client: string }) {
  return (
    <>
      <button type="button" className="quiet" data-testid="people" popoverTarget="people">
        {people.length === 1 ? "1 person" : `${people.length} people`}
      </button>
      <ul id="people" popover="auto" aria-label="People">
        {people.map((person) => (
          <li key={person.client}>
            <bdi>{person.name}</bdi>
            {person.client === client && " (you)"}
          </li>
        ))}
      </ul>
    </>
  );
});

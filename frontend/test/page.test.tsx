import { cleanup, render, screen, waitFor, within } from "@testing-library/react";
import userEvent, { type UserEvent } from "@testing-library/user-event";
import { beforeEach, expect, it, vi } from "vitest";
import { App } from "../src/App";
import { readWebSocketUrl } from "../src/config";
import { MessageText } from "../src/Message";
import { FakeSocket } from "./fake-socket";

let user: UserEvent;
const cloud = () => FakeSocket.latest;
const status = () => screen.getByRole("status");
const write = async (text: string) => {
  await user.type(screen.getByLabelText("Message"), text);
  await user.click(screen.getByRole("button", { name: "Send" }));
};
const texts = () => screen.queryAllByTestId("message").map((message) => message.querySelector(".text")?.textContent);

beforeEach(() => {
  user = userEvent.setup();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("fetch", vi.fn().mockRejectedValue(new TypeError("no answer")));
});

function open(url?: string) {
  render(<App target={readWebSocketUrl(url)} />);
}

async function join(name = " Ada ") {
  open();
  await user.clear(screen.getByLabelText("Your name"));
  await user.type(screen.getByLabelText("Your name"), `${name}{Enter}`);
}

async function joinAndConnect() {
  await join();
  cloud().opens();
  await waitFor(() => expect(status()).toHaveAttribute("data-state", "connected"));
}

it("offers a name, takes it at once and remembers it", async () => {
  open();
  const offered = screen.getByLabelText<HTMLInputElement>("Your name").value;
  await user.click(screen.getByRole("button", { name: "Join" }));
  expect(localStorage.getItem("chat.name")).toBe(offered);
  await user.click(screen.getByRole("button", { name: "Leave" }));
  expect(screen.getByLabelText("Your name")).toHaveValue(offered);
});

it("refuses a blank name and one of 41 characters, and offers neither", async () => {
  localStorage.setItem("chat.name", "x".repeat(41));
  open();
  expect(screen.getByLabelText<HTMLInputElement>("Your name").value).not.toContain("xxx");
  cleanup();
  await join(" ");
  expect(screen.getByRole("alert")).toHaveTextContent("Please enter a name");
  const field = screen.getByLabelText("Your name");
  await user.type(field, `${"x".repeat(41)}{Enter}`);
  expect(screen.getByRole("alert")).toHaveTextContent("at most 40 characters; this one has 41");
  expect(field).toBeInvalid();
  await user.click(screen.getByRole("button", { name: "Another one" }));
  await user.click(screen.getByRole("button", { name: "Join" }));
  expect(screen.queryByLabelText("Your name")).toBeNull();
});

it("says what to set when the page was built with a wrong URL", () => {
  open("https://a.example/production");
  expect(status()).toHaveAttribute("data-state", "misconfigured");
  expect(status()).toHaveTextContent("Set REACT_APP_WEBSOCKET_URL");
  expect(status()).toHaveTextContent("wss://a.example/production");
});

it("sends a message, and shows it with its delivery time when it has come back", async () => {
  await joinAndConnect();
  await write("hello");
  expect(screen.getByLabelText("Message")).toHaveValue("");
  expect(cloud().said).toMatchObject([{ name: "Ada", text: "hello" }]);
  await cloud().echoesAll();
  const message = await screen.findByTestId("message");
  expect(message).toHaveAttribute("data-own", "true");
  expect(message).toHaveTextContent("You");
  expect(within(message).getByTestId("delivery")).toHaveTextContent(/ms$/);
  expect(screen.getByTestId("median")).toHaveTextContent(/Delivery .* ms/);
});

it("shows others' messages as data, once each, and what does not follow the wire format as plain text", async () => {
  await joinAndConnect();
  const [name, text] = ["<i>Zoë</i>", "<img src=x onerror=alert(1)>"];
  const message = { type: "chat", id: "1", client: "z", name, text, sent_at: 1 };
  cloud().says(message);
  cloud().says(message);
  cloud().says({ type: "chat", id: 1 });
  await waitFor(() => expect(texts()).toEqual([text, '{"type":"chat","id":1}']));
  const [shown, plain] = screen.getAllByTestId("message") as [HTMLElement, HTMLElement];
  expect(shown).toHaveTextContent(name);
  expect(shown.querySelector("img, i")).toBeNull();
  expect(shown).toHaveAttribute("data-own", "false");
  expect(plain).toHaveAttribute("data-kind", "plain");
});

it("counts the load test's broadcasts instead of listing them, and shows more on demand", async () => {
  await joinAndConnect();
  for (let id = 0; id < 3; id += 1) cloud().says({ type: "load", run: "r1", id, speaker: 1, sent_ns: 1, pad: "" });
  await user.click(await screen.findByTestId("load-toggle"));
  expect(screen.getByText(/3 broadcasts/, { selector: "section > p" })).toBeVisible();
  expect(screen.getByTestId("load-details")).toHaveTextContent("r1");
  expect(texts()).toEqual([]);
});

it("refuses an empty message and one over 32 KB, and keeps the text", async () => {
  await joinAndConnect();
  await user.click(screen.getByRole("button", { name: "Send" }));
  expect(screen.getByRole("alert")).toHaveTextContent("an empty message can’t be sent");
  const field = screen.getByLabelText<HTMLTextAreaElement>("Message");
  field.focus();
  await user.paste("é".repeat(16_380));
  expect(screen.getByTestId("counter")).toHaveTextContent("bytes too long");
  await user.click(screen.getByRole("button", { name: "Send" }));
  expect(screen.getByRole("alert")).toHaveTextContent(/32 KB at the most.*Shorten it by \d+ bytes/);
  expect(field.value).toHaveLength(16_380);
  expect(cloud().said).toEqual([]);
});

it("counts who joins and leaves", async () => {
  await joinAndConnect();
  expect(cloud().sent[0]).toContain('"join"');
  expect(screen.getByTestId("people")).toHaveTextContent("1 person");
  cloud().says({ type: "presence", client: "z", name: "Zoë", state: "join" });
  await waitFor(() => expect(screen.getByTestId("people")).toHaveTextContent("2 people"));
  cloud().says({ type: "presence", client: "z", name: "Zoë", state: "leave" });
  await waitFor(() => expect(screen.getByTestId("people")).toHaveTextContent("1 person"));
});

it("says goodbye when the page is closed", async () => {
  await joinAndConnect();
  window.dispatchEvent(new Event("pagehide"));
  expect(cloud().sent.at(-1)).toContain('"leave"');
  expect(cloud().readyState).toBe(3);
});

it("queues visibly, sends once and in order afterwards, and not what was discarded", async () => {
  vi.spyOn(Math, "random").mockReturnValue(0.1);
  await joinAndConnect();
  const broken = cloud();
  broken.says({ type: "presence", client: "z", name: "Zoë", state: "here" });
  await waitFor(() => expect(screen.getByTestId("people")).toHaveTextContent("2 people"));
  broken.breaks();
  await waitFor(() => expect(status()).toHaveAttribute("data-state", "reconnecting"));
  for (const text of ["one", "two", "three"]) await write(text);
  await waitFor(() => expect(screen.getAllByTestId("queued")).toHaveLength(3));
  const leaving = new Event("beforeunload", { cancelable: true });
  window.dispatchEvent(leaving);
  expect(leaving.defaultPrevented).toBe(true); // the browser asks
  await user.click(within(screen.getAllByTestId("queued")[1] as HTMLElement).getByRole("button", { name: "Discard" }));
  await waitFor(() => expect(cloud()).not.toBe(broken));
  cloud().opens();
  await cloud().echoesAll();
  await waitFor(() => expect(texts()).toEqual(["one", "three"]));
  expect(cloud().said.map(({ text }) => text)).toEqual(["one", "three"]);
  expect(screen.queryByTestId("queued")).toBeNull();
  expect(screen.getByTestId("people")).toHaveTextContent("1 person"); // Zoë may have left meanwhile
});

it("never sends again what was too long for the server", async () => {
  vi.spyOn(Math, "random").mockReturnValue(0.1);
  await joinAndConnect();
  await write("too long for this server");
  const broken = cloud();
  expect(broken.said).toHaveLength(1);
  broken.breaks(1009);
  await write("short");
  await waitFor(() => expect(cloud()).not.toBe(broken));
  cloud().opens();
  await cloud().echoesAll();
  await waitFor(() => expect(texts()).toEqual(["short"]));
  expect(cloud().said.map(({ text }) => text)).toEqual(["short"]);
  const refused = screen.getByTestId("queued");
  expect(refused).toHaveTextContent("Too long for the server");
  expect(within(refused).queryByRole("button", { name: "Try again" })).toBeNull();
  await user.click(within(refused).getByRole("button", { name: "Discard" }));
  await waitFor(() => expect(screen.queryByTestId("queued")).toBeNull());
});

it("says that the server refused, with the seconds left, and tries when told to", async () => {
  vi.spyOn(Math, "random").mockReturnValue(0.9);
  vi.stubGlobal("fetch", vi.fn().mockResolvedValue(new Response()));
  await join();
  expect(status()).toHaveAttribute("data-state", "connecting");
  cloud().breaks();
  await waitFor(() => expect(status()).toHaveAttribute("data-state", "refused"));
  expect(status()).toHaveTextContent(/Refused by the server.*in \d\ss/);
  const refused = cloud();
  await user.click(screen.getByRole("button", { name: "Try now" }));
  expect(cloud()).not.toBe(refused);
});

it.each([
  ["http://example.com/a?b=c#d", "http://example.com/a?b=c#d"],
  ["example.com/x", "https://example.com/x"],
])("makes a link of %s", (text, href) => {
  render(<MessageText text={`see ${text} there`} />);
  expect(screen.getByRole("link")).toHaveAttribute("href", href);
  expect(screen.getByRole("link")).toHaveAttribute("rel", expect.stringContaining("noopener noreferrer"));
});

it.each(["javascript://example.com/%0aalert(1)", "ftp://example.com", "a@example.com"])("leaves %s as text", (text) => {
  const { container } = render(<MessageText text={text} />);
  expect(container.querySelector("a:not([href^='http'])")).toBeNull();
  expect(container).toHaveTextContent(text);
});

it("folds a very long text, which is all there", async () => {
  const text = "x".repeat(5000);
  const { container } = render(<MessageText text={text} />);
  expect(container.querySelector(".folded")).toHaveTextContent(text);
  await user.click(screen.getByRole("button", { name: "Show all 5,000 characters" }));
  expect(container.querySelector(".folded")).toBeNull();
});

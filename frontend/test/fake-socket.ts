/** The browser's WebSocket, without a network: `opens`, `breaks` and `brings` are what the other side does. */
export class FakeSocket {
  static readonly OPEN = 1;
  static made: FakeSocket[] = [];
  onopen: (() => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  readyState = 0;
  readonly sent: string[] = [];

  constructor(readonly url: URL) {
    FakeSocket.made.push(this);
  }

  static get latest(): FakeSocket {
    return FakeSocket.made.at(-1) as FakeSocket;
  }

  send(frame: string): void {
    this.sent.push(frame);
  }

  close(): void {
    this.readyState = 3;
  }

  opens(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  breaks(code = 1006): void {
    this.readyState = 3;
    this.onclose?.({ code });
  }

  brings(frame: unknown): void {
    this.onmessage?.({ data: frame });
  }

  says(message: object): void {
    this.brings(JSON.stringify(message));
  }

  /** The chat messages that were sent, in order. */
  get said(): { id: string; text: string }[] {
    return this.sent.map((frame) => JSON.parse(frame)).filter(({ type }) => type === "chat");
  }

  /** Forwards every chat message to the sender, as the cloud does, also those that it sends meanwhile. */
  async echoesAll(pause = (ms: number) => new Promise<unknown>((resolve) => setTimeout(resolve, ms))): Promise<void> {
    for (let i = 0; i < this.said.length; i += 1) {
      this.says(this.said[i] as object);
      await pause(0);
    }
  }
}

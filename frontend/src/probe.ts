/**
 * Whether anything answers at a server's address. A page can't read the status of a refused WebSocket handshake (403 looks
 * like no server at all), but it can see whether a plain request to the same server gets any answer.
 */
export async function isReachable(httpOrigin: string, timeoutMs = 3000): Promise<boolean> {
  try {
    await fetch(httpOrigin, {
      method: "HEAD",
      mode: "no-cors",
      credentials: "omit",
      cache: "no-store",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(timeoutMs),
    });
    return true;
  } catch {
    return false;
  }
}

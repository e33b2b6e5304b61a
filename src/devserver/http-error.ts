/** An answer that is no success, as an exception. Source: spec/server-api.md section 1, "Error body everywhere". */
export class HttpError extends Error {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  /** `message` goes to the client as `error`: no secret, no path of this machine. */
  constructor(status: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.name = 'HttpError';
    this.status = status;
    this.headers = headers;
  }
}

/** One download with all its tries: what has been handed on, what is known of the file, and whether to go on. */
import { createHash, type Hash } from 'node:crypto';
import { firstValueFrom, fromEvent, map, race } from 'rxjs';
import { UpdateError } from '../../core/errors.ts';
import type { LinkRefresher } from '../../ports/link-refresher.ts';
import type { Log } from '../../ports/log.ts';
import { isWebPage, judgeFirst, judgeRest, webPageSetback, type FileFacts } from './download-answer.ts';
import { cancelled, changedError, parseUrl, setback, sourceError, type Setback } from './download-error.ts';
import { ask, failed, type RequestTools, type Response } from './download-request.ts';
import { Pacer } from './pacer.ts';
import { Patience, type RetrySettings } from './patience.ts';

export interface DownloadTools extends RequestTools {
  readonly log: Log;
  /** Longest silence while more is waited for. */
  readonly idleTimeoutMs: number;
  readonly retry: RetrySettings | null;
  readonly links: LinkRefresher | null;
  /** Bytes a second; null = no limit. */
  readonly rateLimit: number | null;
}

/** The body of one answer. */
interface Stretch {
  readonly kind: 'stretch';
  readonly at: URL;
  readonly response: Response;
  readonly body: AsyncIterator<Uint8Array>;
  /** Read while judging it. */
  ahead: Uint8Array | null;
  /** Of a file that is read again from its beginning: bytes that were handed on before. */
  skipBytes: number;
  /** Over the skipped bytes; null = they are known to be the same. */
  readonly skipped: Hash | null;
}

/** In a row without progress: a server that hands out dead links must not be asked for ever. */
const MAX_REFRESHES = 3;

export class UrlDownload {
  readonly #tools: DownloadTools;
  readonly #signal: AbortSignal;
  readonly #patience: Patience;
  readonly #pacer: Pacer | null;
  #url: URL;
  #refreshes = 0;
  /** null = nothing is known yet. */
  #facts: FileFacts | null = null;
  #handedOn = 0;
  /** Over what was handed on; null = the server names versions, so that the bytes need not be compared. */
  #handedOnHash: Hash | null = null;
  #stretch: Stretch | null = null;

  constructor(url: URL, signal: AbortSignal, tools: DownloadTools) {
    this.#url = url;
    this.#signal = signal;
    this.#tools = tools;
    this.#patience = new Patience(tools.retry);
    this.#pacer = tools.rateLimit === null ? null : new Pacer(tools.rateLimit, tools.clock);
  }

  /** Resolves with the size (−1 = unknown) once the first byte is there. To be called once, before `chunks`. */
  async open(): Promise<number> {
    this.#stretch = await this.#nextStretch();
    return this.#known().sizeBytes;
  }

  async *chunks(): AsyncGenerator<Uint8Array, void, void> {
    for (;;) {
      const stretch = this.#stretch ?? (await this.#nextStretch());
      this.#stretch = null;
      const problem = yield* this.#hand(stretch);
      if (problem === null) return;
      stretch.response.body.destroy();
      await this.#recover(problem);
    }
  }

  /** Hands on what a stretch brings. null = the file is complete. */
  async *#hand(stretch: Stretch): AsyncGenerator<Uint8Array, Setback | null, void> {
    const { at } = stretch;
    for (;;) {
      const { sizeBytes } = this.#known();
      // However the answer ends, nothing is missing any more.
      if (stretch.skipBytes === 0 && this.#handedOn === sizeBytes) return null;
      const chunk = await this.#read(stretch);
      if (chunk === null) {
        if (sizeBytes < 0) return null;
        return setback('broken', sourceError(at, 'the connection ended', { reason: 'connection-lost' }));
      }
      if (!(chunk instanceof Uint8Array)) return chunk;
      const fresh = this.#skip(stretch, chunk);
      if (!(fresh instanceof Uint8Array)) return fresh;
      if (sizeBytes >= 0 && this.#handedOn + fresh.length > sizeBytes) {
        return setback('final', sourceError(at, 'more came than announced', { reason: 'bad-answer' }));
      }
      const pieceBytes = this.#pacer?.pieceBytes ?? fresh.length;
      for (let from = 0; from < fresh.length; from += pieceBytes) {
        const piece = fresh.subarray(from, from + pieceBytes);
        await this.#pacer?.passage(piece.length, this.#signal);
        if (this.#signal.aborted) throw cancelled(at);
        this.#handedOnHash?.update(piece);
        this.#handedOn += piece.length;
        yield piece;
        if (this.#signal.aborted) throw cancelled(at);
      }
    }
  }

  /** What of a chunk has not been handed on before. */
  #skip(stretch: Stretch, chunk: Uint8Array): Uint8Array | Setback {
    if (stretch.skipBytes === 0) return chunk;
    const known = chunk.subarray(0, stretch.skipBytes);
    stretch.skipped?.update(known);
    stretch.skipBytes -= known.length;
    if (stretch.skipBytes > 0 || stretch.skipped === null) return chunk.subarray(known.length);
    const found = stretch.skipped.digest('hex');
    const expected = this.#handedOnHash?.copy().digest('hex') ?? '';
    if (found === expected) return chunk.subarray(known.length);
    const what = `SHA-256 of the first ${this.#handedOn} bytes`;
    return setback('final', changedError(stretch.at, what, found, expected));
  }

  /** Asks until there is an answer that brings the file on, or it is time to give up. */
  async #nextStretch(): Promise<Stretch> {
    for (;;) {
      const outcome = await this.#try();
      if (outcome.kind === 'stretch') {
        if (this.#patience.failures > 0 && this.#facts !== null) {
          this.#tools.log.info('The download goes on', this.#logFields(outcome.at));
        }
        return outcome;
      }
      await this.#recover(outcome);
    }
  }

  async #try(): Promise<Stretch | Setback> {
    const facts = this.#facts;
    const first = this.#handedOn;
    // Whole from the start: nothing has been handed on that an answer would have to fit to.
    const range =
      facts === null || first === 0
        ? null
        : { first, last: facts.sizeBytes - 1, validator: facts.etag ?? facts.lastModified };
    const answer = await ask(this.#url, range, this.#tools, this.#signal);
    if (answer.kind !== 'answered') return answer;
    const { response, at } = answer;
    const verdict =
      facts === null || (range === null && facts.sizeBytes < 0)
        ? judgeFirst(answer)
        : judgeRest(answer, facts, first);
    if (verdict.kind !== 'rest' && verdict.kind !== 'whole') {
      response.body.destroy();
      return verdict;
    }
    const isCompared = verdict.kind === 'whole' && first > 0 && facts?.etag == null;
    const stretch: Stretch = {
      kind: 'stretch',
      at,
      response,
      body: (response.body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator](),
      ahead: null,
      skipBytes: verdict.kind === 'whole' ? first : 0,
      skipped: isCompared ? createHash('sha256') : null,
    };
    if (verdict.kind === 'rest') return stretch;
    // Nobody has seen a byte of the old version, only its size.
    const isStartedOver = first === 0 && verdict.facts.sizeBytes === facts?.sizeBytes;
    // The size is told to others: it must not be that of a log-in page.
    const start = await this.#read(stretch);
    const problem =
      start !== null && !(start instanceof Uint8Array)
        ? start
        : start !== null && isWebPage(start)
          ? webPageSetback(at)
          : isStartedOver
            ? null
            : verdict.changed;
    if (problem !== null) {
      response.body.destroy();
      return problem;
    }
    stretch.ahead = start instanceof Uint8Array ? start : new Uint8Array();
    if (facts === null || isStartedOver) {
      this.#facts = verdict.facts;
      this.#handedOnHash = verdict.facts.etag === null ? createHash('sha256') : null;
    }
    return stretch;
  }

  /** null = the body is over. Silence counts only while somebody waits: a reader that pauses is no silent server. */
  async #read(stretch: Stretch): Promise<Uint8Array | Setback | null> {
    if (this.#signal.aborted) throw cancelled(stretch.at);
    if (stretch.ahead !== null) {
      const { ahead } = stretch;
      stretch.ahead = null;
      return ahead;
    }
    const { idleTimeoutMs } = this.#tools;
    const silence = setTimeout(() => {
      const error = new Error(`nothing came for ${idleTimeoutMs / 1000} s`);
      stretch.response.body.destroy(Object.assign(error, { code: 'ETIMEDOUT' }));
    }, idleTimeoutMs);
    try {
      const { done, value } = await stretch.body.next();
      if (this.#signal.aborted) throw cancelled(stretch.at);
      return done === true ? null : value;
    } catch (error) {
      return failed(error, stretch.at, this.#tools, this.#signal);
    } finally {
      clearTimeout(silence);
    }
  }

  /** Resolves when it is time for the next try; rejects when there is to be none. */
  async #recover(problem: Setback): Promise<void> {
    if (this.#signal.aborted) throw cancelled(this.#url);
    if (this.#patience.noteProgress(this.#handedOn)) this.#refreshes = 0;
    const { sizeBytes = 0 } = this.#facts ?? {};
    if (this.#handedOn > 0 && sizeBytes < 0) {
      throw this.#told(
        problem,
        'it cannot be continued, because the server did not say how long the file is',
      );
    }
    const setBack = problem.kind === 'expired' ? await this.#freshLink(problem) : problem;
    if (setBack === null) return;
    const delayMs = this.#patience.afterFailure(setBack, this.#facts === null);
    if (delayMs === null) throw this.#told(setBack, '');
    this.#tools.log.warn('The download was interrupted', {
      ...this.#logFields(this.#url),
      problem: setBack.error.message,
      tries: this.#patience.failures,
      nextTryInSeconds: Math.round(delayMs / 1000),
    });
    await this.#wait(delayMs);
  }

  /** null = there is a new link to try. */
  async #freshLink(problem: Setback): Promise<Setback | null> {
    const { links, log } = this.#tools;
    const isOver = setback('final', problem.error);
    if (links === null || this.#refreshes >= MAX_REFRESHES) return isOver;
    let text: string | null;
    try {
      text = await links.refresh(this.#url.href, this.#signal);
    } catch (error) {
      if (this.#signal.aborted) throw cancelled(this.#url);
      if (!(error instanceof UpdateError) || error.kind !== 'server') throw error;
      const why = sourceError(
        this.#url,
        `the link has expired, and no fresh one could be had: ${error.message}`,
        {
          ...error.details,
          reason: 'link-expired',
        },
      );
      const seconds = error.details['retry-after-seconds'];
      return setback('refused', why, typeof seconds === 'number' ? seconds : null);
    }
    if (this.#signal.aborted) throw cancelled(this.#url);
    if (text === null) {
      const { details, message } = problem.error;
      const why = `${message}; the server has no other link for this deployment`;
      return setback(
        'final',
        new UpdateError('source', why, { details: { ...details, reason: 'link-expired' } }),
      );
    }
    const fresh = parseUrl(text);
    if (fresh.href === this.#url.href) return isOver;
    this.#refreshes += 1;
    this.#url = fresh;
    log.info('The link had expired; the download uses a fresh one', this.#logFields(fresh));
    return null;
  }

  async #wait(ms: number): Promise<void> {
    if (ms > 0) {
      const aborted = fromEvent(this.#signal, 'abort').pipe(map(() => 0 as const));
      await firstValueFrom(race(this.#tools.clock.timer(ms), aborted));
    }
    if (this.#signal.aborted) throw cancelled(this.#url);
  }

  /** The error a download ends with: what happened last, how far it came, how often it was tried. */
  #told({ error }: Setback, more: string): UpdateError {
    const { failures } = this.#patience;
    const sizeBytes = this.#facts?.sizeBytes ?? -1;
    const parts = [
      error.message,
      ...(this.#handedOn > 0
        ? [`after ${this.#handedOn} bytes${sizeBytes < 0 ? '' : `, expected ${sizeBytes}`}`]
        : []),
      ...(failures > 1 ? [`given up after ${failures} tries without progress`] : []),
      ...(more === '' ? [] : [more]),
    ];
    return new UpdateError('source', parts.join('; '), {
      cause: error.cause,
      details: {
        ...error.details,
        ...(this.#facts === null ? {} : { 'bytes-found': this.#handedOn }),
        ...(sizeBytes < 0 ? {} : { 'bytes-expected': sizeBytes }),
        ...(failures > 1 ? { tries: failures } : {}),
      },
    });
  }

  #logFields(at: URL): { readonly host: string; readonly receivedBytes: number; readonly sizeBytes: number } {
    return { host: at.host, receivedBytes: this.#handedOn, sizeBytes: this.#facts?.sizeBytes ?? -1 };
  }

  #known(): FileFacts {
    if (this.#facts === null) throw new UpdateError('internal', 'the download has not been opened');
    return this.#facts;
  }
}

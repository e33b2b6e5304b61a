import { ArtifactError } from '../core/artifact-error.ts';
import type { ArtifactLocation } from '../core/artifact.ts';
import { decide } from '../core/command.ts';
import { UpdateError } from '../core/errors.ts';
import { refuse, RefusedCall, type RefusalName } from '../core/refusal.ts';
import type { Inspection, UpdateService } from '../ports/update-service.ts';
import { openArtifact, summaryOf, verifyFit } from './download.ts';
import type { Machine } from './machine.ts';
import type { Ports } from './ports.ts';

/** Artifacts looked at at the same time; each may hold a header in memory and a helper process. */
const MAX_LOOKS = 2;
const HOLD_ID_DIGITS = 12;

/** What clients can have done, in terms of the loop. Whoever calls this has authorised the caller. */
export function createService(machine: Machine, ports: Omit<Ports, 'bus'>): UpdateService {
  let looks = 0;

  async function look<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (looks >= MAX_LOOKS) {
      throw new RefusedCall(refuse('LimitsExceeded', `${MAX_LOOKS} artifacts are being looked at already`));
    }
    looks += 1;
    try {
      return await run(new AbortController().signal);
    } catch (error) {
      throw refusalOf(error);
    } finally {
      looks -= 1;
    }
  }

  function install(location: ArtifactLocation, requiredDigest: string, uid: number): Promise<string> {
    return look(async (signal) => {
      const facts = { location, requiredDigest, uid, deploymentId: uuidFrom(ports.nonce()) };
      // Refused before anything is opened, and asked again when the artifact has been looked at.
      const early = decide(
        machine.state(),
        { kind: 'Install', ...facts, artifact: null, sizeBytes: -1 },
        ports.clock.now().bootMs,
      );
      if (early.kind === 'refused') throw new RefusedCall(early.refusal);
      // A link may be good for one download only; what it leads to is looked at when it is downloaded.
      const seen =
        location.kind === 'url' ? unseen(location) : await preview(location, requiredDigest, signal);
      await machine.command({ kind: 'Install', ...facts, ...seen });
      return facts.deploymentId;
    });
  }

  async function preview(location: ArtifactLocation, requiredDigest: string, signal: AbortSignal) {
    const { artifact, sizeBytes, identity } = await openArtifact(ports, location, signal);
    try {
      const { installed } = machine.state();
      await verifyFit(ports, artifact.info, { requiredDigest, announcedName: '', installed });
      return { location: { ...location, ...identity }, artifact: summaryOf(artifact.info), sizeBytes };
    } finally {
      await artifact.close();
    }
  }

  return {
    command: (command) => machine.command(command),
    precheck: (command) => {
      const decision = decide(machine.state(), command, ports.clock.now().bootMs);
      if (decision.kind === 'refused') throw new RefusedCall(decision.refusal);
    },
    addHold: (wish) =>
      machine.command({ ...wish, kind: 'AddHold', holdId: ports.nonce().slice(0, HOLD_ID_DIGITS) }),
    readDecisions: (fromSeq, maxLines) => ports.journal.read(fromSeq, maxLines),
    installPath: (path, requiredDigest, uid) =>
      checked(path, requiredDigest, () => install({ kind: 'file', path }, requiredDigest, uid)),
    installUrl: (url, requiredDigest, uid) => {
      if (!isHttpUrl(url)) {
        return Promise.reject(new RefusedCall(refuse('InvalidArgs', 'expected an http or https URL')));
      }
      return checkedDigest(requiredDigest, () => install({ kind: 'url', url }, requiredDigest, uid));
    },
    inspectPath: (path) =>
      checked(path, '', () =>
        look(async (signal): Promise<Inspection> => {
          const { artifact, sizeBytes } = await openArtifact(ports, { kind: 'file', path }, signal);
          try {
            const { info } = artifact;
            const { installed } = machine.state();
            const problem = await verifyFit(ports, info, {
              requiredDigest: '',
              announcedName: '',
              installed,
            }).then(
              () => null,
              (error: unknown) => refusalNameOf(error),
            );
            return { info, sizeBytes, problem };
          } finally {
            await artifact.close();
          }
        }),
      ),
    history: () => machine.state().history,
    readLog: (deploymentId, fromLine, maxLines) => ports.deploymentLog.read(deploymentId, fromLine, maxLines),
  };
}

function unseen(location: ArtifactLocation) {
  return { location, artifact: null, sizeBytes: -1 };
}

async function checked<T>(path: string, digest: string, run: () => Promise<T>): Promise<T> {
  if (!path.startsWith('/') || path.includes('\0')) {
    throw new RefusedCall(refuse('InvalidArgs', 'expected an absolute path'));
  }
  return checkedDigest(digest, run);
}

async function checkedDigest<T>(digest: string, run: () => Promise<T>): Promise<T> {
  if (digest !== '' && !/^sha256:[0-9a-f]{64}$/.test(digest)) {
    throw new RefusedCall(
      refuse(
        'InvalidArgs',
        'expected a digest of the form sha256:<64 lower-case hex digits>, or an empty string',
      ),
    );
  }
  return run();
}

function isHttpUrl(url: string): boolean {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  return parsed?.protocol === 'http:' || parsed?.protocol === 'https:';
}

/** A version 4 UUID from 32 random hex digits. */
function uuidFrom(hex: string): string {
  const digits = `${hex.slice(0, 12)}4${hex.slice(13, 16)}8${hex.slice(17)}`;
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** What went wrong while looking at an artifact, in the words of the bus. */
function refusalOf(error: unknown): unknown {
  if (!(error instanceof UpdateError) || error instanceof RefusedCall) return error;
  const name = refusalNameOf(error);
  if (name === null) return error;
  // Absent, not readable, not a regular file: one and the same answer, so that nobody can probe for files.
  const message = name === 'PathNotAllowed' ? 'there is no such artifact file for you' : error.message;
  const details = name === 'PathNotAllowed' ? {} : error.details;
  return new RefusedCall(refuse(name, message, details), error);
}

function refusalNameOf(error: unknown): RefusalName | null {
  if (error instanceof ArtifactError) {
    if (error.code === 'digest-mismatch') return 'DigestMismatch';
    if (error.failureName === 'Signature') return 'ArtifactUntrusted';
    if (error.failureName === 'Incompatible' || error.failureName === 'Dependency')
      return 'ArtifactIncompatible';
    return 'ArtifactInvalid';
  }
  if (!(error instanceof UpdateError)) return null;
  switch (error.kind) {
    case 'source':
      return 'PathNotAllowed';
    case 'noSpace':
      return 'NoSpace';
    case 'incompatible':
      return 'ArtifactIncompatible';
    default:
      return null;
  }
}

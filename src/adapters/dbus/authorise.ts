import { ACCESS_ACTIONS, isAccessAction, type AccessAction, type AccessSettings } from '../../core/access.ts';
import type { Details } from '../../core/errors.ts';
import { printable } from '../../core/printable.ts';
import { refuse, RefusedCall } from '../../core/refusal.ts';
import type { Log } from '../../ports/log.ts';
import { AccessTable, type AccessTableOptions } from './access-table.ts';
import {
  EVERYONE,
  needOf,
  presentNeed,
  ROOT,
  type AccessContext,
  type ActionNeed,
  type Need,
} from './actions.ts';
import type { CallerConnection } from './caller.ts';
import { Polkit, polkitActionId, type PolkitOptions } from './polkit.ts';

/**
 * Who may do what. Asked before every method, the standard ones too, in this order: reading is for everyone; root may do
 * everything, and so may the user the service runs as (root, but for demo and simulator), who could take it over anyhow;
 * then the access table of the configuration; then polkit. Whatever cannot be decided is denied.
 * Source: design/dbus-api.md section 6.
 */
export interface AuthorisationRequest {
  readonly sender: string;
  /** Given by the bus, never by the caller. */
  readonly uid: number;
  /** As Credentials.gids. */
  readonly gids: readonly number[] | null;
  readonly connection: CallerConnection;
  readonly path: string;
  /** Never '': the dispatcher has found out. */
  readonly interface: string;
  readonly member: string;
  /**
   * Decoded once, when first read, and unchangeable: what was judged is what is carried out. Reading throws kind
   * `invalidArgument` for what nobody accepts. Let that pass.
   */
  readonly args: readonly unknown[];
  /** Whether a person may be asked for a password on behalf of this call. */
  readonly isInteractive: boolean;
}

export type Verdict =
  | {
      readonly isAllowed: true;
      /** What was needed and is granted; absent = nothing in particular. */
      readonly action?: AccessAction | null;
    }
  | {
      readonly isAllowed: false;
      readonly refusal: 'AccessDenied' | 'InteractiveAuthorizationRequired';
      readonly message: string;
      /** `action`: the id of the polkit action that is missing. */
      readonly details?: Details;
    };

/** A RefusedCall is passed on to the caller; any other rejection counts as a denial and is logged. */
export type Authorise = (request: AuthorisationRequest) => Promise<Verdict>;

export interface AuthoriserOptions {
  readonly access: AccessSettings;
  /** The present state, read anew for each call. */
  readonly context: () => AccessContext;
  readonly bus: PolkitOptions['bus'];
  readonly log: Log;
  /** Default: the machine's. */
  readonly passwdPath?: string;
  readonly groupPath?: string;
  /** Default: the user this process runs as. */
  readonly ownUid?: number | undefined;
}

export type CanDoAnswer = 'yes' | 'no' | 'challenge';

export interface Authoriser {
  readonly authorise: Authorise;
  /**
   * What the calling client may do at present, without asking anybody. Rejects with RefusedCall: InvalidArgs for an
   * action that is none, LimitsExceeded.
   */
  canDo(call: AuthorisationRequest, action: string): Promise<CanDoAnswer>;
  /** Dialogues open at present. */
  readonly pendingDialogues: number;
  /** Takes back open dialogues; call it when the dispatcher is to end, which waits for every call. */
  close(): void;
}

const MAX_SHOWN_CHARACTERS = 80;

type Answer = CanDoAnswer | 'absent';

export function createAuthoriser(options: AuthoriserOptions): Authoriser {
  const { access, context, log } = options;
  const ownUid = 'ownUid' in options ? options.ownUid : process.getuid?.();
  const table = new AccessTable(access.rules, tableOptions(options));
  const polkit = new Polkit({ bus: options.bus });
  let isPolkitFailing = false;

  const isMaster = (uid: number): boolean => uid === 0 || uid === ownUid;

  async function authorise(request: AuthorisationRequest): Promise<Verdict> {
    let facts = context();
    let need = needOf(request, facts);
    if (need.kind === 'everyone') return { isAllowed: true, action: null };
    if (isMaster(request.uid)) {
      return { isAllowed: true, action: need.kind === 'action' ? need.action : null };
    }
    if (need.kind === 'root') return denied(request, need, 'no');
    let answer = await decide(request, need, facts, request.isInteractive);
    if (answer !== 'yes') return denied(request, need, answer);
    // While it was asked (a person may take a minute) the update may have gone on to where the answer does not hold.
    const asked = questionText(need, facts);
    facts = context();
    need = needOf(request, facts);
    if (need.kind === 'action' && questionText(need, facts) !== asked) {
      answer = await decide(request, need, facts, false);
      if (answer !== 'yes') return denied(request, need, answer);
      const after = context();
      if (questionText(needOf(request, after), after) !== questionText(need, facts)) {
        return denied(request, need, 'challenge');
      }
    }
    return { isAllowed: true, action: need.kind === 'action' ? need.action : null };
  }

  async function canDo(call: AuthorisationRequest, action: string): Promise<CanDoAnswer> {
    if (!isAccessAction(action)) {
      const text = `action: found ${JSON.stringify(action.slice(0, 50))}, expected one of ${ACCESS_ACTIONS.join(', ')}`;
      throw new RefusedCall(refuse('InvalidArgs', text));
    }
    if (isMaster(call.uid)) return 'yes';
    const facts = context();
    const answer = await decide(call, presentNeed(action, facts.point), facts, false);
    return answer === 'absent' ? 'no' : answer;
  }

  async function decide(
    request: AuthorisationRequest,
    need: ActionNeed,
    facts: AccessContext,
    isInteractive: boolean,
  ): Promise<Answer> {
    try {
      if (access.polkit === 'required' && !(await polkit.isPresent(request))) {
        reportFailure(new Error('it is required by the configuration, and not there'));
        return 'absent';
      }
      if (await table.allows(request, need.action, need.points)) return 'yes';
      if (access.polkit === 'off') return 'no';
      const answer = await polkit.check({
        connection: request.connection,
        sender: request.sender,
        uid: request.uid,
        action: need.action,
        details: detailsOf(need, facts),
        isInteractive,
      });
      isPolkitFailing = false;
      return answer;
    } catch (error) {
      if (error instanceof RefusedCall) throw error;
      reportFailure(error);
      return 'no';
    }
  }

  /** In full once, until it works again: any user could fill the log. */
  function reportFailure(error: unknown): void {
    const fields = { errorMessage: error instanceof Error ? error.message : String(error) };
    if (isPolkitFailing) log.debug('Polkit could not be asked', fields);
    else log.warn('Polkit could not be asked; what it would have to allow is denied', fields);
    isPolkitFailing = true;
  }

  return {
    authorise,
    canDo,
    get pendingDialogues(): number {
      return polkit.pendingDialogues;
    },
    close: () => polkit.close(),
  };
}

function tableOptions({ log, passwdPath, groupPath }: AuthoriserOptions): AccessTableOptions {
  return {
    log,
    ...(passwdPath === undefined ? {} : { passwdPath }),
    ...(groupPath === undefined ? {} : { groupPath }),
  };
}

/**
 * What polkit's rules and dialogues see. Empty = does not apply. Several points are joined by blanks, so that a rule for
 * one point does not cover them. `update` is for the text of dialogues: never empty, and printable whoever named it.
 */
function detailsOf(need: ActionNeed, facts: AccessContext): Readonly<Record<string, string>> {
  return {
    point: need.points.join(' '),
    'deployment-id': facts.deploymentId,
    'artifact-name': facts.artifactName,
    'hold-id': need.holdId,
    update: printable(facts.artifactName || facts.deploymentId || '-').slice(0, MAX_SHOWN_CHARACTERS),
  };
}

function questionText(need: Need, facts: AccessContext): string {
  if (need.kind !== 'action') return need.kind;
  return JSON.stringify([need.action, detailsOf(need, facts)]);
}

function denied(request: AuthorisationRequest, need: Need, answer: Exclude<Answer, 'yes'>): Verdict {
  const method = `${request.interface}.${request.member}`;
  const caller = `The user with id ${request.uid} may not call ${method}`;
  if (need.kind !== 'action') {
    return { isAllowed: false, refusal: 'AccessDenied', message: `${caller}: nobody but root may` };
  }
  const action = polkitActionId(need.action);
  const details = { action };
  switch (answer) {
    case 'challenge': {
      const message = `${caller} without authentication for the action ${action}`;
      return { isAllowed: false, refusal: 'InteractiveAuthorizationRequired', message, details };
    }
    case 'absent':
    case 'no': {
      const message = `${caller}: it needs the action ${action}`;
      return { isAllowed: false, refusal: 'AccessDenied', message, details };
    }
  }
}

/** The answer without configuration and polkit: root alone, and reading for everyone. */
export function rootOrReading(request: AuthorisationRequest): Promise<Verdict> {
  const isMaster = request.uid === 0 || request.uid === process.getuid?.();
  const isReading = isMaster || needOf(request, NO_CONTEXT) === EVERYONE;
  return Promise.resolve(isReading ? { isAllowed: true } : denied(request, ROOT, 'no'));
}

const NO_CONTEXT: AccessContext = {
  point: '',
  passedPoint: () => null,
  deploymentId: '',
  artifactName: '',
  hold: () => null,
  isSignatureRequired: true,
};

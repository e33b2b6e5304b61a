/**
 * Where our `mender` differs from Debian's 3.4 on purpose: case, what of it, and why. An entry that no run needs fails
 * the test, as does a difference without an entry.
 */
export interface AllowedDifference {
  readonly name: string;
  /** As the comparison reports it: `step 2 stdout`, `fact hosts`, … */
  readonly field: string;
  readonly why: string;
}

const FIRST_START =
  'artifact_info names nothing any more since 3.5 and in 5.x: without a bootstrap artifact the name is unknown';
const HELP = 'texts of help are ours; that every command and option is in them is compared by itself';
const ONE_LINE = 'a mistake is one line on standard error, and no page of help on standard output';
const TOO_MANY = 'an argument that means nothing is a mistake, also where 3.4 overlooks it';
const EMPTY = 'artifacts without payload can be installed, as in 5.x';

export const ALLOWED: readonly AllowedDifference[] = [
  { name: 'a device where nothing was installed', field: 'step 1 stdout', why: FIRST_START },
  { name: 'a device where nothing was installed', field: 'step 2 stdout', why: FIRST_START },
  { name: 'an artifact without payload', field: 'step 1 status', why: EMPTY },
  { name: 'an artifact without payload', field: 'step 1 stdout', why: EMPTY },
  { name: 'an artifact without payload', field: 'step 2 stdout', why: EMPTY },
  {
    name: 'a second install before the commit',
    field: 'step 2 status',
    why: 'refused, as in 5.x: 3.4 writes over what is not committed, and the first artifact can never be rolled back',
  },
  { name: 'a second install before the commit', field: 'step 2 stdout', why: 'refused before it is opened' },
  { name: 'version', field: 'step 1 stdout', why: 'our version, and our runtime' },
  { name: 'no command', field: 'step 1 stdout', why: HELP },
  { name: 'help', field: 'step 1 stdout', why: HELP },
  { name: 'help', field: 'step 2 stdout', why: HELP },
  { name: 'help', field: 'step 3 stdout', why: HELP },
  { name: 'help', field: 'step 4 stdout', why: HELP },
  { name: 'an unknown option', field: 'step 1 stdout', why: ONE_LINE },
  { name: 'an unknown option of a command', field: 'step 1 stdout', why: ONE_LINE },
  { name: 'an option without its value', field: 'step 1 stdout', why: ONE_LINE },
  { name: 'a switch with a strange value', field: 'step 1 stdout', why: ONE_LINE },
  { name: 'install without an artifact', field: 'step 1 stdout', why: ONE_LINE },
  {
    name: 'setup over an older configuration',
    field: 'fact mode of mender.conf',
    why: 'it may hold the token of the tenant: always 0600, where 3.4 leaves the mode of a file that is there',
  },
  { name: 'too many arguments of check-update', field: 'fact told', why: TOO_MANY },
  { name: 'too many arguments of check-update', field: 'step 1 status', why: TOO_MANY },
];

/** Members of mender.conf that 3.4 writes whatever it was asked, and we do not: an empty object says nothing. */
export const MEMBERS_WITHOUT_MEANING: Readonly<Record<string, unknown>> = {
  HttpsClient: {},
  Security: {},
  Connectivity: {},
  DBus: { Enabled: true },
};

/**
 * Writes docs/update-flow.md from the table that drives the update: the diagram and the mapping of every step.
 *
 *     tsx scripts/generate-flow-docs.ts [--check]      --check: exit 1 when the file is not what the table says
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { format } from 'prettier';
import { FLOW_STEPS, PUBLIC_STATES, type FlowStep } from '../src/core/state.ts';
import {
  FLOW,
  type FlowRow,
  type Outcome,
  type Target,
  type Targets,
  type Work,
} from '../src/core/transition-table.ts';

const FILE = new URL('../docs/update-flow.md', import.meta.url);

const STATE_IDS = new Map(FLOW_STEPS.map((step) => [step, step.replaceAll('-', '_')]));

function listOf(targets: Targets): readonly Target[] {
  const list = (Array.isArray(targets) ? targets : [targets]) as readonly (FlowStep | Target)[];
  return list.map((entry) => (typeof entry === 'string' ? { to: entry } : entry));
}

function arrows(step: FlowStep): readonly string[] {
  const labels = new Map<FlowStep, string[]>();
  for (const [outcome, targets] of Object.entries(FLOW[step].next) as [Outcome, Targets][]) {
    for (const { to, when } of listOf(targets)) {
      labels.set(to, [...(labels.get(to) ?? []), when ? `${outcome} (${when})` : outcome]);
    }
  }
  return [...labels].map(
    ([to, outcomes]) => `    ${STATE_IDS.get(step)} --> ${STATE_IDS.get(to)}: ${outcomes.join(', ')}`,
  );
}

function diagram(): string {
  const lines = ['stateDiagram-v2', '    [*] --> idle_enter'];
  for (const state of PUBLIC_STATES) {
    const steps = FLOW_STEPS.filter((step) => FLOW[step].state === state);
    lines.push(`    state ${state} {`, ...steps.map((step) => `        ${STATE_IDS.get(step)}`), '    }');
  }
  for (const step of FLOW_STEPS) lines.push(...arrows(step));
  return lines.join('\n');
}

function workText(work: Work): string {
  switch (work.kind) {
    case 'none':
      return 'waits for an order';
    case 'scripts':
      return `scripts ${work.family}_${work.action}`;
    case 'module':
      return `module ${work.action}`;
    case 'cleanup':
      return 'module Cleanup';
    case 'reboot':
      return `module ${work.action}, or the host's reboot`;
    case 'ask-needs-reboot':
      return 'module NeedsArtifactReboot';
    case 'ask-supports-rollback':
      return 'module SupportsRollback';
    case 'download':
      return 'artifact header, module Download';
    case 'gate':
      return `hold point ${work.point}`;
    case 'report':
      return `report (${work.delivery})`;
    case 'authorize':
      return 'authorization';
    case 'check-script-version':
      return 'version of the rootfs scripts';
    case 'check-for-deployment':
      return 'asks the server';
    case 'send-inventory':
      return 'sends the inventory';
  }
}

function serverStatus({ work }: FlowRow): string {
  if (work.kind === 'report') return work.status;
  return work.kind === 'gate' ? (work.pauseStatus ?? '') : '';
}

function targetsText(targets: Targets): string {
  return listOf(targets)
    .map(({ to, when }) => (when ? `${to} (${when})` : to))
    .join(', ');
}

function mapping(): string {
  const head =
    '| step of the flow | State | Activity | Step | work | server status | Mender record | after a restart | abort | rollback |';
  const rows = FLOW_STEPS.map((step) => {
    const row = FLOW[step];
    const restart = `${targetsText(row.restart)}${row.isRestartFailure ? ' (PowerLoss)' : ''}`;
    const cells = [
      `\`${step}\``,
      row.state,
      row.activity,
      row.step,
      workText(row.work),
      serverStatus(row),
      row.checkpoint ?? '',
      restart,
      row.abort ?? '',
      row.rollback ?? '',
    ];
    return `| ${cells.join(' | ')} |`;
  });
  return [head, `|${' --- |'.repeat(10)}`, ...rows].join('\n');
}

const text = await format(
  `# The update flow

<!-- Made by scripts/generate-flow-docs.ts from src/core/transition-table.ts; do not edit. -->

An update is a walk through one table, \`src/core/transition-table.ts\`. Each step shows a State, an Activity and a Step on
D-Bus, does one piece of work, and goes on by what the work came to. A new step is stored before it is published, and
published before its work begins. A gate without blockers passes at once; reports, authorization and their outcomes
pass at once for a deployment that is not the server's.

Steps with a Mender record count towards the loop limit of 28. "After a restart" says where the flow goes on;
(PowerLoss) means that the interruption itself is the failure. "abort" and "rollback" say what such a request does:
\`leave\` takes the outcome \`aborted\` at once, \`cancel\` ends the work, which then fails; empty = refused.

## Diagram

\`\`\`mermaid
${diagram()}
\`\`\`

## Every step

${mapping()}
`,
  { parser: 'markdown' },
);

if (process.argv.includes('--check')) {
  let present = '';
  try {
    present = readFileSync(FILE, 'utf8');
  } catch {
    // Absent is as wrong as out of date.
  }
  if (present !== text) {
    process.stderr.write('docs/update-flow.md is out of date: npx tsx scripts/generate-flow-docs.ts\n');
    process.exitCode = 1;
  }
} else {
  writeFileSync(FILE, text);
}

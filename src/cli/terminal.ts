/**
 * What the command writes to, and how: whole lines, foreign text escaped, and one line at the bottom that may be
 * written over while something is under way.
 */
import { printable } from '../core/printable.ts';

export interface Sink {
  write(text: string): void;
  /** A person looks at it, and it can be written over. */
  readonly isTerminal: boolean;
  /** Of the terminal; 0 = unknown. */
  columns(): number;
}

export interface Terminal {
  /** How the program calls itself; default `holdpoint`. */
  readonly program?: string;
  readonly out: Sink;
  readonly err: Sink;
}

/** Foreign text as one line: control characters escaped, backslashes left as they are. */
export function oneLine(text: string): string {
  return text.split('\\').map(printable).join('\\');
}

export function line(sink: Sink, text: string): void {
  sink.write(`${oneLine(text)}\n`);
}

/** `holdpoint: what was being done: what went wrong`. */
export function complain(terminal: Terminal, doing: string, what: string): void {
  line(terminal.err, `${terminal.program ?? 'holdpoint'}: ${doing}: ${what}`);
}

export interface Meter {
  /** 0…100; −1 = unknown. */
  readonly percent: number;
  /** What is being done. */
  readonly label: string;
  /** Amount, speed and the like; the first thing to go when there is no room. */
  readonly details: string;
}

/** A bar on a terminal; otherwise a line for each full 10 % and for each new label. */
export interface ProgressView {
  show(meter: Meter): void;
  /** A line that stays, above the bar. */
  say(text: string): void;
  /** Takes the bar away. */
  clear(): void;
}

const ERASE_REST = '\u001b[K';
const MIN_INTERVAL_MS = 100;

export function createProgressView(sink: Sink, nowMs: () => number = () => performance.now()): ProgressView {
  let label = '';
  let tens = -1;
  let shown = '';
  let lastMs = -Infinity;

  function erase(): void {
    if (shown !== '') sink.write(`\r${ERASE_REST}`);
  }

  return {
    show(meter) {
      if (sink.isTerminal) {
        const isNews = meter.label !== label || meter.percent >= 100;
        label = meter.label;
        // A flickering bar is no information, and a serial console is slow.
        if (!isNews && nowMs() - lastMs < MIN_INTERVAL_MS) return;
        const text = renderBar(meter, sink.columns());
        if (text === shown) return;
        lastMs = nowMs();
        sink.write(`\r${text}${ERASE_REST}`);
        shown = text;
        return;
      }
      const reached = meter.percent < 0 ? -1 : Math.floor(meter.percent / 10);
      if (meter.label === label && reached <= tens) return;
      if (reached > tens || meter.label !== label) line(sink, renderLine(meter));
      label = meter.label;
      tens = Math.max(tens, reached);
    },
    say(text) {
      erase();
      line(sink, text);
      if (shown !== '') sink.write(shown);
    },
    clear() {
      erase();
      shown = '';
    },
  };
}

const DEFAULT_COLUMNS = 80;
const MAX_BAR = 40;
const MIN_BAR = 5;

/** One line that fits into `columns` (0 = unknown), one column left free so that no terminal wraps. */
export function renderBar({ percent, label, details }: Meter, columns: number): string {
  const width = Math.max(1, (columns > 0 ? columns : DEFAULT_COLUMNS) - 1);
  const number = percent < 0 ? '  ? %' : `${Math.floor(percent).toString().padStart(3)} %`;
  const full = oneLine(details === '' ? label : `${label}  ${details}`);
  for (const words of [full, oneLine(label)]) {
    const bar = Math.min(MAX_BAR, width - number.length - words.length - 5);
    if (bar >= MIN_BAR) return `[${filled(percent, bar)}] ${number}  ${words}`;
  }
  return `${number}  ${oneLine(label)}`.slice(0, width);
}

function filled(percent: number, width: number): string {
  const done = percent < 0 ? 0 : Math.min(width, Math.floor((percent * width) / 100));
  return '#'.repeat(done) + '-'.repeat(width - done);
}

function renderLine({ percent, label, details }: Meter): string {
  const number = percent < 0 ? '' : `${Math.floor(percent)} % `;
  return `${number}${label}${details === '' ? '' : ` (${details})`}`;
}

const UNITS = ['KiB', 'MiB', 'GiB', 'TiB'] as const;

/** `999 bytes`, `1.5 MiB`. */
export function sizeText(bytes: number): string {
  if (bytes < 1024) return `${bytes} bytes`;
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(1)} ${UNITS[unit]}`;
}

/** `0:07`, `1:02:03`. */
export function durationText(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const tail = `${minutes.toString().padStart(hours > 0 ? 2 : 1, '0')}:${rest.toString().padStart(2, '0')}`;
  return hours > 0 ? `${hours}:${tail}` : tail;
}

/** Local time, `2031-02-03 04:05:06`; '' for 0. */
export function timeText(usec: number): string {
  if (usec <= 0) return '';
  const date = new Date(usec / 1000);
  if (Number.isNaN(date.getTime())) return '';
  const two = (value: number): string => value.toString().padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

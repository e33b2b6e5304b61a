import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createProgressView,
  durationText,
  line,
  oneLine,
  renderBar,
  sizeText,
  timeText,
  type Sink,
} from '../../../src/cli/terminal.ts';

function sink(isTerminal: boolean, columns = 80): Sink & { text: string } {
  return {
    text: '',
    isTerminal,
    columns: () => columns,
    write(text) {
      this.text += text;
    },
  };
}
const meter = (percent: number, label = 'Download', details = ''): Parameters<typeof renderBar>[0] => ({
  percent,
  label,
  details,
});

describe('foreign text', () => {
  it('cannot move the cursor, hide text or begin a line of its own', () => {
    const out = sink(true);
    line(out, 'name\u001b[2J\nholdpoint: fake\r\u202e\u0007 C:\\path');
    expect(out.text).toBe('name\\x1b[2J\\nholdpoint: fake\\r\\u{202e}\\x07 C:\\path\n');
  });

  it('stays as it is when it is harmless', () => {
    expect(oneLine('Größe 12 % “quoted” \\d+')).toBe('Größe 12 % “quoted” \\d+');
  });
});

describe('the bar', () => {
  it('fits into every width and is one line', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 300 }),
        fc.double({ min: -1, max: 100, noNaN: true }),
        fc.string(),
        fc.string(),
        (columns, percent, label, details) => {
          const text = renderBar({ percent, label, details }, columns);
          expect(text.length).toBeLessThan(columns === 0 ? 80 : Math.max(columns, 2));
          expect(text).not.toMatch(/\p{Cc}/u);
        },
      ),
    );
  });

  it('leaves the details out first, then the bar', () => {
    const full = meter(50, 'Download', '1 MiB of 2 MiB');
    expect(renderBar(full, 60)).toBe(`[${'#'.repeat(12)}${'-'.repeat(13)}]  50 %  Download  1 MiB of 2 MiB`);
    expect(renderBar(full, 35)).toBe('[########--------]  50 %  Download');
    expect(renderBar(full, 16)).toBe(' 50 %  Download');
    expect(renderBar(meter(-1), 30)).toBe('[-----------]   ? %  Download');
  });
});

describe('progress', () => {
  it('writes over its line on a terminal, at most ten times a second', () => {
    const out = sink(true, 40);
    let nowMs = 0;
    const view = createProgressView(out, () => nowMs);
    view.show(meter(1));
    view.show(meter(2));
    nowMs = 150;
    view.show(meter(3));
    view.say('Waiting');
    view.clear();
    expect(out.text.split('\r')).toHaveLength(5);
    expect(out.text).toContain('  1 %');
    expect(out.text).not.toContain('  2 %');
    expect(out.text).toContain('\r\u001b[KWaiting\n[');
    expect(out.text.endsWith('\r\u001b[K')).toBe(true);
  });

  it('writes a line for each 10 % and for each new label elsewhere, without control characters', () => {
    const out = sink(false);
    const view = createProgressView(out);
    for (let percent = 0; percent <= 100; percent++) view.show(meter(percent));
    view.show(meter(100, 'ArtifactInstall (installing)'));
    view.clear();
    const lines = out.text.trimEnd().split('\n');
    expect(lines.slice(0, 3)).toEqual(['0 % Download', '10 % Download', '20 % Download']);
    expect(lines.at(-1)).toBe('100 % ArtifactInstall (installing)');
    expect(lines).toHaveLength(12);
    expect(out.text.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
  });

  it('of unknown size is one line elsewhere', () => {
    const out = sink(false);
    const view = createProgressView(out);
    for (let bytes = 0; bytes < 1000; bytes++) view.show(meter(-1, 'Streaming', `${bytes} bytes`));
    expect(out.text).toBe('Streaming (0 bytes)\n');
  });
});

describe('amounts', () => {
  it('are told in fitting units', () => {
    expect([0, 1023, 1024, 1.5 * 2 ** 20, 3 * 2 ** 40].map(sizeText)).toEqual([
      '0 bytes',
      '1023 bytes',
      '1.0 KiB',
      '1.5 MiB',
      '3.0 TiB',
    ]);
    expect([0, 7, 61, 3723].map(durationText)).toEqual(['0:00', '0:07', '1:01', '1:02:03']);
    expect(timeText(0)).toBe('');
    expect(timeText(Number.MAX_VALUE)).toBe('');
    expect(timeText(1_000_000_000_000_000)).toMatch(/^2001-09-0[89] \d\d:\d\d:\d\d$/);
  });
});

import type { PlantedBug } from './target.ts';

/** Every target that runs in a thread, with the mistake it must be able to find.*/
export const TARGETS: Readonly<Record<string, PlantedBug>> = {
  artifact: {
    file: 'adapters/artifact/payload.ts',
    find: "requireSum(`${this.#archive}, file ${quoted(this.name)}`, this.#hash.digest('hex'), this.sum);",
    replace: '',
  },
  tar: {
    file: 'adapters/artifact/tar-header.ts',
    find: 'return text(bytes);',
    replace: 'return TEXT.decode(bytes);',
  },
  manifest: {
    file: 'adapters/artifact/manifest.ts',
    find: "if (!text.endsWith('\\n')) {",
    replace: 'if (text.length < 0) {',
  },
  'header-json': {
    file: 'adapters/artifact/type-info.ts',
    find: "if (key === '__proto__') throw reserved(path, 'another key');",
    replace: '',
  },
  'control-map': {
    file: 'core/control/control-map.ts',
    find: '!isBlank(scan.rest)',
    replace: 'isBlank(scan.rest + 1)',
  },
  'server-answer': {
    file: 'adapters/server/raw-json.ts',
    find: "if (text[at] === '\\\\') at += 1;\n    else if (text[at] === '\"') return at + 1;",
    replace: "if (text[at] === '\"') return at + 1;",
  },
  'stored-state': {
    file: 'adapters/store/state-document.ts',
    find: 'journal: v.object({ lastSeq: count, unwritten: v.array(decision) }),',
    replace: 'journal: v.any(),',
  },
  'mender-store': {
    file: 'adapters/mender-store/document.ts',
    find: 'artifact_provides: v.nullish(texts, null),',
    replace: 'artifact_provides: v.any(),',
  },
};

/** Of the target that is the running service. */
export const BUS_BUG: PlantedBug = {
  file: 'core/control/json-value.ts',
  find: 'if (error instanceof Broken)',
  replace: 'if (error instanceof RangeError)',
};

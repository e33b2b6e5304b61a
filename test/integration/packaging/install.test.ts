/** What gets onto a device: the same from the Debian package and from the Yocto recipe, which both run packaging/install.sh. */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeCompletions } from '../../../scripts/completions.ts';

const run = promisify(execFile);
const LAYER = 'packaging/yocto/meta-holdpoint';
const RECIPE = resolve(LAYER, 'recipes-core/holdpoint/holdpoint_0.1.0.bb');
let folder: string;
/** As the release archive unpacks: with what a build leaves in dist/, the programs being nothing but their first line. */
let tree: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-install-'));
  tree = join(folder, 'tree');
  for (const path of [
    'packaging',
    'examples',
    'dbus-policy',
    'README.md',
    'docs/recipes.md',
    'docs/ab-updates.md',
    'LICENSE',
    'CHANGELOG.md',
  ]) {
    await cp(path, join(tree, path), { recursive: true });
  }
  await mkdir(join(tree, 'src/adapters/dbus'), { recursive: true });
  for (const name of await readdir('src/adapters/dbus')) {
    if (name.endsWith('.xml'))
      await cp(join('src/adapters/dbus', name), join(tree, 'src/adapters/dbus', name));
  }
  await mkdir(join(tree, 'dist/man'), { recursive: true });
  for (const name of ['holdpointd', 'holdpoint', 'holdpoint-flash', 'holdpoint-server']) {
    await writeFile(join(tree, 'dist', `${name}.js`), '#!/usr/bin/env node\n');
  }
  await writeFile(join(tree, 'dist/package.json'), '{ "type": "commonjs" }\n');
  for (const page of await readdir('docs/man')) {
    const { stdout } = await run('sh', ['-c', 'scdoc <"$0"', resolve('docs/man', page)]);
    await writeFile(join(tree, 'dist/man', basename(page, '.scd')), stdout);
  }
  await writeCompletions(join(tree, 'dist/completions'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function filesIn(root: string): Promise<readonly string[]> {
  const { stdout } = await run('find', [root, '!', '-type', 'd', '-printf', '/%P\n']);
  return stdout.trim().split('\n').sort();
}

async function install(name: string, environment: NodeJS.ProcessEnv): Promise<string> {
  const root = join(folder, name);
  await run(join(tree, 'packaging/install.sh'), [], {
    env: { PATH: process.env['PATH'], DESTDIR: root, ...environment },
  });
  return root;
}

/** The install step of the recipe, run by a shell with bitbake's variables filled in. */
async function installByRecipe(name: string, variables: Readonly<Record<string, string>>): Promise<string> {
  const root = join(folder, name);
  const recipe = await readFile(RECIPE, 'utf8');
  const [, step = ''] = /^do_install\(\) \{\n(.*?)^\}/ms.exec(recipe) ?? [];
  const known: Readonly<Record<string, string>> = {
    D: root,
    S: tree,
    bindir: '/usr/bin',
    sysconfdir: '/etc',
    localstatedir: '/var',
    systemd_system_unitdir: '/lib/systemd/system',
    ...variables,
  };
  const script = step
    .replaceAll(/\$\{@(?:feature|switch)\(d, '[\w-]+'\)\}/g, '1')
    .replaceAll(/\$\{(\w+)\}/g, (_whole, word: string) => known[word] ?? '');
  await run('sh', ['-eu', '-c', script]);
  return root;
}

describe('the installed files', () => {
  it('are in the Yocto recipe what they are in the Debian package', async () => {
    const all = { WITH_SYSVINIT: '1' };
    const debian = await filesIn(await install('debian', all));
    const yocto = await filesIn(await installByRecipe('yocto', {}));
    expect(yocto).toEqual([...debian, '/var/lib/mender/device_type'].sort());
  });

  it('are each in a package of the recipe', async () => {
    const recipe = await readFile(RECIPE, 'utf8');
    const folders = [...recipe.matchAll(/^FILES:.*?"((?:[^"\\]|\\\n)*)"/gms)].flatMap(([, text = '']) =>
      text.replaceAll('\\\n', ' ').trim().split(/\s+/),
    );
    const known = (path: string): string =>
      path
        .replace('${prefix}', '/usr')
        .replace('${datadir}', '/usr/share')
        .replace('${systemd_system_unitdir}', '/lib/systemd/system')
        .replace('${localstatedir}', '/var')
        .replace('${HOLDPOINT_DATASTORE_LINK}', '/data/mender');
    // What bitbake takes into a package by itself, its own variable FILES.
    const usual = ['/usr/bin', '/etc', '/usr/share/man', '/usr/share/doc'];
    const homes = [...folders.map(known), ...usual];
    const homeless = (await filesIn(await install('all', { WITH_SYSVINIT: '1' }))).filter(
      (file) => !homes.some((home) => file.startsWith(`${home}/`)) && !file.includes('lintian'),
    );
    expect(homeless).toEqual([]);
  });

  it('come with what a device is told by the class', async () => {
    const root = await installByRecipe('set', {
      HOLDPOINT_SERVER_URL: 'https://updates.example.org',
      HOLDPOINT_TENANT_TOKEN: 'tenant',
      HOLDPOINT_UPDATE_POLL: '600',
      HOLDPOINT_ARTIFACT_NAME: 'release-1',
      HOLDPOINT_DEVICE_TYPE: 'board',
      HOLDPOINT_DATASTORE_LINK: '/data/mender',
    });
    const text = (path: string): Promise<string> => readFile(join(root, path), 'utf8');
    expect(JSON.parse(await text('etc/mender/mender.conf'))).toEqual({
      ServerURL: 'https://updates.example.org',
      TenantToken: 'tenant',
      UpdatePollIntervalSeconds: 600,
    });
    expect((await stat(join(root, 'etc/mender/mender.conf'))).mode & 0o777).toBe(0o600);
    expect(await text('etc/mender/artifact_info')).toBe('artifact_name=release-1\n');
    expect(await text('data/mender/device_type')).toBe('device_type=board\n');
  });

  it('can go without systemd, polkit, the server, the documentation and the names of Mender', async () => {
    const off = {
      WITH_SYSTEMD: '0',
      WITH_POLKIT: '0',
      WITH_SERVER: '0',
      WITH_DOC: '0',
      WITH_MENDER_LINKS: '0',
    };
    const files = await filesIn(await install('small', off));
    expect(files.filter((file) => /systemd\/|polkit|server|\/doc\/|\/man\/|bin\/mender/.test(file))).toEqual(
      [],
    );
    expect(files).toContain('/usr/lib/holdpoint/holdpointd.js');
  });

  it('have programs that name their interpreter, and links that lead to them', async () => {
    const root = await install('node', { NODE: '/opt/node/bin/node' });
    expect(await readFile(join(root, 'usr/bin/mender-update'), 'utf8')).toBe('#!/opt/node/bin/node\n');
    // Where the units and the bus look for them.
    for (const path of ['usr/bin/holdpointd', 'usr/bin/holdpoint', 'usr/bin/holdpoint-flash']) {
      expect((await stat(join(root, path))).mode & 0o111).not.toBe(0);
    }
  });
});

describe('the Yocto layer', () => {
  it('has Python that is Python, and an installed licence text that is ours', async () => {
    const bbclass = await readFile(resolve(LAYER, 'classes/holdpoint.bbclass'), 'utf8');
    const recipe = await readFile(RECIPE, 'utf8');
    const [, anonymous = ''] = /^python \(\) \{\n(.*?)^\}/ms.exec(bbclass) ?? [];
    expect(anonymous).not.toBe('');
    const functions = [...recipe.matchAll(/^def .*?(?=^\S)/gms)].map(([text]) => text).join('\n');
    const source = `def anonymous():\n${anonymous}\n${functions}`;
    await run('python3', ['-c', 'import sys; compile(sys.argv[1], "layer", "exec")', source]);
    const { stdout } = await run('md5sum', ['LICENSE']);
    expect(recipe).toContain(`md5=${stdout.split(' ')[0]}"`);
  });

  it('has nothing but assignments, functions and comments', async () => {
    for (const file of [
      RECIPE,
      resolve(LAYER, 'classes/holdpoint.bbclass'),
      resolve(LAYER, 'conf/layer.conf'),
    ]) {
      const text = (await readFile(file, 'utf8'))
        .replaceAll(/^(\w+\(\)|python \(\)) \{\n.*?^\}\n/gms, '')
        .replaceAll(/^def .*?(?=^\S)/gms, '')
        .replaceAll('\\\n', ' ');
      const odd = text
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('#'))
        .filter(
          (line) =>
            !/^(inherit [\w. -]+|[\w:${}[\]-]+ *(\?\?|\?|:|\+|\.)?= *\+? *"[^"]*"|[\w:$[\]{}-]+ =\+ "[^"]*")$/.test(
              line,
            ),
        );
      expect(odd, file).toEqual([]);
    }
  });
});

describe('the default configuration', () => {
  it('is what the service takes without a warning', async () => {
    const { loadSettings } = await import('../../../src/config/load.ts');
    const { warnings } = await loadSettings({ holdpointConfig: resolve('packaging/config/holdpoint.json') });
    expect(warnings.filter((warning) => warning.includes('holdpoint.json'))).toEqual([]);
  });
});

describe('the identity of the device', () => {
  it('is the address of the Ethernet interface with the lowest index, and no dummy', async () => {
    const net = join(folder, 'net');
    const add = async (name: string, type: string, ifindex: string, address: string): Promise<void> => {
      await mkdir(join(net, name), { recursive: true });
      for (const [key, value] of Object.entries({ type, ifindex, address })) {
        await writeFile(join(net, name, key), `${value}\n`);
      }
    };
    const ask = () =>
      run(resolve('packaging/identity/mender-device-identity'), [], {
        env: { PATH: process.env['PATH'], SYS_CLASS_NET: net },
      });
    await add('lo', '772', '1', '00:00:00:00:00:00');
    await expect(ask()).rejects.toThrow('no Ethernet interface');
    await add('dummy0', '1', '2', '02:00:00:00:00:02');
    await add('wlan0', '1', '10', '02:00:00:00:00:10');
    await add('eth0', '1', '9', '02:00:00:00:00:09');
    expect((await ask()).stdout).toBe('mac=02:00:00:00:00:09\n');
  });
});

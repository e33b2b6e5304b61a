/**
 * The web page of the development server. Plain JavaScript, no framework; everything foreign is put in as text, never
 * as markup. It shows what the management API says, reads it again when the stream of changes says so, and keeps what
 * a person is typing or has focused: elements stay, only what they show changes.
 */
const POINTS = ['ArtifactInstall_Enter', 'ArtifactReboot_Enter', 'ArtifactCommit_Enter'];
const SHOWN_DEPLOYMENTS = 20;
const API = '/api/dev/v1';

const TEXTS = {
  en: {
    skip: 'Skip to content',
    purpose: 'For development and small closed networks only. Not for the open internet.',
    language: 'Language',
    login: 'Management token',
    loginHelp: 'The server prints it when it starts, and keeps it in the file named with --token-file.',
    token: 'Token',
    enter: 'Enter',
    devices: 'Devices',
    device: 'Device',
    type: 'Type',
    installed: 'Installed',
    admission: 'Admission',
    lastSeen: 'Last seen',
    doing: 'Doing',
    actions: 'Actions',
    noDevices: 'No device has called yet.',
    artifacts: 'Artifacts',
    artifact: 'Artifact',
    file: 'File',
    upload: 'Upload',
    deviceTypes: 'Device types',
    payload: 'Payload',
    size: 'Size',
    uploaded: 'Uploaded',
    noArtifacts: 'No artifact has been uploaded yet.',
    deployments: 'Deployments',
    newDeployment: 'New deployment',
    forDevices: 'For',
    allDevices: 'all accepted devices of a fitting type',
    name: 'Name',
    holdAt: 'Hold everybody at',
    onExpire: 'When a device cannot reach the server for long',
    expireFail: 'fail the update',
    expireContinue: 'continue',
    force: 'install even if already installed',
    create: 'Create',
    noDeployments: 'No deployment yet.',
    log: 'Log',
    close: 'Close',
    accept: 'Accept',
    reject: 'Reject',
    remove: 'Remove',
    removeAsk: 'Really remove {0}?',
    abort: 'Abort',
    abortAsk: 'Really abort “{0}” on all its devices?',
    releaseNow: 'Release all now',
    releaseAt: 'Release all at',
    at: 'Time for {0}',
    releasePlanned: '{0}: everybody is released at {1}',
    releaseDone: '{0}: released {1}',
    changeMap: 'Control map',
    saveMap: 'Set map',
    mapText: 'Control map as JSON',
    status: 'Status',
    waitsFor: 'Waits {0}',
    heldServer: 'held by this server',
    heldDevice: 'held on the device',
    since: 'since {0}',
    noMaps: 'does not follow control maps',
    live: 'Live',
    lost: 'Connection lost, trying again …',
    never: '–',
    anotherKey: 'another key asks to be let in',
    uploadDone: '{0} has been uploaded and verified.',
    createDone: 'The deployment has been created.',
    released: 'Released.',
    planned: 'Everybody will be released at {0}.',
    mapSet: 'The map has been set.',
    wrongToken: 'This token is not the right one.',
    noFile: 'Choose a file first.',
    noTime: 'Choose a time first.',
    point_ArtifactInstall_Enter: 'before installing',
    point_ArtifactReboot_Enter: 'before rebooting',
    point_ArtifactCommit_Enter: 'before committing',
    status_pending: 'pending',
    status_accepted: 'accepted',
    status_rejected: 'rejected',
    status_inprogress: 'in progress',
    status_finished: 'finished',
    status_aborted: 'aborted',
    status_downloading: 'downloading',
    status_installing: 'installing',
    status_rebooting: 'rebooting',
    status_pause_before_installing: 'waits before installing',
    status_pause_before_rebooting: 'waits before rebooting',
    status_pause_before_committing: 'waits before committing',
    status_success: 'success',
    status_failure: 'failure',
    'status_already-installed': 'already installed',
    status_noartifact: 'no artifact for its type',
    status_decommissioned: 'device removed',
  },
  de: {
    skip: 'Zum Inhalt',
    purpose: 'Nur für Entwicklung und kleine geschlossene Netze. Nicht für das offene Internet.',
    language: 'Sprache',
    login: 'Verwaltungs-Token',
    loginHelp: 'Der Server nennt es beim Start und legt es in der Datei von --token-file ab.',
    token: 'Token',
    enter: 'Anmelden',
    devices: 'Geräte',
    device: 'Gerät',
    type: 'Typ',
    installed: 'Installiert',
    admission: 'Zulassung',
    lastSeen: 'Zuletzt gesehen',
    doing: 'Tätigkeit',
    actions: 'Aktionen',
    noDevices: 'Noch kein Gerät hat sich gemeldet.',
    artifacts: 'Artefakte',
    artifact: 'Artefakt',
    file: 'Datei',
    upload: 'Hochladen',
    deviceTypes: 'Gerätetypen',
    payload: 'Nutzlast',
    size: 'Größe',
    uploaded: 'Hochgeladen',
    noArtifacts: 'Noch kein Artefakt hochgeladen.',
    deployments: 'Verteilungen',
    newDeployment: 'Neue Verteilung',
    forDevices: 'Für',
    allDevices: 'alle zugelassenen Geräte passenden Typs',
    name: 'Name',
    holdAt: 'Alle anhalten',
    onExpire: 'Wenn ein Gerät den Server lange nicht erreicht',
    expireFail: 'Update abbrechen',
    expireContinue: 'weitermachen',
    force: 'auch installieren, wenn schon installiert',
    create: 'Anlegen',
    noDeployments: 'Noch keine Verteilung.',
    log: 'Protokoll',
    close: 'Schließen',
    accept: 'Zulassen',
    reject: 'Ablehnen',
    remove: 'Entfernen',
    removeAsk: '{0} wirklich entfernen?',
    abort: 'Abbrechen',
    abortAsk: '„{0}“ wirklich auf allen Geräten abbrechen?',
    releaseNow: 'Alle jetzt freigeben',
    releaseAt: 'Alle freigeben um',
    at: 'Zeitpunkt für {0}',
    releasePlanned: '{0}: alle werden freigegeben um {1}',
    releaseDone: '{0}: freigegeben {1}',
    changeMap: 'Kontrollplan (Control Map)',
    saveMap: 'Plan setzen',
    mapText: 'Kontrollplan als JSON',
    status: 'Stand',
    waitsFor: 'Wartet {0}',
    heldServer: 'angehalten von diesem Server',
    heldDevice: 'angehalten auf dem Gerät',
    since: 'seit {0}',
    noMaps: 'folgt keinen Kontrollplänen',
    live: 'Verbunden',
    lost: 'Verbindung verloren, neuer Versuch …',
    never: '–',
    anotherKey: 'ein anderer Schlüssel bittet um Zulassung',
    uploadDone: '{0} wurde hochgeladen und geprüft.',
    createDone: 'Die Verteilung wurde angelegt.',
    released: 'Freigegeben.',
    planned: 'Alle werden freigegeben um {0}.',
    mapSet: 'Der Plan wurde gesetzt.',
    wrongToken: 'Dieses Token ist nicht das richtige.',
    noFile: 'Zuerst eine Datei wählen.',
    noTime: 'Zuerst einen Zeitpunkt wählen.',
    point_ArtifactInstall_Enter: 'vor der Installation',
    point_ArtifactReboot_Enter: 'vor dem Neustart',
    point_ArtifactCommit_Enter: 'vor dem Festschreiben',
    status_pending: 'wartend',
    status_accepted: 'zugelassen',
    status_rejected: 'abgelehnt',
    status_inprogress: 'läuft',
    status_finished: 'beendet',
    status_aborted: 'abgebrochen',
    status_downloading: 'lädt herunter',
    status_installing: 'installiert',
    status_rebooting: 'startet neu',
    status_pause_before_installing: 'wartet vor der Installation',
    status_pause_before_rebooting: 'wartet vor dem Neustart',
    status_pause_before_committing: 'wartet vor dem Festschreiben',
    status_success: 'Erfolg',
    status_failure: 'fehlgeschlagen',
    'status_already-installed': 'schon installiert',
    status_noartifact: 'kein Artefakt für den Typ',
    status_decommissioned: 'Gerät entfernt',
  },
};

const $ = (id) => document.getElementById(id);
let language = localStorage.getItem('language') ?? (navigator.language.startsWith('de') ? 'de' : 'en');
let token = '';
const shown = { devices: [], artifacts: [], deployments: [] };
/** `live`, `lost`, or '' before the first connection. */
let connection = '';

// ---- words and times ----

function t(key, ...values) {
  const text = TEXTS[language][key] ?? key;
  return text.replace(/\{(\d)\}/g, (_, index) => values[Number(index)]);
}
/** Unknown statuses are shown as they are. */
function statusText(status) {
  return TEXTS[language][`status_${status}`] ?? status;
}
function timeText(time) {
  if (!time) return t('never');
  return new Intl.DateTimeFormat(language, { dateStyle: 'short', timeStyle: 'medium' }).format(
    new Date(time),
  );
}
function sizeText(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let unit = 0;
  let value = bytes;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${new Intl.NumberFormat(language, { maximumFractionDigits: 1 }).format(value)} ${units[unit]}`;
}
function identityText(device) {
  return Object.entries(device.identity)
    .map(([name, value]) => `${name}=${[value].flat().join(',')}`)
    .join(' ');
}
function attribute(device, name) {
  const found = device.inventory?.find((one) => one.name === name)?.value;
  return found === undefined ? t('never') : [found].flat().join(', ');
}

// ---- elements ----

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'data') Object.assign(element.dataset, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}
function button(key, action, data = {}) {
  const element = make('button', { type: 'button', data: { text: key, ...data } }, t(key));
  element.addEventListener('click', () => attempt(action));
  return element;
}
function cells(count) {
  const row = make('tr');
  for (let index = 0; index < count; index++) row.append(make('td'));
  return row;
}
/** Changes only what differs, so that nobody who reads the page aloud is told the same again. */
function setText(element, text, className = '') {
  if (element.textContent !== text) element.textContent = text;
  if (element.className !== className) element.className = className;
}
/** Keeps one child for each item, in order; `build` makes it once, its `update` is called each time. */
function syncList(parent, items, build) {
  const known = new Map([...parent.children].map((child) => [child.dataset.id, child]));
  items.forEach((item, index) => {
    const id = item.id ?? item.device_id;
    let child = known.get(id);
    known.delete(id);
    if (!child) {
      child = build(item);
      child.dataset.id = id;
    }
    // Moving would take the focus away.
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
    child.update(item);
  });
  for (const child of known.values()) child.remove();
}
function say(text, isGood = false) {
  $('message').hidden = text === '';
  setText($('message'), text, isGood ? 'done' : '');
}
async function attempt(action) {
  try {
    say('');
    await action();
  } catch (error) {
    say(error.message);
  }
}

// ---- the API ----

async function call(method, path, body) {
  const response = await fetch(`${API}${path}`, {
    method,
    headers: { 'X-Holdpoint-Token': token },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (response.status === 401) {
    logOut();
    throw new Error(t('wrongToken'));
  }
  if (!response.ok) throw new Error(errorText(text) ?? `HTTP ${response.status}`);
  return text === '' ? null : JSON.parse(text);
}
function errorText(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return null;
  }
}
/** By XMLHttpRequest, for only that tells how far it is. */
function uploadFile(file) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', `${API}/artifacts`);
    request.setRequestHeader('X-Holdpoint-Token', token);
    request.upload.onprogress = ({ loaded, total }) =>
      ($('upload-progress').value = total ? loaded / total : 0);
    request.onload = () =>
      request.status === 201
        ? resolve(JSON.parse(request.responseText))
        : reject(new Error(errorText(request.responseText) ?? `HTTP ${request.status}`));
    request.onerror = () => reject(new Error(t('lost')));
    request.send(file);
  });
}

// ---- showing ----

function waitText(run) {
  if (!run.wait) return '';
  const { point, held_by: heldBy, since, release_at: releaseAt } = run.wait;
  const parts = [
    t('waitsFor', t(`point_${point}`)),
    t(heldBy === 'server' ? 'heldServer' : 'heldDevice'),
    t('since', timeText(since)),
  ];
  if (releaseAt && heldBy === 'server')
    parts.push(t('releasePlanned', '', timeText(releaseAt)).replace(/^: /, ''));
  return parts.join(', ');
}
function runClass(run) {
  if (run.wait) return 'waits';
  if (['failure', 'aborted', 'noartifact', 'decommissioned'].includes(run.status)) return 'failed';
  return run.status === 'success' || run.status === 'already-installed' ? 'fine' : '';
}
function runText(run) {
  const text = waitText(run) || `${statusText(run.status)}, ${t('since', timeText(run.since))}`;
  return run.substate ? `${text} (${run.substate})` : text;
}

function buildDevice({ id }) {
  const row = cells(7);
  const [device, type, installed, admission, seen, doing, actions] = row.children;
  const current = () => shown.devices.find((one) => one.id === id);
  const accept = button('accept', () => call('POST', `/devices/${id}/accept`), { action: 'accept' });
  const reject = button('reject', () => call('POST', `/devices/${id}/reject`), { action: 'reject' });
  const remove = button('remove', async () => {
    if (confirm(t('removeAsk', identityText(current())))) await call('DELETE', `/devices/${id}`);
  });
  actions.append(accept, reject, remove);
  row.update = (one) => {
    const name = identityText(one);
    setText(device, name);
    for (const element of [accept, reject, remove]) {
      element.setAttribute('aria-label', `${element.textContent}: ${name}`);
    }
    setText(type, attribute(one, 'device_type'));
    setText(installed, attribute(one, 'artifact_name'));
    const asksAgain = one.status === 'accepted' && one.auth_sets.at(-1)?.status === 'pending';
    const status = statusText(one.status);
    setText(admission, asksAgain ? `${status}; ${t('anotherKey')}` : status, asksAgain ? 'waits' : '');
    accept.hidden = one.status === 'accepted' && !asksAgain;
    reject.hidden = one.status === 'rejected';
    setText(seen, timeText(one.last_seen_at));
    setText(doing, one.current ? runText(one.current) : t('never'), one.current ? runClass(one.current) : '');
  };
  return row;
}

function buildArtifact({ id }) {
  const row = cells(6);
  const [name, types, payload, size, uploaded, actions] = row.children;
  const remove = button('remove', async () => {
    if (confirm(t('removeAsk', name.textContent))) await call('DELETE', `/artifacts/${id}`);
  });
  actions.append(remove);
  row.update = (one) => {
    setText(name, one.artifact_name);
    setText(types, one.device_types_compatible.join(', '));
    setText(payload, one.payload_type ?? t('never'));
    setText(size, sizeText(one.size_bytes));
    setText(uploaded, timeText(one.uploaded_at));
    remove.setAttribute('aria-label', `${remove.textContent}: ${one.artifact_name}`);
  };
  return row;
}

function buildRun({ deployment_id: deploymentId, device_id: deviceId }) {
  const row = cells(3);
  const [device, status, actions] = row.children;
  const log = button('log', async () => {
    const { messages } = await call('GET', `/deployments/${deploymentId}/devices/${deviceId}/log`);
    $('log-text').textContent = messages
      .map((one) => `${one.timestamp} ${one.level} ${one.message}`)
      .join('\n');
    $('log').showModal();
  });
  actions.append(log);
  row.update = (run) => {
    const known = shown.devices.find((one) => one.id === deviceId);
    const name = known ? identityText(known) : deviceId;
    setText(device, name);
    const text = runText(run);
    setText(status, run.follows_maps === false ? `${text}; ${t('noMaps')}` : text, runClass(run));
    log.hidden = !run.has_log;
    log.setAttribute('aria-label', `${log.textContent}: ${name}`);
  };
  return row;
}

function buildRelease(id, point) {
  const form = make('form', { data: { point } });
  const title = make('strong');
  const time = make('input', { type: 'datetime-local', step: 1 });
  const release = async (at) => {
    await call('POST', `/deployments/${id}/release`, { point, at });
    say(at === null ? t('released') : t('planned', timeText(at)), true);
  };
  const now = button('releaseNow', () => release(null), { action: 'release-now' });
  const later = button(
    'releaseAt',
    () => {
      if (time.value === '') throw new Error(t('noTime'));
      return release(new Date(time.value).toISOString());
    },
    { action: 'release-at' },
  );
  // What is typed is this browser's time; devices act on the moment.
  const zone = make('small', {}, Intl.DateTimeFormat().resolvedOptions().timeZone);
  form.append(title, now, later, time, zone);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    later.click();
  });
  form.update = () => {
    const name = t(`point_${point}`);
    setText(title, name);
    time.setAttribute('aria-label', t('at', name));
    for (const element of [now, later]) element.setAttribute('aria-label', `${element.textContent}: ${name}`);
  };
  return form;
}

function buildDeployment({ id }) {
  const title = make('h3');
  const facts = make('p');
  const releases = make('p', { className: 'waits' });
  const points = make('div');
  const text = make('textarea', { spellcheck: false });
  const saveMap = button('saveMap', async () => {
    await call('PUT', `/deployments/${id}/update_control_map`, {
      update_control_map: JSON.parse(text.value),
    });
    isEdited = false;
    say(t('mapSet'), true);
  });
  let isEdited = false;
  text.addEventListener('input', () => (isEdited = true));
  const map = make(
    'details',
    {},
    make('summary', { data: { text: 'changeMap' } }, t('changeMap')),
    text,
    saveMap,
  );
  const rows = make('tbody');
  const heads = ['device', 'status', 'actions'].map((key) =>
    make('th', { scope: 'col', data: { text: key } }, t(key)),
  );
  const table = make('table', {}, make('thead', {}, make('tr', {}, ...heads)), rows);
  const abort = button(
    'abort',
    async () => {
      if (confirm(t('abortAsk', title.textContent))) await call('POST', `/deployments/${id}/abort`);
    },
    { action: 'abort' },
  );
  const article = make('article', {}, title, facts, releases, points, map, table, abort);
  article.update = (one) => {
    setText(title, one.name === one.artifact_name ? one.name : `${one.name}: ${one.artifact_name}`);
    const counts = Object.entries(one.device_counts).map(
      ([status, count]) => `${count} ${statusText(status)}`,
    );
    setText(facts, `${statusText(one.status)}, ${timeText(one.created_at)}; ${counts.join(', ')}`);
    const isOver = one.status === 'finished' || one.status === 'aborted';
    abort.hidden = isOver;
    abort.setAttribute('aria-label', `${abort.textContent}: ${title.textContent}`);
    setText(
      releases,
      one.releases
        .map(({ point, at, has_passed: hasPassed }) =>
          t(hasPassed ? 'releaseDone' : 'releasePlanned', t(`point_${point}`), timeText(at)),
        )
        .join('; '),
      'waits',
    );
    const held = POINTS.filter((point) => one.update_control_map?.states[point]?.action === 'pause');
    syncList(points, isOver ? [] : held.map((point) => ({ id: point })), ({ id: point }) =>
      buildRelease(id, point),
    );
    map.hidden = one.update_control_map === null || isOver;
    text.setAttribute('aria-label', t('mapText'));
    const written = JSON.stringify(one.update_control_map, null, 2);
    if (!isEdited && document.activeElement !== text && text.value !== written) text.value = written;
    table.hidden = !one.devices;
    syncList(
      rows,
      (one.devices ?? []).map((run) => ({ ...run, deployment_id: id })),
      buildRun,
    );
  };
  return article;
}

function show() {
  for (const element of document.querySelectorAll('[data-text]'))
    setText(element, t(element.dataset.text), element.className);
  document.documentElement.lang = language;
  showConnection(connection);
  syncList($('devices'), shown.devices, buildDevice);
  syncList($('artifacts'), shown.artifacts, buildArtifact);
  syncList($('deployments'), shown.deployments, buildDeployment);
  for (const kind of ['devices', 'artifacts', 'deployments']) $(`no-${kind}`).hidden = shown[kind].length > 0;
  showChoices(
    $('create-artifact'),
    shown.artifacts.map((one) => [one.id, one.artifact_name]),
  );
  const accepted = shown.devices.filter((one) => one.status === 'accepted');
  showChoices($('create-device'), [
    ['', t('allDevices')],
    ...accepted.map((one) => [one.id, identityText(one)]),
  ]);
  syncList(
    $('create-points'),
    POINTS.map((point) => ({ id: point })),
    ({ id: point }) => {
      const words = make('span');
      const box = make('input', { type: 'checkbox', name: 'point', value: point });
      const label = make('label', {}, box, ' ', words);
      label.update = () => setText(words, t(`point_${point}`));
      return label;
    },
  );
}
function showConnection(now) {
  connection = now;
  setText($('connection'), now === '' ? '' : t(now), now === 'live' ? 'fine' : 'failed');
}
function showChoices(select, choices) {
  const now = [...select.options].map((one) => [one.value, one.textContent]);
  if (JSON.stringify(now) === JSON.stringify(choices)) return;
  const chosen = select.value;
  select.replaceChildren(...choices.map(([value, text]) => make('option', { value }, text)));
  if (choices.some(([value]) => value === chosen)) select.value = chosen;
}

// ---- reading ----

let reading = null;
let isReadAgain = false;
/** One reading at a time; changes meanwhile lead to one more. */
async function read() {
  if (reading) {
    isReadAgain = true;
    return reading;
  }
  reading = (async () => {
    do {
      isReadAgain = false;
      const [devices, artifacts, deployments] = await Promise.all([
        call('GET', '/devices?attributes=device_type,artifact_name'),
        call('GET', '/artifacts'),
        call('GET', `/deployments?limit=${SHOWN_DEPLOYMENTS}`),
      ]);
      const full = await Promise.all(
        deployments.map((one) => call('GET', `/deployments/${one.id}`).catch(() => one)),
      );
      Object.assign(shown, { devices, artifacts, deployments: full });
      show();
      // Many changes at once are one reading.
      await new Promise((resolve) => setTimeout(resolve, 150));
    } while (isReadAgain);
  })();
  try {
    await reading;
  } finally {
    reading = null;
  }
}

let watching = 0;
/** By fetch: an EventSource can carry the token in no header. */
async function watch() {
  const mine = ++watching;
  for (let waitMs = 500; mine === watching && token !== ''; waitMs = Math.min(waitMs * 2, 10_000)) {
    try {
      const response = await fetch(`${API}/events`, { headers: { 'X-Holdpoint-Token': token } });
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      showConnection('live');
      waitMs = 250;
      await read();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = '';
      for (;;) {
        const { done, value } = await reader.read();
        if (done || mine !== watching) break;
        const lines = (rest + value).split('\n');
        rest = lines.pop();
        if (lines.some((line) => line === 'event: change')) void read().catch((error) => say(error.message));
      }
      await reader.cancel();
    } catch (error) {
      console.info('events:', error.message);
    }
    if (mine !== watching || token === '') return;
    showConnection('lost');
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

function logIn(given) {
  token = given.trim();
  sessionStorage.setItem('token', token);
  $('login').hidden = token !== '';
  $('content').hidden = token === '';
  if (token === '') $('token').focus();
  else
    void attempt(async () => {
      await read();
      void watch();
    });
}
function logOut() {
  watching++;
  showConnection('');
  logIn('');
}

// ---- beginning ----

$('login').addEventListener('submit', (event) => {
  event.preventDefault();
  logIn($('token').value);
});
$('language').value = language;
$('language').addEventListener('change', () => {
  language = $('language').value;
  localStorage.setItem('language', language);
  // What was said before was said in the other one.
  say('');
  show();
});
$('upload').addEventListener('submit', (event) => {
  event.preventDefault();
  void attempt(async () => {
    const [file] = $('upload-file').files;
    if (!file) throw new Error(t('noFile'));
    $('upload-button').disabled = true;
    $('upload-progress').hidden = false;
    let artifact;
    try {
      artifact = await uploadFile(file);
      $('upload').reset();
    } finally {
      $('upload-button').disabled = false;
      $('upload-progress').hidden = true;
    }
    say(t('uploadDone', artifact.artifact_name), true);
    await read();
    $('create-artifact').value = artifact.id;
  });
});
$('create').addEventListener('submit', (event) => {
  event.preventDefault();
  void attempt(async () => {
    const rule = { action: 'pause', on_map_expire: $('create-expire').value };
    const points = [...document.querySelectorAll('#create-points input:checked')].map((box) => [
      box.value,
      rule,
    ]);
    await call('POST', '/deployments', {
      name: $('create-name').value,
      artifact_id: $('create-artifact').value,
      devices: $('create-device').value === '' ? { all: true } : { ids: [$('create-device').value] },
      force: $('create-force').checked,
      ...(points.length === 0 ? {} : { update_control_map: { states: Object.fromEntries(points) } }),
    });
    $('create').reset();
    say(t('createDone'), true);
    await read();
  });
});
// A release that is planned passes without a change on the server: look now and then.
setInterval(() => {
  if (token !== '' && shown.deployments.some((one) => one.holdpoint)) void read().catch(() => {});
}, 2_000);

const fromLink = /[#&]token=([^&]+)/.exec(location.hash)?.[1];
// Neither in the address bar nor in the history.
if (fromLink) history.replaceState(null, '', location.pathname);
show();
logIn(fromLink ? decodeURIComponent(fromLink) : (sessionStorage.getItem('token') ?? ''));

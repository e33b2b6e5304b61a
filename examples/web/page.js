// SPDX-License-Identifier: 0BSD
// Shows what the bridge sends, and sends back what was pressed. All words come from the bridge.
const token = location.hash.slice(1);
const byId = (id) => document.getElementById(id);

function setText(id, text) {
  byId(id).textContent = text;
  byId(id).hidden = text === '';
}

function answer(name, ticket) {
  return fetch('/answer', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Token': token },
    body: JSON.stringify({ answer: name, ticket }),
  });
}

function button(name, label, ticket) {
  const element = document.createElement('button');
  element.textContent = label;
  element.dataset.answer = name;
  // The ticket of the question that is on the screen, whatever comes meanwhile.
  element.addEventListener('click', () => void answer(name, ticket));
  return element;
}

function show(seen) {
  document.documentElement.lang = seen.language;
  document.title = seen.title;
  setText('status', seen.status);
  setText('facts', seen.facts.join('\n'));
  setText('notes', seen.notes);
  setText('last', seen.last);
  setText('problem', seen.problem);
  byId('bar').hidden = seen.progress === null;
  byId('progress').value = seen.progress ?? 0;
  setText('progress-text', seen.progress_text);
  byId('waits').replaceChildren(
    ...seen.waits.map((text) => Object.assign(document.createElement('li'), { textContent: text })),
  );
  const buttons = seen.buttons.map((name) => button(name, seen.labels[name], seen.ticket));
  const signature = JSON.stringify([seen.buttons, seen.ticket]);
  if (byId('buttons').dataset.shown === signature) return;
  byId('buttons').dataset.shown = signature;
  byId('buttons').replaceChildren(...buttons);
}

// The browser connects again by itself.
new EventSource(`/events?token=${encodeURIComponent(token)}`).addEventListener('message', ({ data }) =>
  show(JSON.parse(data)),
);

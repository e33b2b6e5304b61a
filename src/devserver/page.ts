/** The web page: three files, which the build puts into the program. They hold no secret; what they show is fetched. */
import { readFileSync } from 'node:fs';
import { sendNothing, sendText, type Route } from './http.ts';

const HTML = readFileSync(new URL('./page/index.html', import.meta.url), 'utf8');
const SCRIPT = readFileSync(new URL('./page/page.js', import.meta.url), 'utf8');
const STYLE = readFileSync(new URL('./page/page.css', import.meta.url), 'utf8');

const HEADERS = {
  // Nothing from elsewhere, nothing inline, no frame around it.
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

export function pageRoutes(): readonly Route[] {
  const file = (path: string, type: string, text: string): Route => ({
    method: 'GET',
    path,
    handle: async ({ response }) =>
      sendText(response, 200, text, { ...HEADERS, 'Content-Type': `${type}; charset=utf-8` }),
  });
  return [
    file('/', 'text/html', HTML),
    file('/page.js', 'text/javascript', SCRIPT),
    file('/page.css', 'text/css', STYLE),
    // Browsers ask for it whatever the page says.
    { method: 'GET', path: '/favicon.ico', handle: async ({ response }) => sendNothing(response) },
  ];
}

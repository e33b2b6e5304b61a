/**
 * What of undici goes into our programs: its dispatchers and what they can be asked. Its own index brings fetch, WebSockets, mocks
 * and caches along, 350 KB that every start would have to compile and run. Used by build.mjs in place of `undici`.
 */
const Dispatcher = require('../node_modules/undici/lib/dispatcher/dispatcher.js');

// As its index does; the proxy agent needs `connect` of them.
Object.assign(Dispatcher.prototype, require('../node_modules/undici/lib/api/index.js'));

module.exports = {
  Agent: require('../node_modules/undici/lib/dispatcher/agent.js'),
  Pool: require('../node_modules/undici/lib/dispatcher/pool.js'),
  ProxyAgent: require('../node_modules/undici/lib/dispatcher/proxy-agent.js'),
  buildConnector: require('../node_modules/undici/lib/core/connect.js'),
};

/** The service as it is shipped, struck in one of its saves: see striking-store.ts. Bundled for the tests alone. */
import './striking-store.ts';
import '../../../src/main.ts';

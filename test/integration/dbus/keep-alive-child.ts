import { Bus } from '../../../src/adapters/dbus/connection.ts';
import { HOLDPOINT_BUS_NAME } from '../../../src/adapters/dbus/interface-xml.ts';
import { RecordingLog } from '../../support/recording-log.ts';

/** A process that has nothing to live for but its connection to the bus. Prints each state. */
const bus = new Bus({
  address: process.argv[2] ?? '',
  names: [{ name: HOLDPOINT_BUS_NAME }],
  log: new RecordingLog(),
});
bus.state$.subscribe((state) => process.stdout.write(`${state}\n`));
bus.start();

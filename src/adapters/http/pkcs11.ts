/** Keys behind PKCS#11 are somebody else's: refused by name, wherever one is configured. */
import { UpdateError } from '../../core/errors.ts';

/** Throws (kind `config`) for a key in a hardware store. `name`: the configuration key it stands in. */
export function refusePkcs11(key: string, name: string): void {
  if (!/^pkcs11:/i.test(key)) return;
  // The URI may carry a PIN.
  throw new UpdateError(
    'config',
    `${name}: keys behind pkcs11: are not supported, expected the path of a PEM file`,
    {
      details: { key: name, reason: 'pkcs11' },
    },
  );
}

/**
 * How much of anything an artifact may have, so that memory stays bounded whatever it claims.
 * Source: spec/artifact.md section 11. Payload size is not limited here: it never rests in memory.
 */
const KIB = 1024;
const MIB = 1024 * KIB;

export const LIMITS = {
  versionBytes: 1 * KIB,
  manifestBytes: 1 * MIB,
  manifestLines: 4096,
  signatureBytes: 8 * KIB,
  headerStoredBytes: 16 * MIB,
  headerUnpackedBytes: 64 * MIB,
  /** header-info, type-info and meta-data, each. */
  headerJsonBytes: 1 * MIB,
  scriptBytes: 10 * MIB,
  scripts: 1000,
  scriptNameBytes: 255,
  fileNameBytes: 100,
  /** Names and values of the header. */
  textBytes: 256,
  jsonDepth: 100,
  /** Window of xz and zstd. */
  windowBytes: 128 * MIB,
  /** One pax header or GNU long name. */
  tarExtensionBytes: 64 * KIB,
  /** Extension headers in front of one tar member. */
  tarExtensions: 16,
  verifyKeyBytes: 64 * KIB,
  /** Largest piece of content handed on at once: hashed in one go, and for so long (0.2 ms) nothing else happens. */
  chunkBytes: 256 * KIB,
} as const;

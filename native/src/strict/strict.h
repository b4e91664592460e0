/* strict.h - is this body strict MessagePack, and what is its canonical form?
 *
 * Strict: shortest ints and lengths, float64 only, unique UTF-8 string keys in any order, NaN as
 * one bit pattern, timestamp (in its shortest of three forms) the only extension type, at most
 * TD_DEPTH_MAX open containers, exactly one value. Canonical: strict, and the keys of every map
 * ascend by their bytes. `layers/native/codec.py` accepts exactly the same bytes.
 *
 * Time:    linear in `bytes`, whatever they are: keys are compared through a keyed hash, so
 *          nobody can choose keys that collide. td_canonical() sorts, and walks a value once for
 *          each container around it.
 * Threads: any; no shared state.
 * Memory:  none unless a map has more than 16 keys, not in order; then at most 24 bytes for
 *          each key of the maps open at one time, given back before the return. Keys that differ
 *          cost bytes, so this stays below eight times `bytes`. td_canonical() takes 80 more for
 *          each key of the maps open at one time.
 * Errors:  TD_CORRUPT; TD_TOO_LARGE for 4 GiB and more; TD_ERR_MEMORY.
 */
#ifndef TD_STRICT_H
#define TD_STRICT_H

#include <stddef.h>
#include <stdint.h>

#include "tandem/message.h"
#include "tandem/status.h"

/* TD_OK when the bytes are one strict value. */
td_status td_strict_check(const uint8_t *data, size_t bytes);

/* TD_OK when the bytes are the 2-array [payload, inputs] that extension record 7 announces, each
 * strict by itself (so the array does not count towards their depth), and inputs is a map. */
td_status td_strict_check_pair(const uint8_t *data, size_t bytes);

/* TD_OK when canonical; TD_FAILED when strict, but some map's keys are out of order. */
td_status td_canonical_check(const uint8_t *data, size_t bytes);

/* Append the canonical form of a strict value to `out`. It has the same number of bytes.
 * Errors: those of the check, which is made first, and of the writer. */
td_status td_canonical(const uint8_t *data, size_t bytes, td_writer *out);

#endif /* TD_STRICT_H */

/* docgen_scan_ignore.h - read .gitignore files and decide what they leave out, as git does.
 *
 * Bytes of a file in, verdicts out; who opens the file is the walk's business. The odd corners
 * are git's: a literal start is compared before the glob sees the rest, so "a**" followed by
 * "/b" matches "ab". `scan_ignore.py` is the twin.
 *
 * Source:  git 2.39, dir.c (parse_path_pattern, last_matching_pattern_from_list).
 * Threads: one at a time may ask a chain of rules.
 * Memory:  each tdi_rules owns what it read, and borrows `outer`.
 * Errors:  TD_ERR_MEMORY. A line that can match nothing is dropped.
 */
#ifndef TDI_DOCGEN_SCAN_IGNORE_H
#define TDI_DOCGEN_SCAN_IGNORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tandem/status.h"

/* Ignore files of a directory and those above it together: more is reported and not honoured,
 * so that memory and the work for one path stay bounded. */
#define TDI_IGNORE_BYTES_MAX (256u * 1024u)

typedef struct tdi_rules tdi_rules;

/* Parse `bytes` bytes at `data`. `base_bytes` is the length of the directory's path with its
 * '/'; `outer` are the rules of the directories above (NULL: none) and must live longer.
 * `*out` is NULL when no line can match. */
td_status tdi_rules_create(const uint8_t *data, size_t bytes, size_t base_bytes, tdi_rules *outer,
                           tdi_rules **out);

/* Bytes of the ignore files in this chain; 0 for NULL. */
size_t tdi_rules_bytes(const tdi_rules *rules);

/* Is `path` (below the root of the scan; its last `name_bytes` bytes are its name) left out?
 * Its parents are taken to be kept. `rules` may be NULL. */
bool tdi_rules_ignore(tdi_rules *rules, const uint8_t *path, size_t path_bytes, size_t name_bytes,
                      bool is_dir);

/* Frees this one, not `outer`. NULL is allowed. */
void tdi_rules_destroy(tdi_rules *rules);

#endif /* TDI_DOCGEN_SCAN_IGNORE_H */

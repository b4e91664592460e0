/* docgen_scan_glob.h - match one glob as git's wildmatch does, without backtracking.
 *
 * A pattern becomes a row of positions, a set of positions is a row of bits, and each byte of
 * the text costs a few operations on them (the "shift-and" method), whatever the pattern says.
 * `scan_glob.py` runs the same automaton.
 *
 * Source:  git 2.39, wildmatch.c; R. Baeza-Yates and G. Gonnet, "A New Approach to Text
 *          Searching", CACM 35(10), 1992.
 * Threads: one at a time may use a glob: it holds the state of its match.
 * Memory:  one block, given back by tdi_glob_destroy().
 * Errors:  a pattern that can match nothing (an open bracket, an unknown class, a lone
 *          backslash at its end) is no error: it compiles to "never".
 */
#ifndef TDI_DOCGEN_SCAN_GLOB_H
#define TDI_DOCGEN_SCAN_GLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tandem/status.h"

typedef struct tdi_glob tdi_glob;

/* Compile `pattern` (no NUL in it). `pathname`: "*", "?" and "[...]" do not match "/", and "**"
 * has its meaning. `*out` is NULL for a pattern that matches nothing.
 * Errors: TD_ERR_MEMORY. */
td_status tdi_glob_create(const uint8_t *pattern, size_t bytes, bool pathname, tdi_glob **out);

/* Does the whole of `text` match? O(bytes of text * bytes of pattern / 64). */
bool tdi_glob_matches(tdi_glob *glob, const uint8_t *text, size_t bytes);

/* NULL is allowed. */
void tdi_glob_destroy(tdi_glob *glob);

#endif /* TDI_DOCGEN_SCAN_GLOB_H */

/* docgen_scan_output.h - write what a walk found as the output of docgen.scan_codebase.
 *
 * The keys of every map are written in byte order, so the output is canonical as it is.
 *
 * Threads: one.
 * Memory:  borrows the walk; 16 bytes an entry while it writes.
 * Errors:  the writer's sticky status, or TD_ERR_MEMORY.
 */
#ifndef TDI_DOCGEN_SCAN_OUTPUT_H
#define TDI_DOCGEN_SCAN_OUTPUT_H

#include "docgen_scan_walk.h"

td_status tdi_scan_write(tdi_walk *walk, td_writer *out);

/* Copy `text`, each maximal part that is not UTF-8 replaced by U+FFFD, as the WHATWG's decoder
 * and Python's "replace" do. `out` has room for three times `bytes`. Returns the bytes used. */
size_t tdi_utf8_replace(const uint8_t *text, size_t bytes, uint8_t *out);

#endif /* TDI_DOCGEN_SCAN_OUTPUT_H */

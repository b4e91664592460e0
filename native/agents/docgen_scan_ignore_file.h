/* docgen_scan_ignore_file.h - open the .gitignore of one directory, if it has a fit one.
 *
 * Threads: any; no state.
 * Memory:  what it returns is the caller's; see docgen_scan_ignore.h.
 * Errors:  TD_ERR_MEMORY; an unfit file is an entry of the output.
 */
#ifndef TDI_DOCGEN_SCAN_IGNORE_FILE_H
#define TDI_DOCGEN_SCAN_IGNORE_FILE_H

#include "docgen_scan_file.h"
#include "docgen_scan_ignore.h"

#define TDI_IGNORE_NAME ".gitignore"

/* Read the rules of the directory `dir_fd`, whose path has `base_bytes` bytes with its '/'.
 * `*own` stays NULL where there are none; then `*error` may say why. Links, directories and odd
 * files of that name count as none, as in git, and are not opened. */
td_status tdi_ignore_file_read(int dir_fd, size_t base_bytes, tdi_rules *outer, tdi_rules **own,
                               tdi_scan_error *error);

#endif /* TDI_DOCGEN_SCAN_IGNORE_FILE_H */

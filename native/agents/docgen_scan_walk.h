/* docgen_scan_walk.h - visit every entry of a tree once, however deep it is.
 *
 * No path longer than one name is ever given to the kernel, so trees beyond PATH_MAX are walked
 * like any other; the stack is an array, so depth costs no recursion; at most
 * TDI_SCAN_OPEN_DIRS_MAX directories are open, the shallowest being closed first and found
 * again through "..", whose device and inode must then be the old ones. Symbolic links are
 * counted, never followed. `scan_walk.py` is the twin.
 *
 * Threads: one walk belongs to one thread; a team of helpers may read the files it finds.
 * Memory:  grows with the entries found, not with the sizes of files.
 * Errors:  of single entries are found entries; see tdi_walk_run() for those of a walk.
 */
#ifndef TDI_DOCGEN_SCAN_WALK_H
#define TDI_DOCGEN_SCAN_WALK_H

#include "docgen_scan_file.h"
#include "docgen_scan_grow.h"
#include "docgen_scan_request.h"
#include "docgen_scan_team.h"

#define TDI_SCAN_OPEN_DIRS_MAX 64
#define TDI_SCAN_POLL_ENTRIES  64

/* One entry of the output. Its path is in tdi_walk.paths. */
typedef struct tdi_found {
    size_t path_at, path_bytes;
    tdi_scan_error error; /* TDI_SCAN_FINE: a file, and `facts` holds */
    tdi_file_facts facts;
} tdi_found;

typedef struct tdi_walk {
    const tdi_scan_request *request;
    td_call *call;
    tdi_grow found; /* tdi_found, in no order */
    tdi_grow paths; /* their bytes, below the root */
    uint64_t directories, symlinks, ignored, entries;
    /* private to the walk */
    tdi_grow prefix;  /* path of the deepest directory, with its '/' */
    tdi_grow stack;   /* directories from the root to the deepest */
    tdi_grow pending; /* names of directories still to enter, for all of the stack */
    size_t first_open;
    tdi_reading reading;
    tdi_team *team;
    tdi_batch *batch; /* files of the deepest directory, still to be submitted; or NULL */
    uint8_t *listing;
    uint64_t bytes_unpolled; /* read since the last look at the cancel flag */
    td_status status;
} tdi_walk;

/* Visit everything below the root, a NUL-terminated path.
 * Errors: TD_ERR_SYSTEM (the root cannot be opened; errno), TD_ERR_MEMORY, TD_TOO_LARGE (more
 *         than max_files), TD_CANCELLED. Call tdi_walk_fini() in any case. */
td_status tdi_walk_run(tdi_walk *walk, const tdi_scan_request *request, td_call *call,
                       const char *root);
void tdi_walk_fini(tdi_walk *walk);

#endif /* TDI_DOCGEN_SCAN_WALK_H */

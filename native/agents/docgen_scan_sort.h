/* docgen_scan_sort.h - put paths in the order of their bytes, eight bytes a comparison.
 *
 * Many paths share long beginnings, so a sort that compares whole paths reads the same bytes over
 * and over. This one splits by the next eight bytes as one number, and looks further only among
 * those that agree.
 *
 * Source:  J. Bentley and R. Sedgewick, "Fast Algorithms for Sorting and Searching Strings",
 *          SODA 1997 (multikey quicksort), with a merge sort where pivots are bad.
 * Threads: any; no state.
 * Memory:  16 bytes a path and a stack of ranges, given back before it returns but for `*out`.
 * Errors:  TD_ERR_MEMORY.
 */
#ifndef TDI_DOCGEN_SCAN_SORT_H
#define TDI_DOCGEN_SCAN_SORT_H

#include <stddef.h>
#include <stdint.h>

#include "tandem/status.h"

/* A path without NUL in it. */
typedef struct tdi_path {
    size_t at, bytes;
    uint64_t rank; /* orders equal paths */
} tdi_path;

/* One of them in its place. */
typedef struct tdi_placed {
    uint64_t key; /* the sort's own */
    size_t index; /* which path */
} tdi_placed;

/* Path `index` of `owner`. */
typedef tdi_path tdi_path_of(const void *owner, size_t index);

/* `*out` becomes the order of the `count` paths in `bytes`, free() it; NULL for none. */
td_status tdi_paths_sort(const uint8_t *bytes, tdi_path_of *path_of, const void *owner,
                         size_t count, tdi_placed **out);

#endif /* TDI_DOCGEN_SCAN_SORT_H */

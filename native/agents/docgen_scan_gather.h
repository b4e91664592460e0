/* docgen_scan_gather.h - keep what a walk finds, have its files read, hear when to stop.
 *
 * An entry is kept when it is found; what its file holds is filled in when a team has read it.
 *
 * Threads: the walk's.
 * Memory:  grows in the walk.
 * Errors:  whatever ends a walk is remembered in walk->status; the first stays.
 */
#ifndef TDI_DOCGEN_SCAN_GATHER_H
#define TDI_DOCGEN_SCAN_GATHER_H

#include "docgen_scan_walk.h"

/* Remember the first thing that ends the walk. */
void tdi_walk_end(tdi_walk *walk, td_status status);

/* Look at the cancel flag and tell the progress. True: the walk has ended. */
bool tdi_walk_stop_asked(tdi_walk *walk);

/* Count one entry, or bytes read (`owner` is the walk); look at the flag where it is due. */
void tdi_walk_note_entry(tdi_walk *walk);
bool tdi_walk_stop_after_bytes(void *owner, size_t bytes);

/* Keep an entry: walk->prefix, cut to `prefix_bytes`, and `name`. Ends the walk beyond
 * max_files. */
void tdi_walk_keep(tdi_walk *walk, size_t prefix_bytes, const char *name, tdi_scan_error error);

/* Keep the file `name` of the directory `fd`, and have it read sooner or later. */
void tdi_walk_gather(tdi_walk *walk, int fd, const char *name);

/* Let what was gathered of the directory `fd` be read. True: the caller, who `gives` the descriptor
 * away, has it no longer. */
bool tdi_walk_submit(tdi_walk *walk, int fd, bool gives);

/* Until every file has been read, or the walk has ended. */
void tdi_walk_await(tdi_walk *walk);

#endif /* TDI_DOCGEN_SCAN_GATHER_H */

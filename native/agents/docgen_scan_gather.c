#include "docgen_scan_gather.h"

#define POLL_BYTES (1u << 20)

/* Remember the first thing that ends the walk. */
void tdi_walk_end(tdi_walk *walk, td_status status)
{
    if (walk->status == TD_OK)
        walk->status = status;
}

bool tdi_walk_stop_asked(tdi_walk *walk)
{
    walk->bytes_unpolled = 0;
    if (td_cancelled(walk->call))
        tdi_walk_end(walk, TD_CANCELLED);
    else
        td_progress(walk->call, walk->entries, 0);
    return walk->status != TD_OK;
}

/* The reading's `stop`. */
bool tdi_walk_stop_after_bytes(void *owner, size_t bytes)
{
    tdi_walk *const walk = owner;
    walk->bytes_unpolled += bytes;
    return walk->bytes_unpolled >= POLL_BYTES ? tdi_walk_stop_asked(walk) : walk->status != TD_OK;
}

void tdi_walk_note_entry(tdi_walk *walk)
{
    if (++walk->entries % TDI_SCAN_POLL_ENTRIES == 0)
        tdi_walk_stop_asked(walk);
}

/* Keep one found entry: the prefix, cut to `prefix_bytes`, and `name`. */
void tdi_walk_keep(tdi_walk *walk, size_t prefix_bytes, const char *name, tdi_scan_error error)
{
    const size_t name_bytes = strlen(name);
    const tdi_found found = {
        .path_at = walk->paths.bytes, .path_bytes = prefix_bytes + name_bytes, .error = error};
    if (!tdi_grow_add(&walk->paths, walk->prefix.data, prefix_bytes) ||
        !tdi_grow_add(&walk->paths, name, name_bytes) ||
        !tdi_grow_add(&walk->found, &found, sizeof found))
        tdi_walk_end(walk, TD_ERR_MEMORY);
    if (walk->found.bytes / sizeof found > walk->request->max_files)
        tdi_walk_end(walk, TD_TOO_LARGE);
}

/* Take over what has been read. */
static void collect(tdi_walk *walk)
{
    tdi_found *const all = (void *)walk->found.data;
    tdi_batch *batch = tdi_team_collect(walk->team);
    while (batch != NULL) {
        tdi_batch *const next = batch->next;
        for (size_t i = 0; i < batch->count; i++) {
            all[batch->files[i].index].error = batch->files[i].error;
            all[batch->files[i].index].facts = batch->files[i].facts;
        }
        tdi_team_give_back(walk->team, batch);
        batch = next;
    }
}

/* Let the files gathered so far be read; `fd` is their directory. */
bool tdi_walk_submit(tdi_walk *walk, int fd, bool gives)
{
    tdi_batch *const batch = walk->batch;
    walk->batch = NULL;
    if (batch == NULL)
        return false;
    if (walk->status != TD_OK) {
        tdi_team_give_back(walk->team, batch); /* nobody will ask for it */
        return false;
    }
    const bool taken = tdi_team_submit(walk->team, batch, fd, gives);
    collect(walk);
    return taken;
}

/* Gather one file. Its entry is kept now and filled in when it has been read. */
void tdi_walk_gather(tdi_walk *walk, int fd, const char *name)
{
    while (walk->batch == NULL && walk->status == TD_OK) {
        walk->batch = tdi_team_spare(walk->team);
        if (walk->batch != NULL)
            break;
        tdi_team_help(walk->team);
        collect(walk);
        tdi_walk_stop_asked(walk);
    }
    const size_t index = walk->found.bytes / sizeof(tdi_found);
    tdi_walk_keep(walk, walk->prefix.bytes, name, TDI_SCAN_FINE);
    if (walk->status != TD_OK)
        return;
    if (!tdi_batch_add(walk->batch, name, index))
        tdi_walk_end(walk, TD_ERR_MEMORY);
    else if (walk->batch->count == TDI_BATCH_FILES)
        tdi_walk_submit(walk, fd, false);
}

/* Until every submitted file has been read. */
void tdi_walk_await(tdi_walk *walk)
{
    while (walk->team->unfinished > 0 && walk->status == TD_OK) {
        tdi_team_help(walk->team);
        collect(walk);
        tdi_walk_stop_asked(walk);
    }
}

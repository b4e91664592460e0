/* arena.h - memory of one run: taken piece by piece, given back all at once.
 *
 * Threads: one.
 * Memory:  chunks from the heap, in all at most bytes_max; adopted buffers count, too.
 * Errors:  NULL, or TD_TOO_LARGE from a writer, when the run's bytes are used up.
 */
#ifndef TDI_ARENA_H
#define TDI_ARENA_H

#include "tandem/message.h"

typedef struct tdi_chunk tdi_chunk;

typedef struct tdi_arena {
    tdi_chunk *chunks;
    uint8_t *at, *end; /* what is left of the newest chunk */
    uint64_t bytes, bytes_max;
} tdi_arena;

void tdi_arena_init(tdi_arena *arena, uint64_t bytes_max);
void tdi_arena_fini(tdi_arena *arena);

/* `bytes` bytes at a multiple of 8, or NULL. */
void *tdi_arena_take(tdi_arena *arena, size_t bytes);

/* A writer on what is left, which may move to a new chunk. Nothing else may be taken until
 * tdi_arena_keep() fixes what was written, or tdi_arena_begin() is called again and forgets it. */
void tdi_arena_begin(tdi_arena *arena, td_writer *writer);
void tdi_arena_keep(tdi_arena *arena, const td_writer *writer);

/* Own a heap buffer from here on; false (and it is freed) when it is too much. */
bool tdi_arena_adopt(tdi_arena *arena, uint8_t *buffer, size_t bytes);

#endif /* TDI_ARENA_H */

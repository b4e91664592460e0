#include "program/arena.h"

#define CHUNK_BYTES_MIN 4096
#define CHUNK_BYTES_MAX (1 << 20)

struct tdi_chunk {
    tdi_chunk *next;
    uint8_t *adopted; /* or NULL: the bytes follow this header */
};

void tdi_arena_init(tdi_arena *arena, uint64_t bytes_max)
{
    *arena = (tdi_arena){.bytes_max = bytes_max};
}

void tdi_arena_fini(tdi_arena *arena)
{
    while (arena->chunks != NULL) {
        tdi_chunk *const chunk = arena->chunks;
        arena->chunks = chunk->next;
        free(chunk->adopted);
        free(chunk);
    }
    arena->at = arena->end = NULL;
    arena->bytes = 0;
}

/* A new chunk with at least `bytes`; chunks double, so that their number stays small. */
static bool add_chunk(tdi_arena *arena, size_t bytes)
{
    uint64_t room = arena->bytes < CHUNK_BYTES_MIN   ? CHUNK_BYTES_MIN
                    : arena->bytes < CHUNK_BYTES_MAX ? arena->bytes
                                                     : CHUNK_BYTES_MAX;
    const uint64_t left = arena->bytes_max - arena->bytes;
    if (room > left)
        room = left;
    if (room < bytes)
        room = bytes;
    if (room > left)
        return false;
    tdi_chunk *const chunk = malloc(sizeof *chunk + (size_t)room);
    if (chunk == NULL)
        return false;
    chunk->adopted = NULL;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->bytes += room;
    arena->at = (uint8_t *)(chunk + 1);
    arena->end = arena->at + room;
    return true;
}

static uint8_t *aligned(uint8_t *at)
{
    return at + (-(uintptr_t)at & 7);
}

void *tdi_arena_take(tdi_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX - 8)
        return NULL;
    if (arena->at == NULL || (size_t)(arena->end - arena->at) < bytes + 7) {
        if (!add_chunk(arena, bytes + 7))
            return NULL;
    }
    uint8_t *const start = aligned(arena->at);
    arena->at = start + bytes;
    return start;
}

/* Move what was written to a chunk with room for twice as much; the old place is lost until the
 * arena ends, which doubling keeps in proportion. */
static td_status grow(td_writer *writer, size_t need)
{
    tdi_arena *const arena = writer->owner;
    const size_t used = td_writer_bytes(writer);
    if (need > arena->bytes_max)
        return TD_TOO_LARGE;
    if (!add_chunk(arena, 2 * used + need) && !add_chunk(arena, used + need))
        return TD_TOO_LARGE;
    if (used > 0)
        memcpy(arena->at, writer->start, used);
    writer->start = arena->at;
    writer->at = arena->at + used;
    writer->end = arena->end;
    return TD_OK;
}

void tdi_arena_begin(tdi_arena *arena, td_writer *writer)
{
    writer->start = writer->at = arena->at;
    writer->end = arena->end;
    writer->status = TD_OK;
    writer->grow = grow;
    writer->owner = arena;
}

void tdi_arena_keep(tdi_arena *arena, const td_writer *writer)
{
    arena->at = writer->at;
}

bool tdi_arena_adopt(tdi_arena *arena, uint8_t *buffer, size_t bytes)
{
    tdi_chunk *const chunk =
        bytes <= arena->bytes_max - arena->bytes ? malloc(sizeof *chunk) : NULL;
    if (chunk == NULL) {
        free(buffer);
        return false;
    }
    /* Behind the newest, which stays the one that at and end point into. */
    chunk->adopted = buffer;
    if (arena->chunks == NULL) {
        chunk->next = NULL;
        arena->chunks = chunk;
    } else {
        chunk->next = arena->chunks->next;
        arena->chunks->next = chunk;
    }
    arena->bytes += bytes;
    return true;
}

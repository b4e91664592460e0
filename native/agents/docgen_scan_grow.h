/* docgen_scan_grow.h - bytes that grow at their end.
 *
 * Threads: one.  Memory: doubles; given back by tdi_grow_fini().
 * Errors:  false when memory is out; the content is then unchanged.
 */
#ifndef TDI_DOCGEN_SCAN_GROW_H
#define TDI_DOCGEN_SCAN_GROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct tdi_grow {
    uint8_t *data;
    size_t bytes, room;
} tdi_grow;

/* Append `bytes` bytes. Pointers into `grow` are void afterwards. */
static inline bool tdi_grow_add(tdi_grow *grow, const void *data, size_t bytes)
{
    if (grow->room - grow->bytes < bytes) {
        if (bytes > SIZE_MAX / 2 - grow->bytes)
            return false;
        size_t room = grow->room < 2048 ? 4096 : 2 * grow->room;
        if (room < grow->bytes + bytes)
            room = grow->bytes + bytes;
        uint8_t *const more = realloc(grow->data, room);
        if (more == NULL)
            return false;
        grow->data = more;
        grow->room = room;
    }
    if (bytes > 0)
        memcpy(grow->data + grow->bytes, data, bytes);
    grow->bytes += bytes;
    return true;
}

static inline void tdi_grow_fini(tdi_grow *grow)
{
    free(grow->data);
    *grow = (tdi_grow){0};
}

#endif /* TDI_DOCGEN_SCAN_GROW_H */

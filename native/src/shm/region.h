/* region.h - one memfd of a session: a control page, words, and ring data; one writer.
 *
 * A session has two regions. `down` is written by the bridge, `up` by the peer. Each holds its
 * writer's ring data, its tail, its head for the other ring, its sleep ticket, and words: the
 * peer's are cancel words, the bridge's are progress words. The bridge makes both; nobody maps
 * a memfd that a peer made. protocol/memory.md has the picture.
 *
 * Threads: creation and mapping belong to one thread; the fields say who stores and who loads.
 * Memory:  a region is a mapping; tdi_region_unmap gives it back. fds stay the caller's.
 * Errors:  td_status; TD_ERR_SYSTEM leaves errno.
 */
#ifndef TDI_REGION_H
#define TDI_REGION_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
               "a lock inside an atomic is private to one process");

enum {
    TDI_PAGE_BYTES = 4096,
    TDI_HUGE_PAGE_BYTES = 2 << 20,
    TDI_RING_BYTES_MIN = 16 * 1024,
    TDI_RING_BYTES_MAX = 1 << 30,
    TDI_SLOTS_MAX = 4096
};

/* Offset 0 of a region. Each field on a line of its own: they are stored at different times,
 * and loaded by the other process while they are. */
typedef struct tdi_control {
    _Alignas(64) _Atomic uint64_t tail;         /* bytes published into this region's ring */
    _Alignas(64) _Atomic uint64_t head;         /* bytes released of the other region's ring */
    _Alignas(64) _Atomic uint32_t sleep_ticket; /* odd: the writer sleeps and wants frames */
    _Alignas(64) _Atomic uint32_t space_ticket; /* odd: the writer wants room in this ring */
    _Alignas(64) _Atomic uint32_t last_signal;  /* an agent's host: what killed it, or 0 */
    uint8_t reserved[TDI_PAGE_BYTES - 4 * 64 - 4];
} tdi_control;

_Static_assert(sizeof(tdi_control) == TDI_PAGE_BYTES, "control is a page");
_Static_assert(offsetof(tdi_control, head) == 64, "");
_Static_assert(offsetof(tdi_control, sleep_ticket) == 128, "");
_Static_assert(offsetof(tdi_control, space_ticket) == 192, "");
_Static_assert(offsetof(tdi_control, last_signal) == 256, "");

/* done and total as an action last reported them; zeroed before the slot's completion is
 * published. Two relaxed stores: a reader may see a new `done` with an old `total`. */
typedef struct tdi_progress {
    _Atomic uint64_t done, total;
} tdi_progress;

/* With an agent the bridge makes the calls, so the words change sides: `down` has the cancel
 * words, `up` the progress. */
typedef enum tdi_region_kind {
    TDI_REGION_DOWN,
    TDI_REGION_UP,
    TDI_REGION_AGENT_DOWN,
    TDI_REGION_AGENT_UP
} tdi_region_kind;

/* Where things lie; a function of kind, ring_bytes and slots alone, so it is never sent. */
typedef struct tdi_layout {
    uint64_t words_offset, data_offset, bytes;
} tdi_layout;

/* ring_bytes: a power of two in [TDI_RING_BYTES_MIN, TDI_RING_BYTES_MAX];
 * slots in [1, TDI_SLOTS_MAX]. Else TD_ERR_ARGUMENT. */
td_status tdi_layout_of(tdi_region_kind kind, uint64_t ring_bytes, uint32_t slots, tdi_layout *out);

typedef struct tdi_region {
    uint8_t *base;
    uint64_t bytes;
    tdi_control *control;
    uint8_t *data;            /* ring data */
    _Atomic uint32_t *cancel; /* the caller's region: one generation a slot */
    tdi_progress *progress;   /* the other's: one a slot */
} tdi_region;

/* Bridge: create, size, pre-fault, map and seal. A down region is mapped for writing and sealed
 * against any later writable mapping; an up region is mapped for reading only. */
td_status tdi_region_create(tdi_region_kind kind, uint64_t ring_bytes, uint32_t slots, int *fd,
                            tdi_region *out, tdi_error *error);

/* The same in pages of TDI_HUGE_PAGE_BYTES, to which the memfd's size is rounded up: fewer misses
 * of the address cache. TD_ERR_SYSTEM where there are not enough of them, at any stage: making the
 * memfd succeeds with none reserved, taking the pages does not, and nothing is left to be
 * refused at a later touch. */
td_status tdi_region_create_huge(tdi_region_kind kind, uint64_t ring_bytes, uint32_t slots, int *fd,
                                 tdi_region *out, tdi_error *error);

/* Peer: map what the bridge passed, after checking its size and its seals. A down region is
 * mapped for reading only, an up region for writing. Not inherited over fork. */
td_status tdi_region_attach(tdi_region_kind kind, int fd, uint64_t ring_bytes, uint32_t slots,
                            tdi_region *out, tdi_error *error);

/* Safe on a zeroed region. */
void tdi_region_unmap(tdi_region *region);

#endif /* TDI_REGION_H */

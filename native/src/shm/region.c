#include "shm/region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static uint64_t page_up(uint64_t bytes)
{
    return (bytes + TDI_PAGE_BYTES - 1) & ~(uint64_t)(TDI_PAGE_BYTES - 1);
}

static uint64_t huge_up(uint64_t bytes)
{
    return (bytes + TDI_HUGE_PAGE_BYTES - 1) & ~(uint64_t)(TDI_HUGE_PAGE_BYTES - 1);
}

static int bridge_writes(tdi_region_kind kind)
{
    return kind == TDI_REGION_DOWN || kind == TDI_REGION_AGENT_DOWN;
}

/* Written by the side that makes the calls. */
static int has_cancel_words(tdi_region_kind kind)
{
    return kind == TDI_REGION_UP || kind == TDI_REGION_AGENT_DOWN;
}

td_status tdi_layout_of(tdi_region_kind kind, uint64_t ring_bytes, uint32_t slots, tdi_layout *out)
{
    if (ring_bytes < TDI_RING_BYTES_MIN || ring_bytes > TDI_RING_BYTES_MAX ||
        (ring_bytes & (ring_bytes - 1)) != 0 || slots == 0 || slots > TDI_SLOTS_MAX)
        return TD_ERR_ARGUMENT;
    const uint64_t word = has_cancel_words(kind) ? sizeof(_Atomic uint32_t) : sizeof(tdi_progress);
    out->words_offset = TDI_PAGE_BYTES;
    out->data_offset = TDI_PAGE_BYTES + page_up(word * slots);
    out->bytes = out->data_offset + ring_bytes;
    return TD_OK;
}

static void place(tdi_region *region, tdi_region_kind kind, void *base, const tdi_layout *layout)
{
    *region = (tdi_region){
        .base = base,
        .bytes = layout->bytes,
        .control = base,
        .data = (uint8_t *)base + layout->data_offset,
    };
    void *words = (uint8_t *)base + layout->words_offset;
    if (has_cancel_words(kind))
        region->cancel = words;
    else
        region->progress = words;
}

static int create_memfd(const char *name, unsigned more)
{
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | more;
    int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create(name, flags);
    return fd;
}

static td_status seal(int fd, tdi_region_kind kind, tdi_error *error)
{
    /* A peer that can shrink gives SIGBUS, one that can grow gives memory nobody counted. */
    int seals = F_SEAL_SHRINK | F_SEAL_GROW;
    if (bridge_writes(kind))
        seals |= F_SEAL_FUTURE_WRITE; /* our own mapping is made; the peer gets none */
    if (fcntl(fd, F_ADD_SEALS, seals) != 0)
        return tdi_fail(error, TD_ERR_SYSTEM, "memfd: sealing failed: %s", strerror(errno));
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL) != 0)
        return tdi_fail(error, TD_ERR_SYSTEM, "memfd: F_SEAL_SEAL failed: %s", strerror(errno));
    return TD_OK;
}

static td_status create(tdi_region_kind kind, uint64_t ring_bytes, uint32_t slots, bool huge,
                        int *fd, tdi_region *out, tdi_error *error)
{
    tdi_layout layout;
    td_status status = tdi_layout_of(kind, ring_bytes, slots, &layout);
    if (status != TD_OK)
        return tdi_fail(error, status, "ring_bytes=%llu, slots=%u: not a valid region",
                        (unsigned long long)ring_bytes, slots);
    if (huge)
        layout.bytes = huge_up(layout.bytes);
    const int made = create_memfd(bridge_writes(kind) ? "tandem-down" : "tandem-up",
                                  huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0);
    if (made < 0)
        return tdi_fail(error, TD_ERR_SYSTEM, "memfd_create failed: %s", strerror(errno));
    /* fallocate takes the pages now, so that a full machine is an error here and no SIGBUS
     * later; MAP_POPULATE enters them into our page table. */
    if (ftruncate(made, (off_t)layout.bytes) != 0 ||
        fallocate(made, 0, 0, (off_t)layout.bytes) != 0) {
        status = tdi_fail(error, TD_ERR_SYSTEM, "memfd of %llu bytes: %s",
                          (unsigned long long)layout.bytes, strerror(errno));
        goto fail;
    }
    const int protection = bridge_writes(kind) ? PROT_READ | PROT_WRITE : PROT_READ;
    void *base = mmap(NULL, layout.bytes, protection, MAP_SHARED | MAP_POPULATE, made, 0);
    if (base == MAP_FAILED) {
        status = tdi_fail(error, TD_ERR_SYSTEM, "mmap of %llu bytes: %s",
                          (unsigned long long)layout.bytes, strerror(errno));
        goto fail;
    }
    madvise(base, layout.bytes, MADV_DONTDUMP); /* payloads stay out of core files; a wish */
    status = seal(made, kind, error);
    if (status != TD_OK) {
        munmap(base, layout.bytes);
        goto fail;
    }
    place(out, kind, base, &layout);
    *fd = made;
    return TD_OK;
fail:
    close(made);
    return status;
}

td_status tdi_region_create(tdi_region_kind kind, uint64_t ring_bytes, uint32_t slots, int *fd,
                            tdi_region *out, tdi_error *error)
{
    return create(kind, ring_bytes, slots, false, fd, out, error);
}

td_status tdi_region_create_huge(tdi_region_kind kind, uint64_t ring_bytes, uint32_t slots, int *fd,
                                 tdi_region *out, tdi_error *error)
{
    return create(kind, ring_bytes, slots, true, fd, out, error);
}

td_status tdi_region_attach(tdi_region_kind kind, int fd, uint64_t ring_bytes, uint32_t slots,
                            tdi_region *out, tdi_error *error)
{
    tdi_layout layout;
    td_status status = tdi_layout_of(kind, ring_bytes, slots, &layout);
    if (status != TD_OK)
        return tdi_fail(error, TD_CORRUPT, "bridge announced ring_bytes=%llu, slots=%u",
                        (unsigned long long)ring_bytes, slots);
    struct stat about;
    const int seals = fcntl(fd, F_GET_SEALS);
    const int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    /* F_GET_SEALS fails on everything that is not a memfd (a FUSE file could stall a fault). */
    if (seals < 0 || (seals & wanted) != wanted)
        return tdi_fail(error, TD_CORRUPT, "bridge passed memory that is not sealed");
    const int known = fstat(fd, &about) == 0;
    if (known && about.st_blksize == TDI_HUGE_PAGE_BYTES)
        layout.bytes = huge_up(layout.bytes);
    if (!known || (uint64_t)about.st_size != layout.bytes)
        return tdi_fail(error, TD_CORRUPT, "bridge passed memory of another size than announced");
    const int protection = bridge_writes(kind) ? PROT_READ : PROT_READ | PROT_WRITE;
    void *base = mmap(NULL, layout.bytes, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (base == MAP_FAILED)
        return tdi_fail(error, TD_ERR_SYSTEM, "mmap of %llu bytes: %s",
                        (unsigned long long)layout.bytes, strerror(errno));
    /* A forked child must not become a second producer. */
    if (madvise(base, layout.bytes, MADV_DONTFORK) != 0) {
        status = tdi_fail(error, TD_ERR_SYSTEM, "MADV_DONTFORK: %s", strerror(errno));
        munmap(base, layout.bytes);
        return status;
    }
    madvise(base, layout.bytes, MADV_DONTDUMP);
    place(out, kind, base, &layout);
    return TD_OK;
}

void tdi_region_unmap(tdi_region *region)
{
    if (region->base != NULL)
        munmap(region->base, region->bytes);
    memset(region, 0, sizeof *region);
}

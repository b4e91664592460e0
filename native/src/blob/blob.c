#include "blob/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define MAGIC       "TANDEMBL"
#define PIECE_BYTES ((size_t)256 * 1024) /* written, and summed while it is in the cache */
#define SIZE_SEALS  (F_SEAL_SHRINK | F_SEAL_GROW)
#define ALL_SEALS   (SIZE_SEALS | F_SEAL_WRITE | F_SEAL_SEAL)

typedef struct blob_head {
    char magic[8];
    tdi_blob_message message;
} blob_head;
_Static_assert(sizeof(blob_head) == TDI_BLOB_MESSAGE_BYTES, "described in protocol/blobs.md");

void tdi_blob_encode(const tdi_blob_message *message, uint8_t *data)
{
    blob_head head = {.message = *message};
    memcpy(head.magic, MAGIC, sizeof head.magic);
    memcpy(data, &head, sizeof head);
}

td_status tdi_blob_decode(const uint8_t *data, size_t bytes, tdi_blob_message *out)
{
    blob_head head;
    if (bytes < sizeof head.magic || memcmp(data, MAGIC, sizeof head.magic) != 0)
        return TD_ERR_REFUSED;
    if (bytes != sizeof head)
        return TD_CORRUPT;
    memcpy(&head, data, sizeof head);
    if (head.message.op < TDI_BLOB_WANT || head.message.op > TDI_BLOB_PASSED)
        return TD_CORRUPT;
    *out = head.message;
    return TD_OK;
}

td_status tdi_blob_create(uint64_t bytes, int *fd, tdi_error *error)
{
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int made = memfd_create("tandem-blob", flags | MFD_NOEXEC_SEAL);
    if (made < 0 && errno == EINVAL) /* before Linux 6.3 */
        made = memfd_create("tandem-blob", flags);
    if (made < 0)
        return tdi_fail(error, TD_ERR_SYSTEM, "memfd_create failed: %s", strerror(errno));
    if (ftruncate(made, (off_t)bytes) != 0 || fcntl(made, F_ADD_SEALS, SIZE_SEALS) != 0) {
        const td_status status = tdi_fail(error, TD_ERR_SYSTEM, "blob of %llu bytes: %s",
                                          (unsigned long long)bytes, strerror(errno));
        close(made);
        return status;
    }
    *fd = made;
    return TD_OK;
}

td_status tdi_blob_seal(int fd, tdi_error *error)
{
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) == 0)
        return TD_OK;
    if (errno == EBUSY)
        return tdi_fail(error, TD_BUSY, "the blob is still mapped for writing: unmap, then commit");
    return tdi_fail(error, TD_ERR_SYSTEM, "blob: sealing failed: %s", strerror(errno));
}

/* pwrite, and no mapping: where memory is short it fails, and a mapping would raise SIGBUS. */
static td_status put(int fd, const uint8_t *data, size_t bytes, off_t at, tdi_error *error)
{
    while (bytes > 0) {
        const ssize_t wrote = pwrite(fd, data, bytes, at);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return tdi_fail(error, TD_BUSY, "filling a blob failed: %s", strerror(errno));
        data += wrote;
        bytes -= (size_t)wrote;
        at += wrote;
    }
    return TD_OK;
}

td_status tdi_blob_fill(int fd, const td_view *parts, size_t parts_total, uint32_t *crc,
                        tdi_error *error)
{
    uint32_t sum = 0;
    off_t at = 0;
    for (size_t i = 0; i < parts_total; i++)
        for (size_t done = 0; done < parts[i].bytes;) {
            const size_t left = parts[i].bytes - done;
            const size_t piece = left < PIECE_BYTES ? left : PIECE_BYTES;
            const td_status status = put(fd, parts[i].data + done, piece, at, error);
            if (status != TD_OK)
                return status;
            sum = tdi_crc32c(sum, parts[i].data + done, piece);
            done += piece;
            at += (off_t)piece;
        }
    *crc = sum;
    return TD_OK;
}

td_status tdi_blob_open(int fd, uint64_t bytes, tdi_blob_view *out, tdi_error *error)
{
    struct stat about;
    const int seals = fcntl(fd, F_GET_SEALS); /* fails on all that is no memfd */
    if (seals < 0 || (seals & ALL_SEALS) != ALL_SEALS)
        return tdi_fail(error, TD_CORRUPT, "a blob came without its seals");
    if (bytes == 0 || fstat(fd, &about) != 0 || (uint64_t)about.st_size != bytes)
        return tdi_fail(error, TD_CORRUPT, "a blob is not of the %llu bytes that were announced",
                        (unsigned long long)bytes);
    void *base = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (base == MAP_FAILED)
        return tdi_fail(error, TD_ERR_MEMORY, "mmap of a blob of %llu bytes: %s",
                        (unsigned long long)bytes, strerror(errno));
    madvise(base, (size_t)bytes, MADV_DONTDUMP); /* payloads stay out of core files; a wish */
    *out = (tdi_blob_view){base, (size_t)bytes};
    return TD_OK;
}

void tdi_blob_close(tdi_blob_view *view)
{
    if (view->data != NULL)
        munmap((void *)(uintptr_t)view->data, view->bytes);
    *view = (tdi_blob_view){0};
}

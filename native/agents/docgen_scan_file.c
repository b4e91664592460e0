#define _GNU_SOURCE
#include "docgen_scan_file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "docgen_scan_count.h"

/* Fits the second-level cache, so that counting and digesting read what read() just wrote. */
#define BUFFER_BYTES (256u * 1024u)

static const char *const error_names[] = {
    [TDI_SCAN_BLOCK_DEVICE] = "block_device",
    [TDI_SCAN_CHANGED] = "changed",
    [TDI_SCAN_CHAR_DEVICE] = "char_device",
    [TDI_SCAN_FIFO] = "fifo",
    [TDI_SCAN_IGNORE_TOO_LARGE] = "ignore_too_large",
    [TDI_SCAN_IGNORE_UNREADABLE] = "ignore_unreadable",
    [TDI_SCAN_IO_ERROR] = "io_error",
    [TDI_SCAN_NO_PERMISSION] = "no_permission",
    [TDI_SCAN_SOCKET] = "socket",
    [TDI_SCAN_TOO_LARGE] = "too_large",
    [TDI_SCAN_VANISHED] = "vanished",
};

const char *tdi_scan_error_name(tdi_scan_error error)
{
    return error_names[error];
}

tdi_scan_error tdi_scan_error_of(int error_number)
{
    switch (error_number) {
    case EACCES:
    case EPERM:
        return TDI_SCAN_NO_PERMISSION;
    case ENOENT:
    case ESTALE:
        return TDI_SCAN_VANISHED;
    case ELOOP:   /* O_NOFOLLOW: it has become a symbolic link */
    case ENOTDIR: /* O_DIRECTORY: it has become something else */
    case ENXIO:   /* it has become a socket */
        return TDI_SCAN_CHANGED;
    default:
        return TDI_SCAN_IO_ERROR;
    }
}

tdi_scan_error tdi_file_check(mode_t mode, uint64_t bytes, uint64_t bytes_max)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return bytes > bytes_max ? TDI_SCAN_TOO_LARGE : TDI_SCAN_FINE;
    case S_IFIFO:
        return TDI_SCAN_FIFO;
    case S_IFSOCK:
        return TDI_SCAN_SOCKET;
    case S_IFBLK:
        return TDI_SCAN_BLOCK_DEVICE;
    case S_IFCHR:
        return TDI_SCAN_CHAR_DEVICE;
    default:
        return TDI_SCAN_CHANGED;
    }
}

td_status tdi_reading_init(tdi_reading *reading)
{
    reading->buffer = malloc(BUFFER_BYTES);
    reading->digest = EVP_MD_CTX_new();
    /* Fetched once: a lookup for each file would cost more than a small file's digest. */
    reading->algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
    const bool all = reading->buffer != NULL && reading->digest != NULL && reading->algorithm;
    return all ? TD_OK : TD_ERR_MEMORY;
}

void tdi_reading_fini(tdi_reading *reading)
{
    EVP_MD_free(reading->algorithm);
    EVP_MD_CTX_free(reading->digest);
    free(reading->buffer);
}

static tdi_scan_error read_content(tdi_reading *reading, int fd, uint64_t left,
                                   tdi_file_facts *facts)
{
    uint8_t last = '\n';
    facts->lines = 0;
    if (reading->sha256 && EVP_DigestInit_ex2(reading->digest, reading->algorithm, NULL) != 1)
        return TDI_SCAN_IO_ERROR;
    while (left > 0) {
        const size_t want = left < BUFFER_BYTES ? (size_t)left : BUFFER_BYTES;
        const ssize_t got = read(fd, reading->buffer, want);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return tdi_scan_error_of(errno);
        if (got == 0)
            return TDI_SCAN_CHANGED; /* shorter than stat promised */
        if (reading->lines) {
            facts->lines += tdi_count_newlines(reading->buffer, (size_t)got);
            last = reading->buffer[got - 1];
        }
        if (reading->sha256 && EVP_DigestUpdate(reading->digest, reading->buffer, (size_t)got) != 1)
            return TDI_SCAN_IO_ERROR;
        left -= (uint64_t)got;
        if (reading->stop(reading->owner, (size_t)got))
            return TDI_SCAN_STOPPED;
    }
    facts->lines += last != '\n';
    if (reading->sha256 && EVP_DigestFinal_ex(reading->digest, facts->sha256, NULL) != 1)
        return TDI_SCAN_IO_ERROR;
    return TDI_SCAN_FINE;
}

static tdi_scan_error read_open_file(tdi_reading *reading, int fd, tdi_file_facts *facts)
{
    struct stat before, after;
    if (fstat(fd, &before) != 0)
        return tdi_scan_error_of(errno);
    facts->bytes = (uint64_t)before.st_size;
    tdi_scan_error error = tdi_file_check(before.st_mode, facts->bytes, reading->bytes_max);
    if (error == TDI_SCAN_FINE)
        error = read_content(reading, fd, facts->bytes, facts);
    if (error != TDI_SCAN_FINE)
        return error;
    if (fstat(fd, &after) != 0)
        return tdi_scan_error_of(errno);
    if (after.st_nlink == 0)
        return TDI_SCAN_VANISHED;
    if (after.st_size != before.st_size || after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
        after.st_mtim.tv_nsec != before.st_mtim.tv_nsec)
        return TDI_SCAN_CHANGED;
    return TDI_SCAN_FINE;
}

/* Neither lines nor a digest are asked for: the file need not be opened. */
static tdi_scan_error stat_file(const tdi_reading *reading, int dir_fd, const char *name,
                                tdi_file_facts *facts)
{
    struct stat found;
    if (fstatat(dir_fd, name, &found, AT_SYMLINK_NOFOLLOW) != 0)
        return tdi_scan_error_of(errno);
    facts->bytes = (uint64_t)found.st_size;
    return tdi_file_check(found.st_mode, facts->bytes, reading->bytes_max);
}

tdi_scan_error tdi_file_read(tdi_reading *reading, int dir_fd, const char *name,
                             tdi_file_facts *facts)
{
    if (!reading->lines && !reading->sha256)
        return stat_file(reading, dir_fd, name, facts);
    const int fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return tdi_scan_error_of(errno);
    const tdi_scan_error error = read_open_file(reading, fd, facts);
    close(fd);
    return error;
}

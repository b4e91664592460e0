#define _GNU_SOURCE
#include "docgen_scan_ignore_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* Read at most `room` bytes of an open file; -1 with errno. */
static ssize_t read_at_most(int fd, uint8_t *data, size_t room)
{
    size_t used = 0;
    while (used < room) {
        const ssize_t got = read(fd, data + used, room - used);
        if (got == 0)
            break;
        if (got < 0 && errno != EINTR)
            return -1;
        used += got > 0 ? (size_t)got : 0;
    }
    return (ssize_t)used;
}

/* The same for the ignore file of a directory. */
static ssize_t read_ignore_file(int dir_fd, uint8_t *data, size_t room)
{
    const int fd =
        openat(dir_fd, TDI_IGNORE_NAME, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    struct stat found;
    ssize_t bytes = fstat(fd, &found);
    if (bytes == 0 && !S_ISREG(found.st_mode)) {
        errno = ELOOP; /* replaced a moment ago: as if it were not there */
        bytes = -1;
    } else if (bytes == 0) {
        bytes = read_at_most(fd, data, room);
    }
    const int error_number = errno;
    close(fd);
    errno = error_number;
    return bytes;
}

td_status tdi_ignore_file_read(int dir_fd, size_t base_bytes, tdi_rules *outer, tdi_rules **own,
                               tdi_scan_error *error)
{
    struct stat found;
    if (fstatat(dir_fd, TDI_IGNORE_NAME, &found, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT)
            *error = TDI_SCAN_IGNORE_UNREADABLE;
        return TD_OK;
    }
    if (!S_ISREG(found.st_mode))
        return TD_OK;
    const size_t room = TDI_IGNORE_BYTES_MAX - tdi_rules_bytes(outer) + 1;
    uint8_t *const data = malloc(room);
    if (data == NULL)
        return TD_ERR_MEMORY;
    td_status status = TD_OK;
    const ssize_t bytes = read_ignore_file(dir_fd, data, room);
    if (bytes >= 0 && (size_t)bytes < room)
        status = tdi_rules_create(data, (size_t)bytes, base_bytes, outer, own);
    else if (bytes >= 0)
        *error = TDI_SCAN_IGNORE_TOO_LARGE;
    else if (errno != ENOENT && errno != ELOOP)
        *error = TDI_SCAN_IGNORE_UNREADABLE;
    free(data);
    return status;
}

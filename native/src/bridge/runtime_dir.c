/* runtime_dir.c - one bridge for each runtime directory: 0700, ours, held by flock. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge/bridge.h"

static td_status directory_of(const char *socket_path, char *directory, size_t bytes_max,
                              tdi_error *error)
{
    const char *slash = strrchr(socket_path, '/');
    if (socket_path[0] != '/' || slash == socket_path)
        return tdi_fail(error, TD_ERR_ARGUMENT,
                        "socket '%s': must be an absolute path in a directory of its own",
                        socket_path);
    const size_t bytes = (size_t)(slash - socket_path);
    if (bytes >= bytes_max)
        return tdi_fail(error, TD_ERR_ARGUMENT, "socket '%s': the path is too long", socket_path);
    memcpy(directory, socket_path, bytes);
    directory[bytes] = '\0';
    return TD_OK;
}

/* Whether this process made the directory: what it made it removes. A process is one bridge. */
static int made_directory;

static td_status check_directory(const char *directory, tdi_error *error)
{
    struct stat about;
    made_directory = mkdir(directory, 0700) == 0;
    if (!made_directory && errno != EEXIST)
        return tdi_fail(error, TD_ERR_SYSTEM, "cannot make '%s': %s", directory, strerror(errno));
    if (lstat(directory, &about) != 0)
        return tdi_fail(error, TD_ERR_SYSTEM, "'%s': %s", directory, strerror(errno));
    if (!S_ISDIR(about.st_mode) || about.st_uid != geteuid() || (about.st_mode & 077) != 0)
        return tdi_fail(error, TD_ERR_REFUSED,
                        "'%s': uid %u, mode %03o; must be a directory of uid %u with mode 700",
                        directory, (unsigned)about.st_uid, (unsigned)about.st_mode & 0777,
                        (unsigned)geteuid());
    return TD_OK;
}

/* The holder unlinks the file when it leaves, so a lock counts only while the name still means
 * the same file. */
static td_status lock(const char *path, int *fd, tdi_error *error)
{
    for (int try = 0; try < 16; try++) {
        const int made = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (made < 0)
            return tdi_fail(error, errno == ENOENT ? TD_ERR_AGAIN : TD_ERR_SYSTEM, "'%s': %s", path,
                            strerror(errno));
        if (flock(made, LOCK_EX | LOCK_NB) != 0) {
            const int reason = errno;
            close(made);
            if (reason == EWOULDBLOCK)
                return tdi_fail(error, TD_BUSY, "another bridge holds '%s'", path);
            return tdi_fail(error, TD_ERR_SYSTEM, "flock '%s': %s", path, strerror(reason));
        }
        struct stat held, named;
        if (fstat(made, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino &&
            held.st_dev == named.st_dev) {
            *fd = made;
            return TD_OK;
        }
        close(made);
    }
    return tdi_fail(error, TD_BUSY, "'%s' changes hands all the time", path);
}

static td_status make_room(const char *socket_path, tdi_error *error)
{
    struct stat about;
    if (lstat(socket_path, &about) != 0)
        return errno == ENOENT
                   ? TD_OK
                   : tdi_fail(error, TD_ERR_SYSTEM, "'%s': %s", socket_path, strerror(errno));
    if (!S_ISSOCK(about.st_mode))
        return tdi_fail(error, TD_ERR_REFUSED, "'%s' exists and is no socket", socket_path);
    /* Under the lock, so its bridge is dead. */
    if (unlink(socket_path) != 0)
        return tdi_fail(error, TD_ERR_SYSTEM, "unlink '%s': %s", socket_path, strerror(errno));
    return TD_OK;
}

static td_status lock_path(const char *socket_path, char *path, size_t bytes_max, tdi_error *error)
{
    char directory[3072];
    const td_status status = directory_of(socket_path, directory, sizeof directory, error);
    if (status == TD_OK)
        snprintf(path, bytes_max, "%s/agent_bridge.lock", directory);
    return status;
}

td_status tdi_runtime_dir_take(const char *socket_path, int *lock_fd, tdi_error *error)
{
    char directory[3072], path[4096];
    td_status status = directory_of(socket_path, directory, sizeof directory, error);
    if (status == TD_OK)
        status = lock_path(socket_path, path, sizeof path, error);
    if (status != TD_OK)
        return status;
    /* A bridge that leaves may remove the directory between our look and our lock. */
    for (int try = 0; try < 16; try++) {
        status = check_directory(directory, error);
        if (status == TD_OK)
            status = lock(path, lock_fd, error);
        if (status != TD_ERR_AGAIN)
            break;
    }
    if (status != TD_OK)
        return status;
    status = make_room(socket_path, error);
    if (status != TD_OK) {
        unlink(path);
        close(*lock_fd);
    }
    return status;
}

void tdi_runtime_dir_leave(const char *socket_path, int lock_fd)
{
    char directory[3072], path[4096];
    unlink(socket_path);
    if (lock_path(socket_path, path, sizeof path, NULL) == TD_OK)
        unlink(path);
    /* Nobody else may do it: the program that spawned us may have been killed. Not if it holds
     * anything, as the lock of a bridge that has just come. */
    if (made_directory && directory_of(socket_path, directory, sizeof directory, NULL) == TD_OK)
        rmdir(directory);
    close(lock_fd);
}

void tdi_default_socket(char *path, size_t bytes_max)
{
    const char *base = getenv("XDG_RUNTIME_DIR"), *named = getenv("TANDEM_SOCKET");
    struct stat about;
    char directory[PATH_MAX - 32];
    if (named != NULL && *named != '\0') {
        snprintf(path, bytes_max, "%s", named);
        return;
    }
    if (base != NULL && *base == '/' && lstat(base, &about) == 0 && S_ISDIR(about.st_mode) &&
        about.st_uid == geteuid())
        snprintf(directory, sizeof directory, "%s/tandem", base);
    else
        snprintf(directory, sizeof directory, "/tmp/tandem-%u", (unsigned)geteuid());
    mkdir(directory, 0700);
    snprintf(path, bytes_max, "%s/default/bridge.sock", directory);
}

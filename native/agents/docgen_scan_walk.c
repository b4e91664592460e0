#define _GNU_SOURCE
#include "docgen_scan_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <unistd.h>

#include "docgen_scan_gather.h"
#include "docgen_scan_ignore_file.h"

#define LISTING_BYTES (64u * 1024u)
#define DIR_FLAGS     (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* One directory on the way from the root to where the walk is. */
typedef struct directory {
    int fd;
    bool known; /* the two that follow: set when it is closed before its time */
    dev_t device;
    ino_t inode;
    size_t prefix_bytes;  /* of walk->prefix, with its '/' */
    size_t pending_start; /* in walk->pending */
    tdi_rules *rules;     /* that hold here */
    tdi_rules *own;       /* those of its own ignore file; may be NULL */
} directory;

static directory *directory_at(const tdi_walk *walk, size_t index)
{
    return (directory *)(void *)walk->stack.data + index;
}

static size_t depth_of(const tdi_walk *walk)
{
    return walk->stack.bytes / sizeof(directory);
}

static bool has_extension(const tdi_scan_request *request, const char *name, size_t name_bytes)
{
    for (size_t i = 0; i < request->extensions_count; i++) {
        const td_view ending = request->extensions[i];
        if (name_bytes > ending.bytes &&
            memcmp(name + name_bytes - ending.bytes, ending.data, ending.bytes) == 0)
            return true;
    }
    return request->extensions_count == 0;
}

static bool is_ignored(tdi_walk *walk, tdi_rules *rules, const char *name, bool is_dir)
{
    if (rules == NULL)
        return false;
    const size_t prefix_bytes = walk->prefix.bytes, name_bytes = strlen(name);
    if (!tdi_grow_add(&walk->prefix, name, name_bytes)) {
        tdi_walk_end(walk, TD_ERR_MEMORY);
        return true;
    }
    const bool ignored =
        tdi_rules_ignore(rules, walk->prefix.data, walk->prefix.bytes, name_bytes, is_dir);
    walk->prefix.bytes = prefix_bytes;
    return ignored;
}

/* Names to enter later; popped from the end, so their length comes last. */
static void push_pending(tdi_walk *walk, const char *name)
{
    const uint16_t bytes = (uint16_t)(strlen(name) + 1); /* d_reclen, 16 bits, covers it */
    if (!tdi_grow_add(&walk->pending, name, bytes) ||
        !tdi_grow_add(&walk->pending, &bytes, sizeof bytes))
        tdi_walk_end(walk, TD_ERR_MEMORY);
}

static void visit(tdi_walk *walk, const directory *here, const char *name, unsigned char type)
{
    const bool dotted = name[0] == '.';
    if (dotted && (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, ".git") == 0 ||
                   !walk->request->hidden))
        return;
    tdi_walk_note_entry(walk);
    mode_t kind = (mode_t)DTTOIF(type);
    if (type == DT_UNKNOWN) {
        struct stat found;
        if (fstatat(here->fd, name, &found, AT_SYMLINK_NOFOLLOW) != 0) {
            tdi_walk_keep(walk, walk->prefix.bytes, name, tdi_scan_error_of(errno));
            return;
        }
        kind = found.st_mode & S_IFMT;
    }
    const bool is_dir = kind == S_IFDIR, is_link = kind == S_IFLNK;
    if (!is_dir && !is_link && !has_extension(walk->request, name, strlen(name)))
        return;
    if (is_ignored(walk, here->rules, name, is_dir))
        walk->ignored++;
    else if (is_dir)
        push_pending(walk, name);
    else if (is_link)
        walk->symlinks++;
    else if (kind == S_IFREG)
        tdi_walk_gather(walk, here->fd, name);
    else
        tdi_walk_keep(walk, walk->prefix.bytes, name, tdi_file_check(kind, 0, 0));
}

/* Add this directory's own rules to those from above. */
static void read_rules(tdi_walk *walk, directory *here)
{
    tdi_scan_error error = TDI_SCAN_FINE;
    if (tdi_ignore_file_read(here->fd, walk->prefix.bytes, here->rules, &here->own, &error) !=
        TD_OK)
        tdi_walk_end(walk, TD_ERR_MEMORY);
    if (error != TDI_SCAN_FINE)
        tdi_walk_keep(walk, walk->prefix.bytes, TDI_IGNORE_NAME, error);
    if (here->own != NULL)
        here->rules = here->own;
}

/* Is there an ignore file among these entries? Case may not count in this directory. */
static bool names_ignore_file(const uint8_t *listing, ssize_t bytes)
{
    for (ssize_t at = 0; at < bytes;) {
        const struct dirent64 *const entry = (const void *)(listing + at);
        if (entry->d_name[0] == '.' && strcasecmp(entry->d_name, TDI_IGNORE_NAME) == 0)
            return true;
        at += entry->d_reclen;
    }
    return false;
}

static void visit_all(tdi_walk *walk, const directory *here, const uint8_t *listing, ssize_t bytes)
{
    for (ssize_t at = 0; at < bytes && walk->status == TD_OK;) {
        const struct dirent64 *const entry = (const void *)(listing + at);
        visit(walk, here, entry->d_name, entry->d_type);
        at += entry->d_reclen;
    }
}

/* Visit all entries of the deepest directory. False with errno when it cannot be listed. */
static bool list(tdi_walk *walk, directory *here)
{
    walk->directories++;
    tdi_walk_note_entry(walk);
    /* Two blocks before the first entry is visited: most directories are then known to be
     * complete, and those without an ignore file need not be asked for one. */
    ssize_t got = getdents64(here->fd, walk->listing, LISTING_BYTES);
    ssize_t more = got > 0 ? getdents64(here->fd, walk->listing + got, LISTING_BYTES) : got;
    int error_number = errno;
    if (walk->request->ignore && (more != 0 || (got > 0 && names_ignore_file(walk->listing, got))))
        read_rules(walk, here);
    while (got > 0) {
        visit_all(walk, here, walk->listing, got);
        if (more > 0)
            visit_all(walk, here, walk->listing + got, more);
        if (more <= 0 || walk->status != TD_OK)
            break;
        got = getdents64(here->fd, walk->listing, LISTING_BYTES);
        more = got > 0 ? getdents64(here->fd, walk->listing + got, LISTING_BYTES) : got;
        error_number = errno;
    }
    errno = error_number;
    return more >= 0;
}

/* Close a directory that will be needed again, and remember which one it is. */
static void close_for_now(directory *open)
{
    struct stat found;
    open->known = fstat(open->fd, &found) == 0;
    if (open->known) {
        open->device = found.st_dev;
        open->inode = found.st_ino;
    }
    close(open->fd);
    open->fd = -1;
}

/* Take over `fd`, visit its entries, and make it the deepest directory. */
static void push(tdi_walk *walk, int fd, tdi_rules *rules)
{
    const directory new = {.fd = fd,
                           .prefix_bytes = walk->prefix.bytes,
                           .pending_start = walk->pending.bytes,
                           .rules = rules};
    if (!tdi_grow_add(&walk->stack, &new, sizeof new)) {
        close(fd);
        tdi_walk_end(walk, TD_ERR_MEMORY);
        return;
    }
    if (depth_of(walk) - walk->first_open > TDI_SCAN_OPEN_DIRS_MAX) {
        directory *const shallowest = directory_at(walk, walk->first_open++);
        if (shallowest->fd >= 0)
            close_for_now(shallowest);
    }
    const bool listed = list(walk, directory_at(walk, depth_of(walk) - 1));
    const int error_number = errno;
    /* Nothing below is to be opened from it, nor the one above found again by it. */
    directory *const here = directory_at(walk, depth_of(walk) - 1);
    const bool is_last_use =
        walk->pending.bytes == here->pending_start && depth_of(walk) > walk->first_open + 1;
    if (tdi_walk_submit(walk, fd, is_last_use))
        here->fd = -1;
    if (!listed) {
        const tdi_scan_error error = tdi_scan_error_of(error_number);
        if (walk->prefix.bytes == 0)
            tdi_walk_keep(walk, 0, ".", error);
        else
            tdi_walk_keep(walk, walk->prefix.bytes - 1, "", error);
    }
}

/* Open ".." of `fd`; -1 unless it is still `parent`. */
static int reopen_parent(int fd, const directory *parent)
{
    const int again = openat(fd, "..", DIR_FLAGS);
    struct stat found;
    if (again < 0)
        return -1;
    if (parent->known && fstat(again, &found) == 0 && found.st_dev == parent->device &&
        found.st_ino == parent->inode)
        return again;
    close(again);
    return -1;
}

/* Leave the deepest directory; open the one above again if it was closed. */
static void pop(tdi_walk *walk)
{
    const directory done = *directory_at(walk, depth_of(walk) - 1);
    walk->stack.bytes -= sizeof done;
    tdi_rules_destroy(done.own);
    const size_t depth = depth_of(walk);
    if (depth > 0 && depth - 1 < walk->first_open) {
        walk->first_open = depth - 1;
        if (done.fd >= 0)
            directory_at(walk, depth - 1)->fd =
                reopen_parent(done.fd, directory_at(walk, depth - 1));
    }
    if (done.fd >= 0)
        close(done.fd);
}

/* Enter the next directory below the deepest one, or leave it. */
static void advance(tdi_walk *walk)
{
    const directory here = *directory_at(walk, depth_of(walk) - 1);
    walk->prefix.bytes = here.prefix_bytes;
    if (walk->pending.bytes == here.pending_start) {
        pop(walk);
        return;
    }
    uint16_t bytes;
    walk->pending.bytes -= sizeof bytes;
    memcpy(&bytes, walk->pending.data + walk->pending.bytes, sizeof bytes);
    walk->pending.bytes -= bytes;
    const char *const name = (const char *)walk->pending.data + walk->pending.bytes;
    if (here.fd < 0) { /* it was moved away while we were below it */
        tdi_walk_keep(walk, walk->prefix.bytes, name, TDI_SCAN_CHANGED);
        return;
    }
    const int fd = openat(here.fd, name, DIR_FLAGS);
    if (fd < 0) {
        tdi_walk_keep(walk, walk->prefix.bytes, name, tdi_scan_error_of(errno));
    } else if (!tdi_grow_add(&walk->prefix, name, bytes - 1u) ||
               !tdi_grow_add(&walk->prefix, "/", 1)) {
        close(fd);
        tdi_walk_end(walk, TD_ERR_MEMORY);
    } else {
        push(walk, fd, here.rules);
    }
}

td_status tdi_walk_run(tdi_walk *walk, const tdi_scan_request *request, td_call *call,
                       const char *root)
{
    *walk = (tdi_walk){.request = request, .call = call};
    walk->reading = (tdi_reading){.lines = request->lines,
                                  .sha256 = request->hash,
                                  .bytes_max = request->max_file_bytes,
                                  .stop = tdi_walk_stop_after_bytes,
                                  .owner = walk};
    walk->listing = malloc(2 * LISTING_BYTES);
    if (tdi_reading_init(&walk->reading) != TD_OK || walk->listing == NULL ||
        tdi_team_create(&walk->reading, &walk->team) != TD_OK)
        return TD_ERR_MEMORY;
    const int fd = open(root, DIR_FLAGS & ~O_NOFOLLOW);
    if (fd < 0)
        return TD_ERR_SYSTEM;
    push(walk, fd, NULL);
    while (walk->status == TD_OK && depth_of(walk) > 0)
        advance(walk);
    tdi_walk_await(walk);
    return walk->status;
}

void tdi_walk_fini(tdi_walk *walk)
{
    const int error_number = errno; /* TD_ERR_SYSTEM may still be unread */
    while (depth_of(walk) > 0) {
        walk->first_open = 0; /* nothing is opened again on the way out */
        pop(walk);
    }
    tdi_team_destroy(walk->team);
    tdi_grow_fini(&walk->found);
    tdi_grow_fini(&walk->paths);
    tdi_grow_fini(&walk->prefix);
    tdi_grow_fini(&walk->stack);
    tdi_grow_fini(&walk->pending);
    tdi_reading_fini(&walk->reading);
    free(walk->listing);
    errno = error_number;
}

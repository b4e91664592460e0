#define _GNU_SOURCE
#include "docgen_scan_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/test.h"

/* A host that counts the looks at its cancel flag and the descriptors open at each. */
typedef struct counting_call {
    td_call call;
    uint64_t polls, cancel_at;
    int open_most;
} counting_call;

static int open_descriptors(void)
{
    int count = -3; /* ".", ".." and the listing itself */
    DIR *all = opendir("/proc/self/fd");
    while (all != NULL && readdir(all) != NULL)
        count++;
    closedir(all);
    return count;
}

static bool cancelled(td_call *call)
{
    counting_call *const host = (counting_call *)call;
    const int now = open_descriptors();
    host->open_most = now > host->open_most ? now : host->open_most;
    return ++host->polls == host->cancel_at;
}

static void progress(td_call *call, uint64_t done, uint64_t total)
{
    (void)call;
    (void)done;
    (void)total;
}

static const td_call_ops ops = {.size = sizeof ops, .cancelled = cancelled, .progress = progress};

#define DOWN "down-------------------------------------------" /* 120: over PATH_MAX */

static char root[] = "/tmp/docgen_scan_walk_test.XXXXXX";

static void touch(int dir, const char *name)
{
    close(openat(dir, name, O_CREAT | O_WRONLY, 0600));
}

/* Levels beyond what one path may name, with a file at the end. */
static void make_chain(int levels)
{
    int fd = open(root, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < levels; i++) {
        mkdirat(fd, "side", 0700);
        mkdirat(fd, DOWN, 0700);
        const int below = openat(fd, DOWN, O_RDONLY | O_DIRECTORY);
        close(fd);
        fd = below;
    }
    touch(fd, "end");
    close(fd);
}

/* Remove what make_chain made: walk down once, come up by "..". */
static void remove_chain(int levels)
{
    int fd = open(root, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < levels; i++) {
        unlinkat(fd, "side", AT_REMOVEDIR);
        const int below = openat(fd, DOWN, O_RDONLY | O_DIRECTORY);
        close(fd);
        fd = below;
    }
    unlinkat(fd, "end", 0);
    for (int i = 0; i < levels; i++) {
        const int above = openat(fd, "..", O_RDONLY | O_DIRECTORY);
        close(fd);
        fd = above;
        unlinkat(fd, DOWN, AT_REMOVEDIR);
    }
    close(fd);
}

static const tdi_scan_request everything = {.hash = true,
                                            .lines = true,
                                            .ignore = true,
                                            .hidden = true,
                                            .max_files = 1000,
                                            .max_file_bytes = UINT64_MAX};

static void a_tree_beyond_path_max_needs_few_descriptors(void)
{
    enum { LEVELS = 120 };
    counting_call host = {.call.ops = &ops};
    tdi_walk walk;
    make_chain(LEVELS);
    const int before = open_descriptors();
    CHECK_EQ(tdi_walk_run(&walk, &everything, &host.call, root), TD_OK);
    CHECK_EQ(walk.directories, 2 * LEVELS + 1);
    CHECK_EQ(walk.found.bytes, sizeof(tdi_found));
    CHECK_EQ(((const tdi_found *)(const void *)walk.found.data)->error, TDI_SCAN_FINE);
    CHECK_EQ(walk.paths.bytes, sizeof DOWN * LEVELS + 3);
    CHECK(host.open_most - before <= TDI_SCAN_OPEN_DIRS_MAX + TDI_TEAM_BATCHES + 2);
    tdi_walk_fini(&walk);
    CHECK_EQ(open_descriptors(), before);
    remove_chain(LEVELS);
}

static void stops_give_everything_back(void)
{
    counting_call host = {.call.ops = &ops, .cancel_at = 2};
    tdi_walk walk;
    make_chain(200);
    const int before = open_descriptors();
    CHECK_EQ(tdi_walk_run(&walk, &everything, &host.call, root), TD_CANCELLED);
    CHECK_EQ(walk.entries, 2 * TDI_SCAN_POLL_ENTRIES);
    tdi_walk_fini(&walk);
    CHECK_EQ(open_descriptors(), before);
    remove_chain(200);
}

static void one_entry_too_many_ends_the_walk(void)
{
    counting_call host = {.call.ops = &ops};
    tdi_scan_request two = everything;
    two.max_files = 2;
    tdi_walk walk;
    const int fd = open(root, O_RDONLY | O_DIRECTORY);
    touch(fd, "a");
    touch(fd, "b");
    CHECK_EQ(tdi_walk_run(&walk, &two, &host.call, root), TD_OK);
    tdi_walk_fini(&walk);
    touch(fd, "c");
    CHECK_EQ(tdi_walk_run(&walk, &two, &host.call, root), TD_TOO_LARGE);
    tdi_walk_fini(&walk);
    unlinkat(fd, "a", 0);
    unlinkat(fd, "b", 0);
    unlinkat(fd, "c", 0);
    close(fd);
}

static void a_root_that_is_not_there_is_told(void)
{
    counting_call host = {.call.ops = &ops};
    tdi_walk walk;
    CHECK_EQ(tdi_walk_run(&walk, &everything, &host.call, "/tmp/none/none"), TD_ERR_SYSTEM);
    tdi_walk_fini(&walk);
}

int main(void)
{
    if (mkdtemp(root) == NULL)
        return 1;
    RUN(a_tree_beyond_path_max_needs_few_descriptors);
    RUN(stops_give_everything_back);
    RUN(one_entry_too_many_ends_the_walk);
    RUN(a_root_that_is_not_there_is_told);
    rmdir(root);
    return TEST_RESULT;
}

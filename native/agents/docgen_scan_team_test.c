#define _GNU_SOURCE
#include "docgen_scan_team.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/test.h"

enum { FILES = 40 * TDI_BATCH_FILES };

static char path[] = "/tmp/docgen_scan_team_test.XXXXXX";
static int folder;

static bool go_on(void *owner, size_t bytes)
{
    (void)owner;
    (void)bytes;
    return false;
}

static void name_of(size_t index, char name[16])
{
    snprintf(name, 16, "f%zu", index);
}

/* File i holds i bytes. */
static void make_files(void)
{
    static const char data[FILES];
    char name[16];
    for (size_t i = 0; i < FILES; i++) {
        name_of(i, name);
        const int fd = openat(folder, name, O_CREAT | O_WRONLY, 0600);
        CHECK(fd >= 0 && write(fd, data, i) == (ssize_t)i);
        close(fd);
    }
}

static void remove_files(void)
{
    char name[16];
    for (size_t i = 0; i < FILES; i++) {
        name_of(i, name);
        unlinkat(folder, name, 0);
    }
}

/* Take what has been read; add up how often each file came back, with its size. */
static void collect(tdi_team *team, unsigned char seen[FILES])
{
    tdi_batch *batch = tdi_team_collect(team);
    while (batch != NULL) {
        tdi_batch *const next = batch->next;
        for (size_t i = 0; i < batch->count; i++) {
            const tdi_batch_file *file = &batch->files[i];
            CHECK_EQ(file->error, TDI_SCAN_FINE);
            CHECK_EQ(file->facts.bytes, file->index);
            seen[file->index]++;
        }
        tdi_team_give_back(team, batch);
        batch = next;
    }
}

static void read_all_with(int helpers)
{
    static unsigned char seen[FILES];
    memset(seen, 0, sizeof seen);
    tdi_reading own = {.lines = true, .sha256 = true, .bytes_max = UINT64_MAX, .stop = go_on};
    tdi_team *team = NULL;
    tdi_team_helpers_wanted = helpers;
    CHECK_EQ(tdi_reading_init(&own), TD_OK);
    REQUIRE(tdi_team_create(&own, &team) == TD_OK);
    for (size_t i = 0; i < FILES;) {
        tdi_batch *batch;
        while ((batch = tdi_team_spare(team)) == NULL) {
            tdi_team_help(team);
            collect(team, seen);
        }
        char name[16];
        for (size_t k = 0; k < TDI_BATCH_FILES; k++, i++) {
            name_of(i, name);
            CHECK(tdi_batch_add(batch, name, i));
        }
        tdi_team_submit(team, batch, folder, false);
    }
    while (team->unfinished > 0) {
        tdi_team_help(team);
        collect(team, seen);
    }
    for (size_t i = 0; i < FILES; i++)
        CHECK_EQ(seen[i], 1);
    tdi_team_destroy(team);
    tdi_reading_fini(&own);
}

static void every_file_comes_back_once_however_many_help(void)
{
    for (int helpers = 0; helpers <= TDI_TEAM_HELPERS_MAX; helpers++)
        read_all_with(helpers);
}

static void a_team_may_be_destroyed_with_work_left(void)
{
    for (int helpers = 0; helpers <= TDI_TEAM_HELPERS_MAX; helpers++) {
        tdi_reading own = {.lines = true, .bytes_max = UINT64_MAX, .stop = go_on};
        tdi_team *team = NULL;
        tdi_team_helpers_wanted = helpers;
        CHECK_EQ(tdi_reading_init(&own), TD_OK);
        REQUIRE(tdi_team_create(&own, &team) == TD_OK);
        for (size_t i = 0; i < TDI_TEAM_BATCHES; i++) {
            tdi_batch *batch = tdi_team_spare(team);
            REQUIRE(batch != NULL);
            for (size_t k = 0; k < TDI_BATCH_FILES; k++)
                CHECK(tdi_batch_add(batch, "f1000", k));
            tdi_team_submit(team, batch, folder, false);
        }
        CHECK(tdi_team_spare(team) == NULL);
        const int before = open("/dev/null", O_RDONLY);
        tdi_team_destroy(team);
        tdi_reading_fini(&own);
        close(before);
    }
    const int lowest = open("/dev/null", O_RDONLY);
    CHECK(lowest <= folder + 1); /* no descriptor of a batch is left */
    close(lowest);
}

int main(void)
{
    if (mkdtemp(path) == NULL)
        return 1;
    folder = open(path, O_RDONLY | O_DIRECTORY);
    make_files();
    RUN(every_file_comes_back_once_however_many_help);
    RUN(a_team_may_be_destroyed_with_work_left);
    remove_files();
    rmdir(path);
    return TEST_RESULT;
}

#include "shm/region.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/test.h"

enum { RING = 64 * 1024, SLOTS = 256 };

static void a_layout_follows_from_three_numbers(void)
{
    tdi_layout layout;
    CHECK_EQ(tdi_layout_of(TDI_REGION_UP, RING, 4096, &layout), TD_OK);
    CHECK_EQ(layout.words_offset, 4096);
    CHECK_EQ(layout.data_offset, 4096 + 16384);
    CHECK_EQ(layout.bytes, 4096 + 16384 + RING);
    CHECK_EQ(tdi_layout_of(TDI_REGION_DOWN, RING, 1, &layout), TD_OK);
    CHECK_EQ(layout.data_offset, 8192);
    CHECK_EQ(tdi_layout_of(TDI_REGION_UP, RING + 64, 1, &layout), TD_ERR_ARGUMENT);
    CHECK_EQ(tdi_layout_of(TDI_REGION_UP, 8192, 1, &layout), TD_ERR_ARGUMENT);
    CHECK_EQ(tdi_layout_of(TDI_REGION_UP, UINT64_C(1) << 31, 1, &layout), TD_ERR_ARGUMENT);
    CHECK_EQ(tdi_layout_of(TDI_REGION_UP, RING, 0, &layout), TD_ERR_ARGUMENT);
    CHECK_EQ(tdi_layout_of(TDI_REGION_UP, RING, 4097, &layout), TD_ERR_ARGUMENT);
}

static void a_peer_can_neither_resize_nor_unseal(void)
{
    int fd;
    tdi_region region;
    REQUIRE(tdi_region_create(TDI_REGION_UP, RING, SLOTS, &fd, &region, NULL) == TD_OK);
    CHECK(ftruncate(fd, 4096) != 0);
    CHECK(ftruncate(fd, 1 << 24) != 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) != 0);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    tdi_region_unmap(&region);
    close(fd);
}

static void what_the_bridge_writes_no_peer_can_map_for_writing(void)
{
    int fd;
    tdi_region ours, theirs;
    tdi_error error;
    REQUIRE(tdi_region_create(TDI_REGION_DOWN, RING, SLOTS, &fd, &ours, &error) == TD_OK);
    CHECK(mmap(NULL, ours.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    REQUIRE(tdi_region_attach(TDI_REGION_DOWN, fd, RING, SLOTS, &theirs, &error) == TD_OK);
    CHECK(mprotect(theirs.base, theirs.bytes, PROT_READ | PROT_WRITE) != 0);
    CHECK(pwrite(fd, "x", 1, 0) < 0);
    atomic_store(&ours.control->tail, 4711);
    CHECK_EQ(atomic_load(&theirs.control->tail), 4711);
    tdi_region_unmap(&theirs);
    tdi_region_unmap(&ours);
    close(fd);
}

static void unsealed_wrongly_sized_or_foreign_memory_is_refused(void)
{
    tdi_region region;
    tdi_error error;
    tdi_layout layout;
    tdi_layout_of(TDI_REGION_UP, RING, SLOTS, &layout);
    int fd = memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    REQUIRE(ftruncate(fd, (off_t)layout.bytes) == 0);
    CHECK_EQ(tdi_region_attach(TDI_REGION_UP, fd, RING, SLOTS, &region, &error), TD_CORRUPT);
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    CHECK_EQ(tdi_region_attach(TDI_REGION_UP, fd, RING, SLOTS, &region, &error), TD_OK);
    tdi_region_unmap(&region);
    CHECK_EQ(tdi_region_attach(TDI_REGION_UP, fd, 2 * RING, SLOTS, &region, &error), TD_CORRUPT);
    close(fd);
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    CHECK_EQ(tdi_region_attach(TDI_REGION_UP, ends[0], RING, SLOTS, &region, &error), TD_CORRUPT);
    close(ends[0]);
    close(ends[1]);
}

static void a_forked_child_does_not_have_the_ring(void)
{
    int fd;
    tdi_region ours, theirs;
    REQUIRE(tdi_region_create(TDI_REGION_UP, RING, SLOTS, &fd, &ours, NULL) == TD_OK);
    REQUIRE(tdi_region_attach(TDI_REGION_UP, fd, RING, SLOTS, &theirs, NULL) == TD_OK);
    const pid_t child = fork();
    if (child == 0) {
        unsigned char there;
        /* mincore fails on what is not mapped; a sanitizer would report the plain access. */
        _exit(mincore(theirs.base, 4096, &there) == 0 ? 1 : 0);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_EQ(status, 0);
    tdi_region_unmap(&theirs);
    tdi_region_unmap(&ours);
    close(fd);
}

/* Here it is the mapping that is tested: making the memfd says nothing. Every byte is touched, as
 * a page that was promised and is not there would be SIGBUS. */
static void huge_pages_are_all_there_or_refused(void)
{
    enum { BIG = TDI_HUGE_PAGE_BYTES };
    for (int kind = TDI_REGION_DOWN; kind <= TDI_REGION_UP; kind++) {
        int fd = -1;
        tdi_region ours, theirs;
        tdi_error error = {""};
        const td_status status =
            tdi_region_create_huge((tdi_region_kind)kind, BIG, SLOTS, &fd, &ours, &error);
        if (status != TD_OK) {
            CHECK_EQ(status, TD_ERR_SYSTEM);
            CHECK(error.text[0] != '\0');
            CHECK_EQ(fd, -1);
            printf("refused here: %s\n", error.text);
            continue;
        }
        CHECK_EQ(ours.bytes % TDI_HUGE_PAGE_BYTES, 0);
        CHECK(ftruncate(fd, 4096) != 0 && ftruncate(fd, 1 << 26) != 0);
        REQUIRE(tdi_region_attach((tdi_region_kind)kind, fd, BIG, SLOTS, &theirs, &error) == TD_OK);
        CHECK_EQ(theirs.bytes, ours.bytes);
        tdi_region *const writer = kind == TDI_REGION_DOWN ? &ours : &theirs;
        tdi_region *const reader = kind == TDI_REGION_DOWN ? &theirs : &ours;
        memset(writer->data, 0x5A, BIG);
        CHECK_EQ(reader->data[0], 0x5A);
        CHECK_EQ(reader->data[BIG - 1], 0x5A);
        tdi_region_unmap(&theirs);
        tdi_region_unmap(&ours);
        close(fd);
    }
}

int main(void)
{
    RUN(huge_pages_are_all_there_or_refused);
    RUN(a_layout_follows_from_three_numbers);
    RUN(a_peer_can_neither_resize_nor_unseal);
    RUN(what_the_bridge_writes_no_peer_can_map_for_writing);
    RUN(unsealed_wrongly_sized_or_foreign_memory_is_refused);
    RUN(a_forked_child_does_not_have_the_ring);
    return TEST_RESULT;
}

#include "shm/statistics.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

const char *const tdi_statistics_names[TDI_STATISTICS_TOTAL] = {
    [TDI_STATISTIC_FRAMES_IN] = "frames_in",
    [TDI_STATISTIC_FRAMES_OUT] = "frames_out",
    [TDI_STATISTIC_BYTES_IN] = "bytes_in",
    [TDI_STATISTIC_BYTES_OUT] = "bytes_out",
    [TDI_STATISTIC_CALLS] = "calls",
    [TDI_STATISTIC_COMPLETIONS] = "completions",
    [TDI_STATISTIC_FAILURES] = "failures",
    [TDI_STATISTIC_REFUSALS] = "refusals",
    [TDI_STATISTIC_WAITED] = "waited",
    [TDI_STATISTIC_DOORBELLS_RUNG] = "doorbells_rung",
    [TDI_STATISTIC_DOORBELLS_TAKEN] = "doorbells_taken",
    [TDI_STATISTIC_RESCUES] = "rescues",
    [TDI_STATISTIC_LOGS] = "logs",
    [TDI_STATISTIC_LOGS_DROPPED] = "logs_dropped",
    [TDI_STATISTIC_SESSIONS] = "sessions",
    [TDI_STATISTIC_AGENTS] = "agents",
    [TDI_STATISTIC_QUEUED] = "queued",
    [TDI_STATISTIC_RELAYED] = "relayed",
};

td_status tdi_statistics_create(uint64_t pid, uint64_t now_ns, int *fd, tdi_statistics **out,
                                tdi_error *error)
{
    int made = memfd_create("tandem-statistics", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (made < 0 && errno == EINVAL) /* before Linux 6.3 */
        made = memfd_create("tandem-statistics", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    const size_t bytes = sizeof(tdi_statistics);
    void *base = MAP_FAILED;
    if (made >= 0 && ftruncate(made, (off_t)bytes) == 0 && fallocate(made, 0, 0, (off_t)bytes) == 0)
        base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, made, 0);
    if (base == MAP_FAILED ||
        fcntl(made, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE) != 0 ||
        fcntl(made, F_ADD_SEALS, F_SEAL_SEAL) != 0) {
        const td_status status =
            tdi_fail(error, TD_ERR_SYSTEM, "the statistics page: %s", strerror(errno));
        if (base != MAP_FAILED)
            munmap(base, bytes);
        if (made >= 0)
            close(made);
        return status;
    }
    tdi_statistics *page = base;
    memcpy(page->magic, "TANDEMST", sizeof page->magic);
    page->version = TDI_STATISTICS_VERSION;
    page->head_bytes = offsetof(tdi_statistics, block);
    page->blocks = 1;
    page->block_bytes = sizeof(tdi_statistics_block);
    page->pid = pid;
    page->started_ns = now_ns;
    *fd = made;
    *out = page;
    return TD_OK;
}

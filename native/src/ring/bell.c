#include "ring/bell.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READS_A_DRAIN = 64 };

int tdi_bell_ring(tdi_bell_rope *rope, int write_fd)
{
    /* seq_cst: after the seq_cst store of the cursor, before which it must not move. */
    const uint32_t ticket = atomic_load_explicit(rope->ticket, memory_order_seq_cst);
    if ((ticket & 1) == 0 || ticket == rope->rung)
        return 0;
    rope->rung = ticket;
    ssize_t written;
    do
        written = write(write_fd, "", 1);
    while (written < 0 && errno == EINTR);
    return 1; /* EAGAIN: full, so readable. EPIPE: dead, and the socket tells. */
}

void tdi_bell_arm(tdi_bell_ticket *ticket)
{
    ticket->value += ticket->value & 1 ? 2 : 1;
    /* seq_cst: before the load of the cursor in tdi_ring_waiting(). */
    atomic_store_explicit(ticket->shared, ticket->value, memory_order_seq_cst);
}

void tdi_bell_disarm(tdi_bell_ticket *ticket)
{
    if ((ticket->value & 1) == 0)
        return;
    ticket->value++;
    /* relaxed: a waker that still sees the odd ticket only writes a byte too many. */
    atomic_store_explicit(ticket->shared, ticket->value, memory_order_relaxed);
}

int tdi_bell_drain(int read_fd)
{
    char bytes[1024];
    int total = 0;
    /* A peer that rings without end must not keep us here: what is left is readable again. */
    for (int i = 0; i < READS_A_DRAIN; i++) {
        const ssize_t got = read(read_fd, bytes, sizeof bytes);
        if (got > 0)
            total += (int)got;
        if (got < (ssize_t)sizeof bytes && !(got < 0 && errno == EINTR))
            break;
    }
    return total;
}

static int is_end(int fd, int access)
{
    struct stat about;
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) == access && (flags & O_NONBLOCK) != 0 &&
           fstat(fd, &about) == 0 && S_ISFIFO(about.st_mode);
}

td_status tdi_bell_check(int read_fd, int write_fd, tdi_error *error)
{
    if (is_end(read_fd, O_RDONLY) && is_end(write_fd, O_WRONLY))
        return TD_OK;
    return tdi_fail(error, TD_CORRUPT, "bridge passed doorbells that are no non-blocking pipes");
}

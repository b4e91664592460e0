#include "wire/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

/* sun_path holds 107 bytes. A longer path is reached through its directory's fd, which must
 * stay open until bind or connect has returned; *directory is -1 when there is none. */
static td_status address_of(const char *path, struct sockaddr_un *address, int *directory,
                            tdi_error *error)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    *directory = -1;
    const size_t bytes = strlen(path);
    if (bytes == 0)
        return tdi_fail(error, TD_ERR_ARGUMENT, "socket path is empty");
    if (bytes < sizeof address->sun_path) {
        memcpy(address->sun_path, path, bytes + 1);
        return TD_OK;
    }
    char parent[4096];
    const char *slash = strrchr(path, '/');
    if (slash == NULL || bytes >= sizeof parent || strlen(slash + 1) > 64)
        return tdi_fail(error, TD_ERR_ARGUMENT, "socket path '%s' is too long", path);
    memcpy(parent, path, (size_t)(slash - path) + 1);
    parent[slash - path + 1] = '\0';
    *directory = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*directory < 0)
        return tdi_fail(error, errno == ENOENT ? TD_ERR_CLOSED : TD_ERR_SYSTEM, "'%s': %s", parent,
                        strerror(errno));
    snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", *directory,
             slash + 1);
    return TD_OK;
}

static int seqpacket(void)
{
    return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

td_status tdi_channel_listen(const char *path, int *fd, tdi_error *error)
{
    struct sockaddr_un address;
    int directory;
    td_status status = address_of(path, &address, &directory, error);
    if (status != TD_OK)
        return status;
    const int made = seqpacket();
    if (made < 0 || bind(made, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(made, 64) != 0) {
        status = tdi_fail(error, TD_ERR_SYSTEM, "cannot listen on '%s': %s", path, strerror(errno));
        if (made >= 0)
            close(made);
    } else {
        *fd = made;
    }
    if (directory >= 0)
        close(directory);
    return status;
}

td_status tdi_channel_connect(const char *path, uint64_t deadline_ns, int *fd, tdi_error *error)
{
    struct sockaddr_un address;
    int directory;
    td_status status = address_of(path, &address, &directory, error);
    if (status != TD_OK)
        return status;
    const int made = seqpacket();
    if (made < 0) {
        status = tdi_fail(error, TD_ERR_SYSTEM, "socket: %s", strerror(errno));
        goto out;
    }
    while (connect(made, (struct sockaddr *)&address, sizeof address) != 0) {
        if (errno == EAGAIN || errno == EINTR) { /* the queue of the listener is full */
            if (tdi_now_ns() < deadline_ns) {
                poll(NULL, 0, 1);
                continue;
            }
            status = tdi_fail(error, TD_TIMED_OUT, "'%s': the bridge accepts nobody", path);
        } else {
            const int gone = errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR;
            status = tdi_fail(error, gone ? TD_ERR_CLOSED : TD_ERR_SYSTEM, "no bridge at '%s': %s",
                              path, strerror(errno));
        }
        close(made);
        goto out;
    }
    *fd = made;
out:
    if (directory >= 0)
        close(directory);
    return status;
}

td_status tdi_channel_check_peer(int fd, int64_t *pid, tdi_error *error)
{
    struct ucred peer;
    socklen_t bytes = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0)
        return tdi_fail(error, TD_ERR_SYSTEM, "SO_PEERCRED: %s", strerror(errno));
    if (peer.uid != geteuid())
        return tdi_fail(error, TD_ERR_REFUSED, "the peer runs under uid %u, expected %u",
                        (unsigned)peer.uid, (unsigned)geteuid());
    *pid = peer.pid;
    return TD_OK;
}

td_status tdi_channel_send(int fd, const void *data, size_t bytes, const int *fds, size_t fds_total,
                           tdi_error *error)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(TDI_CHANNEL_FDS * sizeof(int))] = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fds_total > TDI_CHANNEL_FDS)
        return tdi_fail(error, TD_ERR_ARGUMENT, "%zu fds in a message", fds_total);
    if (fds_total > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(fds_total * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(fds_total * sizeof(int));
        memcpy(CMSG_DATA(head), fds, fds_total * sizeof(int));
    }
    ssize_t sent;
    do
        sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent == (ssize_t)bytes)
        return TD_OK;
    if (errno == EPIPE || errno == ECONNRESET)
        return tdi_fail(error, TD_ERR_CLOSED, "the peer has gone");
    return tdi_fail(error, TD_ERR_SYSTEM, "sendmsg of %zu bytes: %s", bytes, strerror(errno));
}

static void take_fds(struct msghdr *message, int *fds, size_t *fds_total)
{
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head != NULL;
         head = CMSG_NXTHDR(message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        const size_t here = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here; i++) {
            int passed;
            memcpy(&passed, CMSG_DATA(head) + i * sizeof passed, sizeof passed);
            if (*fds_total < TDI_CHANNEL_FDS)
                fds[(*fds_total)++] = passed;
            else
                close(passed);
        }
    }
}

td_status tdi_channel_receive(int fd, void *data, size_t bytes_max, size_t *bytes, int *fds,
                              size_t *fds_total, tdi_error *error)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(TDI_CHANNEL_FDS * sizeof(int))];
    struct iovec part = {.iov_base = data, .iov_len = bytes_max};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fds != NULL) {
        /* Without a buffer the kernel drops what a peer passes: no fd can be pushed on us. */
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        *fds_total = 0;
    }
    ssize_t got;
    do
        got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return TD_ERR_AGAIN;
    if (got == 0 || (got < 0 && errno == ECONNRESET))
        return tdi_fail(error, TD_ERR_CLOSED, "the peer has gone");
    if (got < 0)
        return tdi_fail(error, TD_ERR_SYSTEM, "recvmsg: %s", strerror(errno));
    if (fds != NULL)
        take_fds(&message, fds, fds_total);
    if (message.msg_flags & MSG_TRUNC) {
        if (fds != NULL) {
            tdi_close_all(fds, *fds_total);
            *fds_total = 0;
        }
        return tdi_fail(error, TD_TOO_LARGE, "a message longer than %zu bytes", bytes_max);
    }
    *bytes = (size_t)got;
    return TD_OK;
}

td_status tdi_channel_wait(int fd, uint64_t deadline_ns, tdi_error *error)
{
    for (;;) {
        const uint64_t now = tdi_now_ns();
        const uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
        struct pollfd wanted = {.fd = fd, .events = POLLIN};
        const uint64_t left_ms = (left + TDI_NS_PER_MS - 1) / TDI_NS_PER_MS;
        const int ready = poll(&wanted, 1, left_ms > 60000 ? 60000 : (int)left_ms);
        if (ready > 0)
            return TD_OK;
        if (ready < 0 && errno != EINTR)
            return tdi_fail(error, TD_ERR_SYSTEM, "poll: %s", strerror(errno));
        if (left == 0)
            return tdi_fail(error, TD_TIMED_OUT, "the peer did not answer in time");
    }
}

void tdi_close_all(int *fds, size_t fds_total)
{
    for (size_t i = 0; i < fds_total; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

/* admission.c - from an accepted connection to a session: whose it is, HELLO, WELCOME. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "bridge/blob.h"
#include "wire/channel.h"

#define HELLO_NS_MAX   (5 * TDI_NS_PER_S)
#define ACCEPTS_A_LOOK 4

static td_view view(const char *text)
{
    return (td_view){(const uint8_t *)text, strlen(text)};
}

static void forget(tdi_guest *guest)
{
    tdi_close_all(&guest->fd, 1);
}

static void refuse(tdi_bridge *bridge, tdi_guest *guest, td_status status, tdi_error *why);

/* A free place; with none left, that of the guest who has been silent longest. Its HELLO may have
 * come by now, so it is heard first. */
static tdi_guest *place_for_one(tdi_bridge *bridge)
{
    tdi_guest *oldest = &bridge->guests[0];
    for (int i = 0; i < TDI_GUESTS_MAX; i++) {
        tdi_guest *guest = &bridge->guests[i];
        if (guest->fd < 0)
            return guest;
        if (guest->deadline_ns < oldest->deadline_ns)
            oldest = guest;
    }
    tdi_guest_speaks(bridge, oldest);
    if (oldest->fd >= 0) {
        tdi_error why = {""};
        refuse(bridge, oldest,
               tdi_fail(&why, TD_BUSY, "%d others connected while this one said nothing",
                        TDI_GUESTS_MAX),
               &why);
    }
    return oldest;
}

static void admit(tdi_bridge *bridge, int fd)
{
    int64_t pid;
    tdi_error error = {""};
    /* A stranger gets no answer: nothing here is for another uid. */
    if (tdi_channel_check_peer(fd, &pid, &error) != TD_OK) {
        tdi_say(bridge, "a connection is closed: %s", error.text);
        close(fd);
        return;
    }
    tdi_guest *guest = place_for_one(bridge);
    guest->source = (tdi_source){TDI_SOURCE_GUEST, guest};
    guest->fd = fd;
    guest->deadline_ns = tdi_now_ns() + HELLO_NS_MAX;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &guest->source};
    if (epoll_ctl(bridge->door_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        forget(guest);
}

void tdi_admit_waiting(tdi_bridge *bridge)
{
    for (int i = 0; i < ACCEPTS_A_LOOK; i++) {
        int fd = accept4(bridge->listener_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE) && bridge->spare_fd >= 0) {
            /* Left in the queue it would keep the listener readable, and us awake. */
            close(bridge->spare_fd);
            fd = accept4(bridge->listener_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (fd >= 0)
                close(fd);
            bridge->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
            tdi_say(bridge, "a connection is closed: no file descriptor is left");
            continue;
        }
        if (fd < 0)
            return; /* EAGAIN */
        admit(bridge, fd);
    }
}

void tdi_guests_expire(tdi_bridge *bridge, uint64_t now_ns)
{
    for (int i = 0; i < TDI_GUESTS_MAX; i++)
        if (bridge->guests[i].fd >= 0 && bridge->guests[i].deadline_ns <= now_ns) {
            tdi_say(bridge, "a connection is closed: no HELLO within %d s",
                    (int)(HELLO_NS_MAX / TDI_NS_PER_S));
            forget(&bridge->guests[i]);
        }
}

static void refuse(tdi_bridge *bridge, tdi_guest *guest, td_status status, tdi_error *why)
{
    tdi_mask(why->text);
    uint8_t message[1024];
    size_t bytes;
    tdi_say(bridge, "a connection is refused: %s", why->text);
    const char *build_id =
        bridge->options.build_id != NULL ? bridge->options.build_id : tdi_build_id();
    const tdi_welcome welcome = {
        .protocol = TDI_PROTOCOL,
        .status = (uint16_t)(status == TD_BUSY ? TD_BUSY : TD_FAILED),
        .monotonic_ns = tdi_now_ns(),
        .version = view(tdi_version()),
        .build_id = view(build_id),
        .text = view(why->text),
    };
    if (tdi_welcome_encode(&welcome, message, sizeof message, &bytes) == TD_OK)
        tdi_channel_send(guest->fd, message, bytes, NULL, 0, NULL); /* or its end says it */
    forget(guest);
}

static td_status judge(tdi_bridge *bridge, const tdi_hello *hello, tdi_error *error)
{
    const char *ours = bridge->options.build_id != NULL ? bridge->options.build_id : tdi_build_id();
    if (hello->protocol_min > TDI_PROTOCOL || hello->protocol_max < TDI_PROTOCOL)
        return tdi_fail(error, TD_ERR_REFUSED,
                        "protocol %u to %u is spoken there, %d here: install one version on both "
                        "sides",
                        hello->protocol_min, hello->protocol_max, TDI_PROTOCOL);
    const uint64_t known = bridge->options.blobs > 0 ? TDI_FEATURE_BLOBS : 0;
    if ((hello->features_required & ~known) != 0)
        return tdi_fail(error, TD_ERR_REFUSED,
                        "features 0x%llx are required, of which 0x%llx are not to be had",
                        (unsigned long long)hello->features_required,
                        (unsigned long long)(hello->features_required & ~known));
    if (hello->build_id.bytes != strlen(ours) ||
        memcmp(hello->build_id.data, ours, hello->build_id.bytes) != 0)
        return tdi_fail(error, TD_ERR_REFUSED,
                        "this bridge is build %s, the peer is build %.*s: stop the bridge (pid %d) "
                        "or rebuild",
                        ours, (int)(hello->build_id.bytes > 64 ? 64 : hello->build_id.bytes),
                        hello->build_id.data, (int)getpid());
    if (hello->role == TDI_ROLE_AGENT)
        return tdi_agent_judge(bridge, hello, error);
    if (hello->role != TDI_ROLE_ORCHESTRATOR || hello->actions_total != 0)
        return tdi_fail(error, TD_ERR_REFUSED, "role %u with %u actions is not known", hello->role,
                        hello->actions_total);
    return TD_OK;
}

static td_status welcome(tdi_bridge *bridge, tdi_session *session, const int *fds, tdi_error *error)
{
    static uint8_t message[TDI_MESSAGE_BYTES_MAX], table[TDI_MESSAGE_BYTES_MAX - 2048];
    size_t bytes, table_bytes = 0;
    const bool agent = session->role == TDI_ROLE_AGENT;
    const char *ours = bridge->options.build_id != NULL ? bridge->options.build_id : tdi_build_id();
    td_status status =
        agent
            ? tdi_registry_encode_ids(&bridge->registry, session->agent->ids,
                                      session->agent->ids_total, table, sizeof table, &table_bytes)
            : tdi_registry_encode(&bridge->registry, table, sizeof table, &table_bytes);
    if (status != TD_OK)
        return tdi_fail(error, status, "the action table does not fit into WELCOME");
    tdi_wish_realtime_look(&bridge->notes);
    const tdi_welcome words = {
        .protocol = TDI_PROTOCOL,
        .status = TD_OK,
        .session = session->id,
        .features = session->features,
        .blob_bytes_max = tdi_blobs_offered(session) ? bridge->options.blob_bytes : 0,
        .monotonic_ns = tdi_now_ns(),
        .ring_bytes = session->share.ring_bytes,
        .slots = session->slots,
        .reply_bytes_reserved = TDI_REPLY_BYTES_RESERVED,
        .bytes_quota = agent ? TDI_AGENT_BYTES_QUOTA : TDI_BYTES_QUOTA,
        .body_bytes_max = TDI_BODY_BYTES_MAX,
        .version = view(tdi_version()),
        .build_id = view(ours),
        .text = view(bridge->notes.text),
        .actions_total = agent ? session->agent->ids_total : bridge->registry.live,
        .actions = {table, table_bytes},
    };
    status = tdi_welcome_encode(&words, message, sizeof message, &bytes);
    if (status != TD_OK)
        return tdi_fail(error, status, "WELCOME does not fit into a message");
    int passed[TDI_CHANNEL_FDS];
    memcpy(passed, fds, sizeof passed);
    passed[TDI_SESSION_FDS] = bridge->statistics_fd; /* ours: not closed with the others */
    return tdi_channel_send(session->socket_fd, message, bytes, passed,
                            agent ? TDI_SESSION_FDS : TDI_CHANNEL_FDS, error);
}

void tdi_guest_speaks(tdi_bridge *bridge, tdi_guest *guest)
{
    static uint8_t message[TDI_HELLO_BYTES_MAX];
    size_t bytes;
    tdi_hello hello;
    tdi_error error = {""};
    int64_t pid;
    td_status status =
        tdi_channel_receive(guest->fd, message, sizeof message, &bytes, NULL, NULL, &error);
    if (status == TD_ERR_AGAIN)
        return;
    if (status == TD_ERR_CLOSED || status == TD_ERR_SYSTEM) {
        forget(guest);
        return;
    }
    if (status == TD_OK)
        status = tdi_hello_decode(message, bytes, &hello, &error);
    if (status == TD_OK)
        status = judge(bridge, &hello, &error);
    if (status == TD_OK)
        status = tdi_channel_check_peer(guest->fd, &pid, &error);
    if (status != TD_OK) {
        refuse(bridge, guest, status, &error);
        return;
    }
    tdi_session *session;
    int fds[TDI_CHANNEL_FDS];
    /* The session watches the same fd under another name. */
    epoll_ctl(bridge->door_fd, EPOLL_CTL_DEL, guest->fd, NULL);
    status = tdi_session_create(bridge, guest->fd, pid, &hello, &session, fds, &error);
    if (status != TD_OK) {
        refuse(bridge, guest, status, &error);
        return;
    }
    guest->fd = -1;
    status = welcome(bridge, session, fds, &error);
    tdi_close_all(fds, TDI_CHANNEL_FDS); /* the peer has them, or is gone */
    if (status != TD_OK)
        tdi_session_end(session, error.text);
}

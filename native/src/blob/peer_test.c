/* A bridge that breaks each rule about blobs in turn: its peer maps nothing it should not, and is
 * left with no fd. The bridge's end of the socket is the test's. */
#include "blob/peer.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/test.h"
#include "wire/channel.h"
#include "wire/handshake.h"

static tdi_blob_peer peer;
static int sockets[2], fds_before;
static tdi_error error;

static int open_fds(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int total = 0;
    while (folder != NULL && readdir(folder) != NULL)
        total++;
    if (folder != NULL)
        closedir(folder);
    return total;
}

static void begin(void)
{
    fds_before = open_fds();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets) != 0)
        abort();
    tdi_blob_peer_begin(&peer, TDI_FEATURE_BLOBS, 1 << 20);
}

static void end(void)
{
    tdi_blob_peer_end(&peer);
    close(sockets[0]);
    close(sockets[1]);
    CHECK_EQ(open_fds(), fds_before);
}

/* What the bridge sends; takes the fds. */
static void say(tdi_blob_message message, const int *fds, size_t fds_total)
{
    uint8_t data[TDI_BLOB_MESSAGE_BYTES];
    tdi_blob_encode(&message, data);
    CHECK_EQ(tdi_channel_send(sockets[1], data, sizeof data, fds, fds_total, NULL), TD_OK);
    for (size_t i = 0; i < fds_total; i++)
        close(fds[i]);
}

static void pass(uint64_t id, uint64_t bytes, int fd)
{
    say((tdi_blob_message){.op = TDI_BLOB_PASSED, .id = id, .bytes = bytes}, &fd, 1);
}

static int sealed(uint64_t bytes)
{
    int fd = -1;
    CHECK_EQ(tdi_blob_create(bytes, &fd, NULL), TD_OK);
    CHECK_EQ(tdi_blob_seal(fd, NULL), TD_OK);
    return fd;
}

/* The next message that came to the bridge; op 0: none. */
static tdi_blob_message heard(void)
{
    uint8_t data[64];
    size_t bytes;
    tdi_blob_message message = {0};
    if (tdi_channel_receive(sockets[1], data, sizeof data, &bytes, NULL, NULL, NULL) == TD_OK)
        CHECK_EQ(tdi_blob_decode(data, bytes, &message), TD_OK);
    return message;
}

static void an_honest_one_is_opened_once(void)
{
    tdi_blob_view view = {0};
    begin();
    pass(7, 5000, sealed(5000));
    pass(8, 100, sealed(100));
    CHECK_EQ(tdi_blob_receive(sockets[0], &peer, 8, 100, &view, &error), TD_OK);
    CHECK(view.bytes == 100 && view.data[99] == 0);
    tdi_blob_close(&view);
    CHECK_EQ(tdi_blob_receive(sockets[0], &peer, 7, 5000, &view, &error), TD_OK);
    tdi_blob_close(&view);
    CHECK_EQ(tdi_blob_receive(sockets[0], &peer, 7, 5000, &view, &error), TD_CORRUPT);
    CHECK(view.data == NULL);
    end();
}

static void what_is_not_sealed_or_not_of_that_length_is_not_mapped(void)
{
    tdi_blob_view view = {0};
    for (int seals = 0; seals < 16; seals++) {
        static const int each[4] = {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_SEAL};
        int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING), wanted = 0;
        CHECK_EQ(ftruncate(fd, 4096), 0);
        for (int i = 0; i < 4; i++)
            wanted |= seals & 1 << i ? each[i] : 0;
        CHECK_EQ(fcntl(fd, F_ADD_SEALS, wanted), 0);
        begin();
        pass(1, 4096, fcntl(fd, F_DUPFD_CLOEXEC, 0));
        CHECK_EQ(tdi_blob_receive(sockets[0], &peer, 1, 4096, &view, &error),
                 seals == 15 ? TD_OK : TD_CORRUPT);
        tdi_blob_close(&view);
        end();
        close(fd);
    }
    static const uint64_t lengths[] = {0, 1, 4095, 4097, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        begin();
        pass(1, lengths[i], sealed(4096)); /* the message lies */
        CHECK_EQ(tdi_blob_receive(sockets[0], &peer, 1, lengths[i], &view, &error), TD_CORRUPT);
        pass(2, 4096, sealed(4096)); /* the frame lies */
        CHECK_EQ(tdi_blob_receive(sockets[0], &peer, 2, lengths[i], &view, &error), TD_CORRUPT);
        CHECK(view.data == NULL);
        end();
    }
    begin();
    pass(1, 4096, open("/proc/self/exe", O_RDONLY | O_CLOEXEC)); /* no memfd at all */
    CHECK_EQ(tdi_blob_receive(sockets[0], &peer, 1, 4096, &view, &error), TD_CORRUPT);
    end();
}

static void a_name_without_its_fd_is_not_waited_for(void)
{
    tdi_blob_view view = {0};
    uint8_t goodbye[64];
    begin();
    CHECK_EQ(tdi_blob_receive(sockets[0], &peer, 1, 4096, &view, &error), TD_CORRUPT);
    end();
    begin(); /* a goodbye may lie before it */
    const size_t bytes = tdi_goodbye_encode("so long", goodbye, sizeof goodbye);
    CHECK_EQ(tdi_channel_send(sockets[1], goodbye, bytes, NULL, 0, NULL), TD_OK);
    pass(1, 4096, sealed(4096));
    CHECK_EQ(tdi_blob_receive(sockets[0], &peer, 1, 4096, &view, &error), TD_OK);
    tdi_blob_close(&view);
    end();
}

static void messages_that_have_no_place_are_refused_with_their_fds(void)
{
    static const struct {
        tdi_blob_message message;
        size_t fds;
    } cases[] = {
        {{.op = TDI_BLOB_WANT, .bytes = 1}, 0},
        {{.op = TDI_BLOB_COMMIT, .id = 1}, 0},
        {{.op = TDI_BLOB_DROP, .id = 1}, 0},
        {{.op = TDI_BLOB_DROP, .id = 1}, 1},
        {{.op = TDI_BLOB_PASSED, .id = 1, .bytes = 4096}, 0},
        {{.op = TDI_BLOB_PASSED, .id = 1, .bytes = 4096}, 2},
        {{.op = TDI_BLOB_PASSED, .id = 1, .bytes = 4096}, 5},
        {{.op = TDI_BLOB_GRANTED, .id = 1, .bytes = 4096}, 0},
        {{.op = TDI_BLOB_GRANTED, .status = TD_BUSY}, 1},
        {{.op = TDI_BLOB_COMMITTED, .id = 1}, 1},
        {{.op = 0}, 0},
        {{.op = 7}, 0},
        {{.op = UINT16_MAX}, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fds[TDI_CHANNEL_FDS];
        begin();
        for (size_t k = 0; k < cases[i].fds; k++)
            fds[k] = sealed(4096);
        say(cases[i].message, fds, cases[i].fds);
        CHECK_EQ(tdi_blob_listen(sockets[0], &peer, &error), TD_CORRUPT);
        CHECK_EQ(peer.held_total, 0);
        end();
    }
}

static void more_than_may_be_held_are_refused(void)
{
    begin();
    for (uint64_t id = 1; id <= TDI_BLOBS_SESSION_MAX; id++) {
        pass(id, 1, sealed(1));
        CHECK_EQ(tdi_blob_listen(sockets[0], &peer, &error), TD_OK);
    }
    pass(TDI_BLOBS_SESSION_MAX + 1, 1, sealed(1));
    CHECK_EQ(tdi_blob_listen(sockets[0], &peer, &error), TD_CORRUPT);
    CHECK_EQ(peer.held_total, TDI_BLOBS_SESSION_MAX);
    end(); /* and all of them are closed */
}

static void without_the_feature_nothing_is_taken(void)
{
    begin();
    tdi_blob_peer_begin(&peer, 0, 1 << 20);
    pass(1, 4096, sealed(4096));
    CHECK_EQ(tdi_blob_listen(sockets[0], &peer, &error), TD_CORRUPT);
    tdi_blob_name name;
    const td_view part = {(const uint8_t *)"x", 1};
    CHECK_EQ(tdi_blob_send(sockets[0], &peer, &part, 1, &name, &error), TD_TOO_LARGE);
    CHECK_EQ(heard().op, 0);
    end();
}

/* The bridge's answers, in the socket before they are asked for. */
static void a_body_is_filled_committed_and_summed(void)
{
    static const uint8_t text[] = "a body in two parts";
    const td_view parts[] = {{text, 7}, {NULL, 0}, {text + 7, 12}};
    tdi_blob_name name;
    int fd = -1;
    begin();
    CHECK_EQ(tdi_blob_create(19, &fd, NULL), TD_OK);
    const int ours = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    say((tdi_blob_message){.op = TDI_BLOB_GRANTED, .request = 1, .id = 5, .bytes = 19}, &fd, 1);
    say((tdi_blob_message){.op = TDI_BLOB_COMMITTED, .request = 2, .id = 5}, NULL, 0);
    CHECK_EQ(tdi_blob_send(sockets[0], &peer, parts, 3, &name, &error), TD_OK);
    CHECK(name.id == 5 && name.bytes == 19 && name.crc == tdi_crc32c(0, text, 19));
    const tdi_blob_message wanted = heard(), committed = heard();
    CHECK(wanted.op == TDI_BLOB_WANT && wanted.bytes == 19 && wanted.request == 1);
    CHECK(committed.op == TDI_BLOB_COMMIT && committed.id == 5 && committed.request == 2);
    CHECK_EQ(tdi_blob_seal(ours, NULL), TD_OK); /* the peer has let go of it */
    char back[19];
    CHECK(pread(ours, back, 19, 0) == 19 && memcmp(back, text, 19) == 0);
    close(ours);
    end();
}

static void refusals_and_ends_are_what_they_are(void)
{
    const td_view part = {(const uint8_t *)"x", 1};
    static const td_status said[] = {TD_BUSY, TD_TOO_LARGE, TD_FAILED, (td_status)99};
    tdi_blob_name name;
    for (int i = 0; i < 4; i++) {
        begin();
        say((tdi_blob_message){.op = TDI_BLOB_GRANTED, .request = 1, .status = (uint16_t)said[i]},
            NULL, 0);
        CHECK_EQ(tdi_blob_send(sockets[0], &peer, &part, 1, &name, &error),
                 i < 2 ? said[i] : TD_CORRUPT);
        end();
    }
    begin(); /* too long for any: it is not even asked for */
    const td_view longer = {(const uint8_t *)"x", (1 << 20) + 1};
    CHECK_EQ(tdi_blob_send(sockets[0], &peer, &longer, 1, &name, &error), TD_TOO_LARGE);
    CHECK_EQ(heard().op, 0);
    end();
    begin(); /* an answer to another question, with an fd */
    int fd = sealed(1);
    say((tdi_blob_message){.op = TDI_BLOB_GRANTED, .request = 9, .id = 3, .bytes = 1}, &fd, 1);
    shutdown(sockets[1], SHUT_WR);
    CHECK_EQ(tdi_blob_send(sockets[0], &peer, &part, 1, &name, &error), TD_ERR_CLOSED);
    CHECK_EQ(heard().op, TDI_BLOB_WANT);
    const tdi_blob_message dropped = heard();
    CHECK(dropped.op == TDI_BLOB_DROP && dropped.id == 3);
    end();
    begin(); /* an answer before anything was asked */
    fd = sealed(1);
    say((tdi_blob_message){.op = TDI_BLOB_GRANTED, .request = 0, .id = 3, .bytes = 1}, &fd, 1);
    CHECK_EQ(tdi_blob_listen(sockets[0], &peer, &error), TD_OK);
    CHECK(heard().op == TDI_BLOB_DROP);
    fd = sealed(1);
    say((tdi_blob_message){.op = TDI_BLOB_GRANTED, .request = 1, .id = 4, .bytes = 1}, &fd, 1);
    CHECK_EQ(tdi_blob_send(sockets[0], &peer, &part, 1, &name, &error), TD_BUSY);
    end();
    begin(); /* one that cannot be filled */
    fd = sealed(1);
    say((tdi_blob_message){.op = TDI_BLOB_GRANTED, .request = 1, .id = 3, .bytes = 1}, &fd, 1);
    CHECK_EQ(tdi_blob_send(sockets[0], &peer, &part, 1, &name, &error), TD_BUSY);
    CHECK_EQ(heard().op, TDI_BLOB_WANT);
    CHECK_EQ(heard().op, TDI_BLOB_DROP);
    end();
}

int main(void)
{
    RUN(an_honest_one_is_opened_once);
    RUN(what_is_not_sealed_or_not_of_that_length_is_not_mapped);
    RUN(a_name_without_its_fd_is_not_waited_for);
    RUN(messages_that_have_no_place_are_refused_with_their_fds);
    RUN(more_than_may_be_held_are_refused);
    RUN(without_the_feature_nothing_is_taken);
    RUN(a_body_is_filled_committed_and_summed);
    RUN(refusals_and_ends_are_what_they_are);
    return TEST_RESULT;
}

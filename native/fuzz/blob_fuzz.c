/* blob_fuzz.c - any bytes as a bridge's messages about blobs: nothing is read outside, no fd stays.
 *
 * The first byte names what the peer does, four times two bits: nothing, listen, send a body,
 * receive one. Records follow, which lie in its socket by then: a byte (bits 0-5 how many bytes
 * follow, 6 the magic comes before them, 7 an fd goes with them) and the bytes.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "blob/peer.h"
#include "wire/channel.h"

enum { MAGIC_BYTES = 8, RECORDS_MAX = 24, FDS_LOOKED_AT = 64 };

static int blob_fd = -1;

static uint64_t open_fds(void)
{
    uint64_t found = 0;
    for (int fd = 0; fd < FDS_LOOKED_AT; fd++)
        found |= (uint64_t)(fcntl(fd, F_GETFD) >= 0) << fd;
    return found;
}

/* One message, in memory of exactly its size. */
static void decode_alone(const uint8_t *data, size_t bytes)
{
    uint8_t *exact = malloc(bytes > 0 ? bytes : 1), again[TDI_BLOB_MESSAGE_BYTES];
    tdi_blob_message message;
    if (exact == NULL)
        return;
    memcpy(exact, data, bytes);
    if (tdi_blob_decode(exact, bytes, &message) == TD_OK) {
        tdi_blob_encode(&message, again);
        if (bytes != sizeof again || memcmp(exact, again, bytes) != 0)
            abort();
        if (message.op < TDI_BLOB_WANT || message.op > TDI_BLOB_PASSED)
            abort();
    }
    free(exact);
}

static uint64_t send_records(int socket_fd, const uint8_t *data, size_t bytes)
{
    static const uint8_t magic[] = "TANDEMBL";
    uint64_t id = 0;
    for (int i = 0; i < RECORDS_MAX && bytes > 0; i++) {
        uint8_t message[MAGIC_BYTES + 64];
        const uint8_t flags = *data;
        const size_t begun = flags & 0x40 ? MAGIC_BYTES : 0;
        size_t length = flags & 0x3F;
        data++, bytes--;
        if (length > bytes)
            length = bytes;
        memcpy(message, magic, begun);
        memcpy(message + begun, data, length);
        data += length, bytes -= length;
        decode_alone(message, begun + length);
        tdi_blob_message read;
        if (tdi_blob_decode(message, begun + length, &read) == TD_OK)
            id = read.id; /* one that can be received */
        if (begun + length > 0)
            tdi_channel_send(socket_fd, message, begun + length, &blob_fd, flags >> 7, NULL);
    }
    return id;
}

static void act(int what, int socket_fd, tdi_blob_peer *peer, uint64_t id)
{
    static const uint8_t body[] = {0xC0};
    const td_view part = {body, sizeof body};
    tdi_error error;
    tdi_blob_name name;
    tdi_blob_view view;
    if (what == 1)
        tdi_blob_listen(socket_fd, peer, &error);
    else if (what == 2)
        tdi_blob_send(socket_fd, peer, &part, 1, &name, &error);
    else if (what == 3 && tdi_blob_receive(socket_fd, peer, id, 1, &view, &error) == TD_OK)
        tdi_blob_close(&view);
    if (peer->held_total > TDI_BLOBS_SESSION_MAX)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    int sockets[2];
    tdi_error error;
    tdi_blob_peer peer;
    uint32_t crc;
    const td_view one = {(const uint8_t *)"\xC0", 1};
    if (blob_fd < 0) {
        if (tdi_blob_create(1, &blob_fd, &error) != TD_OK ||
            tdi_blob_fill(blob_fd, &one, 1, &crc, &error) != TD_OK ||
            tdi_blob_seal(blob_fd, &error) != TD_OK)
            abort();
    }
    const uint64_t before = open_fds();
    decode_alone(data, bytes);
    if (bytes == 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets) != 0)
        return 0;
    tdi_blob_peer_begin(&peer, TDI_FEATURE_BLOBS, 1 << 20);
    const uint64_t id = send_records(sockets[1], data + 1, bytes - 1);
    shutdown(sockets[1], SHUT_WR); /* or the peer would wait for an answer */
    for (int i = 0; i < 4; i++)
        act(data[0] >> 2 * i & 3, sockets[0], &peer, id);
    tdi_blob_peer_end(&peer);
    close(sockets[0]);
    close(sockets[1]);
    if (open_fds() != before)
        abort(); /* a descriptor is left */
    return 0;
}

/* hostile_test.c - a bridge that breaks each rule in turn: the client gives the session up.
 *
 * The bridge's end of the rings is held by the test, in one process, so that it can send what no
 * bridge would.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/test.h"
#include "blob/blob.h"
#include "client/client_state.h"
#include "wire/channel.h"
#include "wire/handshake.h"

enum { CAPACITY = 4096, SLOTS = 4, BODY_MAX = 2000 };

static struct {
    _Alignas(64) uint8_t up_data[CAPACITY];
    _Alignas(64) uint8_t down_data[CAPACITY];
    tdi_control up, down;
    _Atomic uint32_t cancel[SLOTS];
    tdi_progress progress[SLOTS];
    tdi_client client;
    uint32_t free_slots[SLOTS];
    uint8_t scratch[CAPACITY];
    tdi_ring_tx tx; /* the bridge's */
    tdi_ring_rx rx;
    int sockets[2], pipes[2];
    uint64_t call_id;
    uint32_t completions, status;
    size_t body_bytes;
} w;

static void begin(void)
{
    memset(&w, 0, sizeof w);
    tdi_client *client = &w.client;
    client->up = (tdi_region){.control = &w.up, .data = w.up_data, .cancel = w.cancel};
    client->down = (tdi_region){.control = &w.down, .data = w.down_data, .progress = w.progress};
    tdi_ring_tx_init(&client->tx, w.up_data, CAPACITY, &w.up.tail, &w.down.head);
    tdi_ring_rx_init(&client->rx, w.down_data, CAPACITY, &w.down.tail, &w.up.head);
    tdi_ring_tx_init(&w.tx, w.down_data, CAPACITY, &w.down.tail, &w.up.head);
    tdi_ring_rx_init(&w.rx, w.up_data, CAPACITY, &w.up.tail, &w.down.head);
    client->frames_rope.ticket = &w.down.sleep_ticket;
    client->space_rope.ticket = &w.down.space_ticket;
    client->sleep.shared = &w.up.sleep_ticket;
    client->space.shared = &w.up.space_ticket;
    client->slots = calloc(SLOTS, sizeof *client->slots); /* exact: reads past it are seen */
    client->free_slots = w.free_slots;
    client->scratch = w.scratch;
    client->slots_total = client->free_total = SLOTS;
    for (uint32_t i = 0; i < SLOTS; i++)
        w.free_slots[i] = SLOTS - 1 - i;
    client->bytes_quota = 100000;
    client->body_bytes_max = BODY_MAX;
    client->reply_bytes_reserved = 100;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, w.sockets) != 0 ||
        pipe2(w.pipes, O_NONBLOCK | O_CLOEXEC) != 0)
        abort();
    client->socket_fd = w.sockets[0];
    client->bell_in_fd = w.pipes[0];
    client->bell_out_fd = w.pipes[1];
    const tdi_call_request request = {.action_id = 1, .body = {(const uint8_t *)"\xc0", 1}};
    CHECK_EQ(tdi_client_call(client, &request, &w.call_id), TD_OK);
}

static void end(void)
{
    for (int i = 0; i < 2; i++) {
        close(w.sockets[i]);
        close(w.pipes[i]);
    }
    free(w.client.slots);
    free(w.client.inbound.body);
    free(w.client.outbound.body);
}

static void took(void *context, const tdi_completion *completion)
{
    (void)context;
    w.completions++;
    w.status = (uint32_t)completion->status;
    w.body_bytes = completion->body.bytes;
}

static td_status drain(void)
{
    int more;
    return tdi_client_drain(&w.client, 100, took, NULL, &more);
}

static void send_frame(tdi_frame frame, const uint8_t *ext, const void *body, size_t bytes)
{
    const td_view part = {body, bytes};
    frame.body_bytes = (uint32_t)bytes;
    CHECK_EQ(tdi_ring_push(&w.tx, &frame, ext, &part, 1), TD_OK);
    tdi_ring_publish(&w.tx);
}

static tdi_frame answer_to(uint64_t call_id)
{
    return (tdi_frame){.kind = TDI_KIND_COMPLETION, .call_id = call_id};
}

/* The session is over, nothing was handed out, and it stays over. */
static void is_given_up(void)
{
    CHECK_EQ(drain(), TD_CORRUPT);
    CHECK_EQ(w.completions, 0);
    CHECK_EQ(drain(), TD_CORRUPT);
    CHECK(tdi_client_error(&w.client)[0] != '\0');
    const tdi_call_request request = {.action_id = 1, .body = {(const uint8_t *)"\xc0", 1}};
    uint64_t id;
    CHECK_EQ(tdi_client_call(&w.client, &request, &id), TD_CORRUPT);
    end();
}

static void an_honest_answer_is_taken(void)
{
    begin();
    send_frame(answer_to(w.call_id), NULL, "\xc0", 1);
    CHECK_EQ(drain(), TD_OK);
    CHECK(w.completions == 1 && w.status == TD_OK && w.client.stats.in_flight == 0);
    end();
}

static void an_answer_that_is_no_strict_value_is_corrupt_alone(void)
{
    begin();
    send_frame(answer_to(w.call_id), NULL, "\xc1", 1);
    CHECK_EQ(drain(), TD_OK);
    CHECK(w.completions == 1 && w.status == TD_CORRUPT && w.body_bytes == 0);
    end();
}

static void a_completion_of_no_call_ends_it(void)
{
    const uint64_t none[] = {
        tdi_call_id(SLOTS, 1), tdi_call_id(UINT32_MAX, 1), /* no such slot */
        tdi_call_id(1, 0),     tdi_call_id(1, 1),          /* nobody uses it */
        tdi_call_id(0, 0),     tdi_call_id(0, 2),          /* another generation */
    };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        begin();
        send_frame(answer_to(none[i]), NULL, "\xc0", 1);
        is_given_up();
    }
}

static void a_second_completion_of_one_call_ends_it(void)
{
    begin();
    send_frame(answer_to(w.call_id), NULL, "\xc0", 1);
    send_frame(answer_to(w.call_id), NULL, "\xc0", 1);
    CHECK_EQ(drain(), TD_CORRUPT);
    CHECK_EQ(w.completions, 1);
    end();
}

static void a_status_that_does_not_exist_ends_it(void)
{
    begin();
    tdi_frame frame = answer_to(w.call_id);
    frame.aux = TD_CORRUPT + 1;
    send_frame(frame, NULL, "\xc0", 1);
    is_given_up();
}

static void kinds_that_have_no_place_end_it(void)
{
    static const uint8_t kinds[] = {TDI_KIND_CALL, TDI_KIND_LOAD, TDI_KIND_RUN};
    for (size_t i = 0; i < sizeof kinds; i++) {
        begin();
        tdi_frame frame = answer_to(w.call_id);
        frame.kind = kinds[i];
        send_frame(frame, NULL, "\xc0", 1);
        is_given_up();
    }
}

static void what_the_ring_or_the_extension_refuses_ends_it(void)
{
    begin();
    send_frame(answer_to(w.call_id), NULL, "\xc0", 1);
    w.down_data[TDI_FRAME_BYTES] ^= 1; /* the body's CRC */
    is_given_up();
    begin();
    send_frame(answer_to(w.call_id), NULL, "\xc0", 1);
    w.down_data[0] ^= 1; /* the header */
    is_given_up();
    begin();
    const uint8_t twice[16] = {TDI_EXT_KEY, 0, 1, 0, 'a', 0, 0, 0, TDI_EXT_KEY, 0, 1, 0, 'b'};
    tdi_frame frame = answer_to(w.call_id);
    frame.ext_units = 2;
    send_frame(frame, twice, "\xc0", 1);
    is_given_up();
    begin();
    frame = (tdi_frame){.kind = TDI_KIND_EVENT, .aux = 1};
    send_frame(frame, NULL, "cut", 3);
    is_given_up();
}

/* The first frame of a body of `total` bytes that announces `announced`. */
static void send_first(uint64_t announced, size_t bytes, int with_total)
{
    static const uint8_t body[BODY_MAX] = {0xC4, 250};
    uint8_t ext[TDI_EXT_BYTES_MAX];
    tdi_frame frame = answer_to(w.call_id);
    frame.flags = TDI_FLAG_MORE;
    if (with_total)
        tdi_extension_add(ext, &frame.ext_units, TDI_EXT_TOTAL, &announced, sizeof announced);
    send_frame(frame, ext, body, bytes);
}

static void send_more(uint64_t call_id, uint32_t index, uint16_t flags, size_t bytes)
{
    static const uint8_t body[BODY_MAX];
    send_frame((tdi_frame){.kind = TDI_KIND_CONT, .call_id = call_id, .aux = index, .flags = flags},
               NULL, body, bytes);
}

static void an_honest_body_in_pieces_is_taken(void)
{
    begin();
    send_first(252, 100, 1);
    send_more(w.call_id, 1, TDI_FLAG_MORE, 100);
    send_more(w.call_id, 2, 0, 52);
    CHECK_EQ(drain(), TD_OK);
    CHECK(w.completions == 1 && w.status == TD_OK && w.body_bytes == 252);
    end();
}

static void a_first_piece_of_impossible_length_ends_it(void)
{
    begin();
    send_first(0, 100, 0);
    is_given_up();
    begin();
    send_first(100, 100, 1);
    is_given_up();
    begin();
    send_first(50, 100, 1);
    is_given_up();
    begin();
    send_first(BODY_MAX + 1, 100, 1);
    is_given_up();
    begin();
    send_first(UINT64_MAX, 100, 1);
    is_given_up();
}

static void pieces_out_of_place_end_it(void)
{
    begin(); /* of nothing */
    send_more(w.call_id, 0, 0, 10);
    is_given_up();
    begin(); /* of nothing: all zero, as the reader's state is */
    send_more(0, 0, 0, 0);
    is_given_up();
    begin(); /* of another call */
    send_first(252, 100, 1);
    send_more(w.call_id + 1, 1, 0, 152);
    is_given_up();
    begin(); /* of another place */
    send_first(252, 100, 1);
    send_more(w.call_id, 2, 0, 152);
    is_given_up();
    begin(); /* empty */
    send_first(252, 100, 1);
    send_more(w.call_id, 1, TDI_FLAG_MORE, 0);
    is_given_up();
    begin(); /* too long */
    send_first(252, 100, 1);
    send_more(w.call_id, 1, TDI_FLAG_MORE, 200);
    is_given_up();
    begin(); /* the last one too early */
    send_first(252, 100, 1);
    send_more(w.call_id, 1, 0, 100);
    is_given_up();
    begin(); /* more after the last one */
    send_first(252, 100, 1);
    send_more(w.call_id, 1, TDI_FLAG_MORE, 152);
    is_given_up();
    begin(); /* a completion in between */
    send_first(252, 100, 1);
    send_frame(answer_to(w.call_id), NULL, "\xc0", 1);
    is_given_up();
}

/* An answer whose body lies in a blob of 5,000 zeros (MessagePack: 0, and then too much). */
static void send_blob(uint32_t aux, int with_record, size_t crc_bytes)
{
    enum { BYTES = 5000, ID = 7 };
    static const uint8_t zeros[BYTES];
    uint8_t ext[TDI_EXT_BYTES_MAX], message[TDI_BLOB_MESSAGE_BYTES], words[8] = {0};
    const uint64_t record[2] = {ID, BYTES};
    const uint32_t crc = tdi_crc32c(0, zeros, BYTES);
    int fd = -1;
    tdi_blob_peer_begin(&w.client.blobs, TDI_FEATURE_BLOBS, 1 << 20);
    CHECK_EQ(tdi_blob_create(BYTES, &fd, NULL), TD_OK);
    CHECK_EQ(tdi_blob_seal(fd, NULL), TD_OK);
    tdi_blob_encode(&(tdi_blob_message){.op = TDI_BLOB_PASSED, .id = ID, .bytes = BYTES}, message);
    CHECK_EQ(tdi_channel_send(w.sockets[1], message, sizeof message, &fd, 1, NULL), TD_OK);
    close(fd);
    tdi_frame frame = answer_to(w.call_id);
    frame.flags = TDI_FLAG_BLOB;
    frame.aux = aux;
    if (with_record)
        tdi_extension_add(ext, &frame.ext_units, TDI_EXT_BLOB, record, sizeof record);
    memcpy(words, &crc, sizeof crc);
    send_frame(frame, ext, words, crc_bytes);
}

static void an_answer_in_a_blob_is_looked_at(void)
{
    begin();
    send_blob(TD_OK, 1, TDI_BLOB_FRAME_BYTES);
    CHECK_EQ(drain(), TD_OK);
    CHECK(w.completions == 1 && w.status == TD_CORRUPT); /* its zeros are no strict value */
    tdi_blob_peer_end(&w.client.blobs);
    end();
}

static void a_blob_that_is_none_ends_it(void)
{
    static const struct {
        uint32_t aux;
        int with_record;
        size_t crc_bytes;
    } none[] = {{TD_OK, 0, 4}, {TD_OK, 1, 0}, {TD_OK, 1, 3}, {TD_OK, 1, 5}, {TD_FAILED, 1, 4}};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        begin();
        send_blob(none[i].aux, none[i].with_record, none[i].crc_bytes);
        CHECK_EQ(drain(), TD_CORRUPT);
        CHECK(strstr(tdi_client_error(&w.client), "a blob that is none") != NULL);
        tdi_blob_peer_end(&w.client.blobs);
        is_given_up();
    }
}

static void a_head_that_makes_no_sense_ends_it(void)
{
    begin();
    const tdi_call_request request = {.action_id = 1, .body = {(const uint8_t *)"\xc0", 1}};
    uint64_t id = w.call_id;
    atomic_store(&w.down.head, CAPACITY * 8);
    td_status status = TD_OK;
    for (int i = 0; i < 100 && status == TD_OK; i++) {
        w.client.free_total = SLOTS; /* as if they were answered */
        status = tdi_client_call(&w.client, &request, &id);
        w.client.bytes_used = 0;
    }
    CHECK_EQ(status, TD_CORRUPT);
    CHECK_EQ(drain(), TD_CORRUPT);
    /* Nothing can be promised of what such a bridge has popped. */
    CHECK_EQ(tdi_client_fate(&w.client, id), TD_UNKNOWN);
    end();
}

static void a_head_that_makes_no_sense_ends_a_long_body(void)
{
    static const uint8_t body[1900] = {0xC5, 7, 105};
    begin();
    tdi_call_request request = {.action_id = 1, .body = {body, sizeof body}};
    uint64_t id;
    CHECK_EQ(tdi_client_call(&w.client, &request, &id), TD_OK);
    CHECK_EQ(tdi_client_call(&w.client, &request, &id), TD_OK); /* does not fit: goes on later */
    CHECK(w.client.outbound.body != NULL);
    atomic_store(&w.down.head, 32);
    CHECK_EQ(drain(), TD_CORRUPT);
    end();
    begin();
    CHECK_EQ(tdi_client_call(&w.client, &request, &id), TD_OK);
    CHECK_EQ(tdi_client_call(&w.client, &request, &id), TD_OK);
    atomic_store(&w.down.head, 32);
    CHECK_EQ(tdi_client_wait(&w.client, 1000000), TD_CORRUPT);
    end();
}

static void words_about_no_call_are_refused(void)
{
    const uint64_t none[] = {tdi_call_id(SLOTS, 1),      tdi_call_id(SLOTS, 0),
                             tdi_call_id(UINT32_MAX, 1), tdi_call_id(1, 0),
                             tdi_call_id(1, 1),          tdi_call_id(0, 2)};
    uint64_t done, total;
    begin();
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        CHECK_EQ(tdi_client_cancel(&w.client, none[i]), TD_ERR_ARGUMENT);
        CHECK_EQ(tdi_client_progress(&w.client, none[i], &done, &total), TD_ERR_ARGUMENT);
        CHECK_EQ(tdi_client_fate(&w.client, none[i]), TD_ERR_ARGUMENT);
    }
    CHECK_EQ(tdi_client_cancel(&w.client, w.call_id), TD_OK);
    CHECK_EQ(w.cancel[0], 1);
    CHECK_EQ(tdi_client_fate(&w.client, w.call_id), TD_NOT_STARTED);
    atomic_store(&w.down.head, w.client.tx.at);
    CHECK_EQ(tdi_client_fate(&w.client, w.call_id), TD_UNKNOWN);
    end();
}

static void calls_beyond_a_limit_are_refused(void)
{
    static const uint8_t body[BODY_MAX + 1] = {0xC0};
    static const uint8_t key[TDI_KEY_BYTES_MAX + 1];
    uint64_t id;
    begin();
    const tdi_call_request lane = {.lane = TDI_LANES, .body = {body, 1}};
    CHECK_EQ(tdi_client_call(&w.client, &lane, &id), TD_ERR_ARGUMENT);
    const tdi_call_request long_key = {.body = {body, 1}, .idempotency_key = {key, sizeof key}};
    CHECK_EQ(tdi_client_call(&w.client, &long_key, &id), TD_ERR_ARGUMENT);
    const tdi_call_request long_body = {.body = {body, BODY_MAX + 1}};
    CHECK_EQ(tdi_client_call(&w.client, &long_body, &id), TD_TOO_LARGE);
    const tdi_call_request both = {.body = {body, BODY_MAX - 1}, .inputs = {body, 2}};
    CHECK_EQ(tdi_client_call(&w.client, &both, &id), TD_TOO_LARGE);
    const tdi_call_request overflows = {.body = {body, 2}, .inputs = {body, SIZE_MAX}};
    CHECK_EQ(tdi_client_call(&w.client, &overflows, &id), TD_TOO_LARGE);
    const tdi_call_request quota = {.body = {body, 1}, .reply_bytes_max = 100000};
    CHECK_EQ(tdi_client_call(&w.client, &quota, &id), TD_BUSY);
    const tdi_call_request plain = {.body = {body, 1}};
    for (int i = 1; i < SLOTS; i++)
        CHECK_EQ(tdi_client_call(&w.client, &plain, &id), TD_OK);
    CHECK_EQ(tdi_client_call(&w.client, &plain, &id), TD_BUSY); /* no slot */
    end();
}

static void drain_again(void *context, const tdi_completion *completion)
{
    int more;
    (void)completion;
    *(td_status *)context = tdi_client_drain(&w.client, 1, took, NULL, &more);
}

static void a_callback_may_not_drain(void)
{
    td_status inner = TD_OK;
    int more;
    begin();
    send_frame(answer_to(w.call_id), NULL, "\xc0", 1);
    CHECK_EQ(tdi_client_drain(&w.client, 1, drain_again, &inner, &more), TD_OK);
    CHECK_EQ(inner, TD_ERR_ARGUMENT);
    end();
}

static void a_call_held_back_is_shown_with_the_next_or_by_a_full_ring(void)
{
    const tdi_call_request request = {.action_id = 1, .body = {(const uint8_t *)"\xc0", 1}};
    uint64_t id;
    begin();
    const uint64_t before = atomic_load(&w.up.tail);
    tdi_bell_ticket bridge = {.shared = &w.down.sleep_ticket};
    tdi_bell_arm(&bridge);
    tdi_client_hold(&w.client);
    CHECK_EQ(tdi_client_call(&w.client, &request, &id), TD_OK);
    CHECK_EQ(tdi_client_call(&w.client, &request, &id), TD_OK);
    CHECK_EQ(atomic_load(&w.up.tail), before);
    CHECK_EQ(w.client.stats.doorbells_rung, 0);
    tdi_client_show(&w.client);
    CHECK_EQ(atomic_load(&w.up.tail), before + 2 * 128);
    CHECK_EQ(w.client.stats.doorbells_rung, 1);
    /* Room comes only from what was shown, so a full ring shows what is held. */
    tdi_client_hold(&w.client);
    td_status status;
    do {
        w.client.free_total = SLOTS;
        w.client.bytes_used = 0;
        status = tdi_client_call(&w.client, &request, &id);
    } while (status == TD_OK);
    CHECK_EQ(status, TD_BUSY);
    CHECK_EQ(atomic_load(&w.up.tail), w.client.tx.at);
    end();
}

int main(void)
{
    RUN(an_honest_answer_is_taken);
    RUN(an_answer_that_is_no_strict_value_is_corrupt_alone);
    RUN(a_completion_of_no_call_ends_it);
    RUN(a_second_completion_of_one_call_ends_it);
    RUN(a_status_that_does_not_exist_ends_it);
    RUN(kinds_that_have_no_place_end_it);
    RUN(what_the_ring_or_the_extension_refuses_ends_it);
    RUN(an_honest_body_in_pieces_is_taken);
    RUN(a_first_piece_of_impossible_length_ends_it);
    RUN(pieces_out_of_place_end_it);
    RUN(an_answer_in_a_blob_is_looked_at);
    RUN(a_blob_that_is_none_ends_it);
    RUN(a_head_that_makes_no_sense_ends_it);
    RUN(a_head_that_makes_no_sense_ends_a_long_body);
    RUN(words_about_no_call_are_refused);
    RUN(calls_beyond_a_limit_are_refused);
    RUN(a_callback_may_not_drain);
    RUN(a_call_held_back_is_shown_with_the_next_or_by_a_full_ring);
    return TEST_RESULT;
}

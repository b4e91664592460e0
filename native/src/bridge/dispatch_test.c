/* dispatch_test.c - an orchestrator's frames, good and bad, as the bridge takes them in.
 *
 * One session is made by hand, without processes: the peer's end of the rings is held by the test.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"
#include "bridge/bridge.h"

enum { CAPACITY = 16384, SLOTS = 4 };

static struct {
    _Alignas(64) uint8_t up_data[CAPACITY];
    _Alignas(64) uint8_t down_data[CAPACITY];
    tdi_control up, down;
    _Atomic uint32_t cancel[SLOTS];
    tdi_progress progress[SLOTS];
    uint8_t scratch[CAPACITY];
    tdi_bridge bridge;
    tdi_session session;
    tdi_ring_tx tx; /* the peer's */
    tdi_ring_rx rx;
    int peer_socket;
} w;

static void begin(void)
{
    int sockets[2];
    memset(&w, 0, sizeof w);
    if (tdi_registry_add_built_in(&w.bridge.registry, NULL) != TD_OK ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets) != 0)
        abort();
    tdi_session *session = &w.session;
    w.bridge.scratch = w.scratch;
    w.bridge.sessions[0] = session;
    w.bridge.sessions_high = w.bridge.sessions_total = 1;
    session->bridge = &w.bridge;
    session->role = TDI_ROLE_ORCHESTRATOR;
    session->slots = SLOTS;
    session->slot_busy = calloc(SLOTS, 1); /* exact: reads past it are seen */
    session->socket_fd = sockets[0];
    w.peer_socket = sockets[1];
    session->bell_in_fd = session->bell_out_fd = -1;
    session->up = (tdi_region){.control = &w.up, .data = w.up_data, .cancel = w.cancel};
    session->down = (tdi_region){.control = &w.down, .data = w.down_data, .progress = w.progress};
    tdi_ring_tx_init(&session->tx, w.down_data, CAPACITY, &w.down.tail, &w.up.head);
    tdi_ring_rx_init(&session->rx, w.up_data, CAPACITY, &w.up.tail, &w.down.head);
    tdi_ring_tx_init(&w.tx, w.up_data, CAPACITY, &w.up.tail, &w.down.head);
    tdi_ring_rx_init(&w.rx, w.down_data, CAPACITY, &w.down.tail, &w.up.head);
    session->frames_rope.ticket = &w.up.sleep_ticket;
    session->space_rope.ticket = &w.up.space_ticket;
    session->sleep.shared = &w.down.sleep_ticket;
    session->space.shared = &w.down.space_ticket;
}

static void end(void)
{
    if (w.session.socket_fd >= 0)
        close(w.session.socket_fd);
    close(w.peer_socket);
    tdi_answers_drop(&w.session);
    free(w.session.inbound.body);
    free(w.session.slot_busy);
    free(w.bridge.short_run.output.start);
    tdi_registry_free(&w.bridge.registry);
}

static uint32_t echo(void)
{
    return tdi_registry_id(&w.bridge.registry, (td_view){(const uint8_t *)"system", 6},
                           (td_view){(const uint8_t *)"echo", 4});
}

static void send_frame(tdi_frame frame, const uint8_t *ext, size_t bytes)
{
    static const uint8_t body[CAPACITY] = {0xC4, 250}; /* 250 bytes, all 0 */
    const td_view part = {body, bytes};
    frame.body_bytes = (uint32_t)bytes;
    CHECK_EQ(tdi_ring_push(&w.tx, &frame, ext, &part, 1), TD_OK);
    tdi_ring_publish(&w.tx);
    tdi_session_round(&w.session);
}

static tdi_frame call(uint32_t slot, uint32_t generation)
{
    return (tdi_frame){.kind = TDI_KIND_CALL,
                       .flags = TDI_FLAG_WANT_REPLY,
                       .call_id = tdi_call_id(slot, generation),
                       .action_id = echo()};
}

/* The status of the next completion, or -1 when there is none. */
static int completed(void)
{
    tdi_frame frame;
    uint8_t ext[TDI_EXT_BYTES_MAX], body[CAPACITY];
    if (tdi_ring_peek(&w.rx, &frame) != TD_OK)
        return -1;
    if (frame.kind != TDI_KIND_COMPLETION || tdi_ring_take(&w.rx, &frame, ext, body) != TD_OK)
        return -2;
    tdi_ring_release(&w.rx);
    return (int)frame.aux;
}

static void is_ended(void)
{
    CHECK(w.session.ended);
    CHECK_EQ(completed(), -1);
    end();
}

/* The first frame of a long call that announces `total` bytes. */
static void send_first(tdi_frame frame, uint64_t total, size_t bytes)
{
    uint8_t ext[TDI_EXT_BYTES_MAX];
    frame.flags |= TDI_FLAG_MORE;
    tdi_extension_add(ext, &frame.ext_units, TDI_EXT_TOTAL, &total, sizeof total);
    send_frame(frame, ext, bytes);
}

static void send_more(uint64_t call_id, uint32_t index, uint16_t flags, size_t bytes)
{
    send_frame((tdi_frame){.kind = TDI_KIND_CONT, .call_id = call_id, .aux = index, .flags = flags},
               NULL, bytes);
}

static void calls_whole_and_in_pieces_are_answered(void)
{
    begin();
    send_frame(call(0, 1), NULL, 252);
    tdi_answers_show(&w.session);
    CHECK_EQ(completed(), TD_OK);
    send_first(call(1, 1), 252, 100);
    send_more(tdi_call_id(1, 1), 1, TDI_FLAG_MORE, 100);
    CHECK_EQ(completed(), -1);
    send_more(tdi_call_id(1, 1), 2, 0, 52);
    tdi_answers_show(&w.session);
    CHECK_EQ(completed(), TD_OK);
    end();
}

static void slots_that_are_none_or_taken_end_the_session(void)
{
    const uint64_t wrong[] = {tdi_call_id(SLOTS, 1), tdi_call_id(UINT32_MAX, 1), tdi_call_id(2, 0),
                              tdi_call_id(3, 9)};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        for (int in_pieces = 0; in_pieces < 2; in_pieces++) {
            begin();
            w.session.slot_busy[3] = 1;
            const tdi_frame frame = call(tdi_call_slot(wrong[i]), tdi_call_generation(wrong[i]));
            if (in_pieces)
                send_first(frame, 252, 100);
            else
                send_frame(frame, NULL, 252);
            is_ended();
        }
    }
}

static void a_body_over_the_maximum_is_refused_and_dropped(void)
{
    begin();
    send_first(call(0, 1), TDI_BODY_BYTES_MAX + UINT64_C(1), 100); /* with the head of a pair */
    CHECK(w.session.inbound.refusal == TD_OK && w.session.inbound.body != NULL);
    end();
    begin();
    send_first(call(0, 1), TDI_BODY_BYTES_MAX + UINT64_C(2), 100);
    CHECK(w.session.inbound.refusal == TD_TOO_LARGE && w.session.inbound.body == NULL);
    CHECK(!w.session.ended && w.session.inbound.charged == 0);
    end();
    begin();
    send_first(call(0, 1), UINT64_MAX, 100);
    CHECK(w.session.inbound.refusal == TD_TOO_LARGE && w.session.inbound.body == NULL);
    end();
}

static void a_first_piece_of_impossible_length_ends_the_session(void)
{
    begin();
    tdi_frame frame = call(0, 1);
    frame.flags |= TDI_FLAG_MORE;
    send_frame(frame, NULL, 100); /* says no total */
    is_ended();
    const uint64_t totals[] = {0, 50, 100};
    for (int i = 0; i < 3; i++) {
        begin();
        send_first(call(0, 1), totals[i], 100);
        is_ended();
    }
}

static void pieces_out_of_place_end_the_session(void)
{
    const uint64_t id = tdi_call_id(0, 1);
    begin(); /* of nothing */
    send_more(id, 1, 0, 10);
    is_ended();
    begin(); /* of nothing, all zero as the reader's state */
    send_more(0, 0, 0, 0);
    is_ended();
    begin(); /* of another call */
    send_first(call(0, 1), 252, 100);
    send_more(tdi_call_id(1, 1), 1, 0, 152);
    is_ended();
    begin(); /* of another place */
    send_first(call(0, 1), 252, 100);
    send_more(id, 2, 0, 152);
    is_ended();
    begin(); /* empty */
    send_first(call(0, 1), 252, 100);
    send_more(id, 1, TDI_FLAG_MORE, 0);
    is_ended();
    begin(); /* too long */
    send_first(call(0, 1), 252, 100);
    send_more(id, 1, TDI_FLAG_MORE, 200);
    is_ended();
    begin(); /* the last one too early */
    send_first(call(0, 1), 252, 100);
    send_more(id, 1, 0, 100);
    is_ended();
    begin(); /* more after the last one */
    send_first(call(0, 1), 252, 100);
    send_more(id, 1, TDI_FLAG_MORE, 152);
    is_ended();
    begin(); /* with an extension, which only the first one has */
    send_first(call(0, 1), 252, 100);
    uint8_t ext[TDI_EXT_BYTES_MAX];
    tdi_frame frame = {.kind = TDI_KIND_CONT, .call_id = id, .aux = 1};
    tdi_extension_add(ext, &frame.ext_units, 100, "x", 1);
    send_frame(frame, ext, 152);
    is_ended();
    begin(); /* another call in between */
    send_first(call(0, 1), 252, 100);
    send_frame(call(1, 1), NULL, 252);
    is_ended();
}

static void kinds_and_flags_that_have_no_place_end_the_session(void)
{
    begin();
    tdi_frame frame = call(0, 1);
    frame.kind = TDI_KIND_COMPLETION;
    send_frame(frame, NULL, 252);
    is_ended();
    begin();
    frame = call(0, 1);
    frame.flags |= TDI_FLAG_ELAPSED_US;
    send_frame(frame, NULL, 252);
    is_ended();
    begin();
    frame = call(0, 1);
    frame.ext_units = 2;
    const uint8_t twice[16] = {TDI_EXT_KEY, 0, 1, 0, 'a', 0, 0, 0, TDI_EXT_KEY, 0, 1, 0, 'b'};
    send_frame(frame, twice, 252);
    is_ended();
}

int main(void)
{
    RUN(calls_whole_and_in_pieces_are_answered);
    RUN(slots_that_are_none_or_taken_end_the_session);
    RUN(a_body_over_the_maximum_is_refused_and_dropped);
    RUN(a_first_piece_of_impossible_length_ends_the_session);
    RUN(pieces_out_of_place_end_the_session);
    RUN(kinds_and_flags_that_have_no_place_end_the_session);
    return TEST_RESULT;
}

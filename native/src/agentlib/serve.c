/* serve.c - an agent's loop: calls in, completions out, sleep, stop, connect again. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agentlib/agent_state.h"
#include "base/clock.h"
#include "base/spin.h"
#include "wire/channel.h"

#define FRAMES_A_ROUND  64u /* before the rest of the loop gets its turn */
#define UNSHOWN_MAX     32u /* answers kept back while more calls are there */
#define BACK_OFF_FIRST  50u
#define FIRST_TRIES     60 /* three seconds for a bridge that starts at the same time */
#define BACK_OFF_MAX_MS 5000u
#define WORKERS_END_NS  TDI_NS_PER_S

static _Thread_local tdi_error last_failure;

static void show(td_agent *agent)
{
    agent->unshown = 0;
    if (tdi_ring_publish(&agent->tx))
        tdi_bell_ring(&agent->frames_rope, agent->bell_out_fd);
}

/* Push the parcel's frames while they fit. */
static td_status push_some(td_agent *agent, agent_parcel *parcel)
{
    do {
        uint8_t ext[TDI_EXT_BYTES_MAX];
        size_t piece_max = tdi_ring_span_max(agent->tx.capacity) - TDI_FRAME_BYTES;
        const size_t left = parcel->bytes - parcel->at;
        tdi_frame frame = parcel->frame;
        if (parcel->index > 0) {
            frame = (tdi_frame){
                .kind = TDI_KIND_CONT, .call_id = parcel->frame.call_id, .aux = parcel->index};
        } else if (left > piece_max) {
            const uint64_t total = parcel->bytes;
            tdi_extension_add(ext, &frame.ext_units, TDI_EXT_TOTAL, &total, sizeof total);
            piece_max -= 8u * frame.ext_units;
        } else if (parcel->blob[0] != 0) {
            tdi_extension_add(ext, &frame.ext_units, TDI_EXT_BLOB, parcel->blob,
                              sizeof parcel->blob);
        }
        const size_t piece = left < piece_max ? left : piece_max;
        if (piece < left)
            frame.flags |= TDI_FLAG_MORE;
        frame.body_bytes = (uint32_t)piece;
        const td_view part = {parcel->body + parcel->at, piece};
        const td_status status = tdi_ring_push(&agent->tx, &frame, ext, &part, piece > 0);
        if (status != TD_OK)
            return status;
        parcel->at += piece;
        parcel->index++;
    } while (parcel->at < parcel->bytes);
    return TD_OK;
}

/* TD_OK, or TD_CORRUPT. */
static td_status pump(td_agent *agent)
{
    while (agent->waiting_first != NULL) {
        agent_parcel *parcel = agent->waiting_first;
        td_status status = push_some(agent, parcel);
        if (status == TD_ERR_FULL) {
            show(agent);
            tdi_bell_arm(&agent->space);
            status = push_some(agent, parcel);
        }
        if (status == TD_ERR_FULL)
            return TD_OK;
        if (status != TD_OK)
            return tdi_fail(&agent->error, TD_CORRUPT, "the bridge's cursor makes no sense");
        agent->waiting_first = parcel->next;
        if (agent->waiting_first == NULL)
            agent->waiting_last = NULL;
        free(parcel->body);
        free(parcel);
        show(agent);
    }
    tdi_bell_disarm(&agent->space);
    return TD_OK;
}

/* What does not fit waits here, and calls are still taken: the bridge counts the slots. */
static td_status send_parcel(td_agent *agent, agent_parcel *parcel)
{
    td_status status = TD_ERR_FULL;
    if (agent->waiting_first == NULL)
        status = push_some(agent, parcel);
    if (status == TD_OK || status != TD_ERR_FULL)
        return status;
    agent_parcel *waiting = malloc(sizeof *waiting);
    uint8_t *body = malloc(parcel->bytes + 1);
    if (waiting == NULL || body == NULL) {
        free(waiting);
        free(body);
        return tdi_fail(&agent->error, TD_ERR_MEMORY, "no memory for an answer that waits");
    }
    *waiting = *parcel;
    waiting->next = NULL;
    waiting->body = body;
    if (parcel->bytes > 0)
        memcpy(body, parcel->body, parcel->bytes);
    if (agent->waiting_last != NULL)
        agent->waiting_last->next = waiting;
    else
        agent->waiting_first = waiting;
    agent->waiting_last = waiting;
    return TD_OK;
}

static td_status answer(td_agent *agent, agent_run *run)
{
    agent_log_flush(run, true);
    agent_parcel parcel = {.frame = {.kind = TDI_KIND_COMPLETION,
                                     .call_id = run->call_id,
                                     .attempt = (uint16_t)run->attempt,
                                     .time_ns = run->started_ns,
                                     .aux = (uint32_t)run->status}};
    if (run->elapsed_ns <= UINT32_MAX) {
        parcel.frame.aux2 = (uint32_t)run->elapsed_ns;
    } else {
        const uint64_t us = run->elapsed_ns / 1000;
        parcel.frame.flags = TDI_FLAG_ELAPSED_US;
        parcel.frame.aux2 = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
    }
    if (run->status == TD_OK) {
        parcel.body = run->output.writer.start;
        parcel.bytes = td_writer_bytes(&run->output.writer);
    } else if (run->status == TD_FAILED) {
        parcel.body = run->failure;
        parcel.bytes = run->failure_bytes;
    }
    tdi_progress *progress = &agent->up.progress[tdi_call_slot(run->call_id)];
    atomic_store_explicit(&progress->done, 0, memory_order_relaxed);
    atomic_store_explicit(&progress->total, 0, memory_order_relaxed);
    uint32_t sum;
    td_status status = TD_OK;
    if (parcel.bytes > AGENT_RING_BODY_BYTES_MAX)
        status = agent_blob_give(agent, &parcel, &sum);
    if (status == TD_OK)
        status = send_parcel(agent, &parcel);
    free(run->owned_body);
    run->owned_body = NULL;
    if (run->blob.data != NULL)
        tdi_blob_close(&run->blob);
    return status;
}

static void in_the_pool(tdi_job *job)
{
    agent_run_perform((agent_run *)((uint8_t *)job - offsetof(agent_run, job)));
}

static td_status finish_jobs(td_agent *agent)
{
    td_status status = TD_OK;
    tdi_job *job = agent->pool != NULL ? tdi_pool_take(agent->pool) : NULL;
    while (job != NULL) {
        agent_run *run = (agent_run *)((uint8_t *)job - offsetof(agent_run, job));
        job = job->next;
        agent->in_pool--;
        /* After a reconnect the slot is another session's: its caller has been told already. */
        if (status == TD_OK && agent->socket_fd >= 0)
            status = answer(agent, run);
        agent_log_flush(run, false);
        tdi_blob_close(&run->blob);
        free(run->owned_body);
        td_heap_writer_fini(&run->output);
        free(run);
        if (agent->socket_fd >= 0)
            show(agent);
    }
    return status;
}

static const td_action *action_of(const td_agent *agent, uint32_t id)
{
    for (size_t i = 0; i < agent->options.actions_total; i++)
        if (agent->ids[i] == id)
            return &agent->options.actions[i];
    return NULL;
}

/* A whole call; takes `owned`, and the blob that the body lies in. */
static td_status start(td_agent *agent, const tdi_frame *frame, const tdi_extension *ext,
                       td_view body, uint8_t *owned, tdi_blob_view blob)
{
    const td_action *action = action_of(agent, frame->action_id);
    if (action == NULL || tdi_call_slot(frame->call_id) >= agent->slots) {
        free(owned);
        tdi_blob_close(&blob);
        return tdi_fail(&agent->error, TD_CORRUPT, "the bridge called what was not offered");
    }
    if (agent->pool != NULL && action->runs == TD_RUNS_BLOCKING) {
        agent_run *run = calloc(1, sizeof *run);
        const bool in_place = owned != NULL || blob.data != NULL;
        uint8_t *copy = in_place ? owned : malloc(body.bytes + 1);
        if (run == NULL || (copy == NULL && !in_place)) {
            free(run);
            free(copy);
            tdi_blob_close(&blob);
            return tdi_fail(&agent->error, TD_ERR_MEMORY, "no memory for a call");
        }
        if (!in_place && body.bytes > 0)
            memcpy(copy, body.data, body.bytes);
        td_heap_writer_init(&run->output, 0);
        agent_run_begin(run, agent, action, frame, ext);
        run->body = in_place ? body : (td_view){copy, body.bytes};
        run->owned_body = copy;
        run->blob = blob;
        run->job.perform = in_the_pool;
        if (tdi_pool_submit(agent->pool, &run->job) == TD_OK) {
            agent->in_pool++;
            return TD_OK;
        }
        run->status = TD_BUSY; /* never: the bridge counts our slots */
        const td_status status = answer(agent, run);
        free(run);
        return status;
    }
    agent_run *run = &agent->run;
    if (action->runs == TD_RUNS_BLOCKING)
        show(agent); /* answers do not wait for a long action */
    td_heap_writer_reset(&run->output);
    agent_run_begin(run, agent, action, frame, ext);
    run->body = body;
    run->owned_body = owned;
    run->blob = blob;
    if (agent->options.host) {
        atomic_store_explicit(&agent->watched_deadline_ns, frame->time_ns, memory_order_relaxed);
        atomic_store_explicit(&agent->watched_id, frame->call_id, memory_order_release);
    }
    tdi_cpus_follow(&agent->cpus, run->job.cpus);
    agent_run_perform(run);
    if (agent->options.host)
        atomic_store_explicit(&agent->watched_id, 0, memory_order_release);
    const td_status status = answer(agent, run);
    /* A large buffer was for that call alone. */
    if (run->output.writer.end - run->output.writer.start > 64 * 1024) {
        td_heap_writer_fini(&run->output);
        td_heap_writer_init(&run->output, 0);
    }
    /* A crash of the next call must not lose this answer. */
    if (agent->options.host || ++agent->unshown >= UNSHOWN_MAX)
        show(agent);
    return status;
}

static td_status begin_long(td_agent *agent, const tdi_frame *frame, const tdi_extension *ext,
                            const uint8_t *ext_bytes)
{
    agent_inbound *in = &agent->inbound;
    if (!(ext->present & 1u << TDI_EXT_TOTAL) || ext->total_bytes <= frame->body_bytes ||
        ext->total_bytes > (64u << 20) + 1u)
        return tdi_fail(&agent->error, TD_CORRUPT, "a fragmented call of impossible length");
    in->body = malloc((size_t)ext->total_bytes);
    if (in->body == NULL)
        return tdi_fail(&agent->error, TD_ERR_MEMORY, "no memory for a call of %llu bytes",
                        (unsigned long long)ext->total_bytes);
    in->bytes = (size_t)ext->total_bytes;
    in->at = frame->body_bytes;
    in->index = 1;
    in->first = *frame;
    memcpy(in->ext, ext_bytes, 8u * frame->ext_units);
    memcpy(in->body, agent->scratch, frame->body_bytes);
    return TD_OK;
}

static td_status go_on_long(td_agent *agent, const tdi_frame *frame)
{
    agent_inbound *in = &agent->inbound;
    const bool more = (frame->flags & TDI_FLAG_MORE) != 0;
    if (in->body == NULL || frame->call_id != in->first.call_id || frame->aux != in->index ||
        frame->body_bytes == 0 || frame->body_bytes > in->bytes - in->at ||
        (in->bytes - in->at == frame->body_bytes) == more)
        return tdi_fail(&agent->error, TD_CORRUPT, "a fragment out of place");
    memcpy(in->body + in->at, agent->scratch, frame->body_bytes);
    in->at += frame->body_bytes;
    in->index++;
    if (more)
        return TD_OK;
    agent_inbound whole = *in;
    *in = (agent_inbound){0};
    tdi_extension ext;
    if (tdi_extension_parse(whole.ext, 8u * whole.first.ext_units, &ext) != TD_OK) {
        free(whole.body);
        return tdi_fail(&agent->error, TD_CORRUPT, "malformed extension");
    }
    return start(agent, &whole.first, &ext, (td_view){whole.body, whole.bytes}, whole.body,
                 (tdi_blob_view){0});
}

static td_status start_with_blob(td_agent *agent, const tdi_frame *frame, const tdi_extension *ext)
{
    tdi_blob_view view = {0};
    bool sound = false;
    const td_status status = agent_blob_take(agent, frame, ext, &view, &sound);
    if (status != TD_OK)
        return status;
    if (sound)
        return start(agent, frame, ext, (td_view){view.data, view.bytes}, NULL, view);
    tdi_blob_close(&view); /* its caller's doing: this call alone is refused */
    agent_parcel parcel = {.frame = {.kind = TDI_KIND_COMPLETION,
                                     .call_id = frame->call_id,
                                     .attempt = frame->attempt,
                                     .aux = TD_CORRUPT}};
    return send_parcel(agent, &parcel);
}

/* One frame. TD_ERR_AGAIN: none. */
static td_status take_one(td_agent *agent)
{
    tdi_frame frame;
    tdi_extension ext;
    uint8_t ext_bytes[TDI_EXT_BYTES_MAX];
    td_status status = tdi_ring_peek(&agent->rx, &frame);
    if (status == TD_ERR_AGAIN)
        return status;
    if (status == TD_OK)
        status = tdi_ring_take(&agent->rx, &frame, ext_bytes, agent->scratch);
    if (status == TD_OK)
        status = tdi_extension_parse(ext_bytes, 8u * frame.ext_units, &ext);
    if (status != TD_OK)
        return tdi_fail(&agent->error, TD_CORRUPT, "a frame of the bridge makes no sense");
    /* Before it starts: who outlives us must be able to tell popped from not. */
    tdi_ring_release(&agent->rx);
    tdi_bell_ring(&agent->space_rope, agent->bell_out_fd);
    if (frame.kind == TDI_KIND_CONT)
        return go_on_long(agent, &frame);
    if (frame.kind != TDI_KIND_CALL || agent->inbound.body != NULL)
        return tdi_fail(&agent->error, TD_CORRUPT, "a frame of a kind that has no place here");
    if (frame.flags & TDI_FLAG_MORE)
        return begin_long(agent, &frame, &ext, ext_bytes);
    if (frame.flags & TDI_FLAG_BLOB)
        return start_with_blob(agent, &frame, &ext);
    return start(agent, &frame, &ext, (td_view){agent->scratch, frame.body_bytes}, NULL,
                 (tdi_blob_view){0});
}

static void sleep_once(td_agent *agent)
{
    tdi_bell_arm(&agent->sleep);
    if (tdi_ring_waiting(&agent->rx)) {
        tdi_bell_disarm(&agent->sleep);
        return;
    }
    struct pollfd wanted[4] = {
        {.fd = agent->bell_in_fd, .events = POLLIN},
        {.fd = agent->socket_fd, .events = POLLIN},
        {.fd = agent->stop_read_fd, .events = POLLIN},
        {.fd = agent->pool != NULL ? tdi_pool_fd(agent->pool) : -1, .events = POLLIN},
    };
    poll(wanted, 4, 1000);
    if (wanted[0].revents != 0)
        tdi_bell_drain(agent->bell_in_fd);
    tdi_bell_disarm(&agent->sleep);
}

/* Serve one session to its end. TD_OK: stopped. */
static td_status serve_session(td_agent *agent)
{
    tdi_spin spin = {0};
    for (;;) {
        td_status status = pump(agent);
        if (status == TD_OK)
            status = finish_jobs(agent);
        if (status == TD_OK && atomic_load_explicit(&agent->stopping, memory_order_acquire)) {
            if (agent->in_pool == 0 && agent->waiting_first == NULL) {
                show(agent);
                return TD_OK;
            }
            sleep_once(agent);
            if (agent_bridge_gone(agent))
                return TD_ERR_CLOSED;
            continue;
        }
        agent->ended_ns = 0;
        uint32_t taken = 0;
        while (status == TD_OK && taken < FRAMES_A_ROUND &&
               !atomic_load_explicit(&agent->stopping, memory_order_relaxed)) {
            status = take_one(agent);
            taken += status == TD_OK;
        }
        if (status == TD_OK || (status == TD_ERR_AGAIN && taken > 0)) {
            tdi_spin_end(&spin);
            if (status == TD_ERR_AGAIN)
                show(agent); /* nothing more to wait for: let the callers have them */
            continue;
        }
        if (status != TD_ERR_AGAIN)
            return status;
        show(agent);
        if (tdi_spin_once(&spin, tdi_now_ns(), agent->options.spin_ns))
            continue;
        sleep_once(agent);
        if (agent_bridge_gone(agent) && !tdi_ring_waiting(&agent->rx))
            return TD_ERR_CLOSED;
    }
}

static td_status check_options(const td_agent_options *options, tdi_error *error)
{
    if (options->size < sizeof *options || options->actions == NULL ||
        options->actions_total == 0 || options->actions_total > TDI_AGENT_ACTIONS_MAX ||
        options->workers > TDI_POOL_THREADS_MAX)
        return tdi_fail(error, TD_ERR_ARGUMENT,
                        "options: size=%u (at least %zu), actions=%zu (1 to %d), workers=%u (at "
                        "most %d)",
                        options->size, sizeof *options, options->actions_total,
                        TDI_AGENT_ACTIONS_MAX, options->workers, TDI_POOL_THREADS_MAX);
    for (size_t i = 1; i < options->actions_total; i++)
        if (strcmp(options->actions[i].agent, options->actions[0].agent) != 0)
            return tdi_fail(error, TD_ERR_ARGUMENT,
                            "actions of two agents, %s and %s: a connection is one agent",
                            options->actions[0].agent, options->actions[i].agent);
    return TD_OK;
}

td_status td_agent_connect(const td_agent_options *options, td_agent **out)
{
    td_status status = check_options(options, &last_failure);
    if (status != TD_OK)
        return status;
    td_agent *agent = calloc(1, sizeof *agent);
    if (agent == NULL)
        return tdi_fail(&last_failure, TD_ERR_MEMORY, "no memory for an agent");
    agent->options = *options;
    agent->socket_fd = agent->bell_in_fd = agent->bell_out_fd = -1;
    agent->stop_read_fd = agent->stop_write_fd = -1;
    td_heap_writer_init(&agent->run.output, 0);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        status = tdi_fail(&agent->error, TD_ERR_SYSTEM, "pipe: %s", strerror(errno));
    } else {
        agent->stop_read_fd = ends[0];
        agent->stop_write_fd = ends[1];
    }
    if (status == TD_OK && options->workers > 0)
        status = tdi_pool_create(options->workers, 4096, &agent->pool, &agent->error);
    if (status == TD_OK)
        status = agent_open(agent);
    if (status == TD_OK && options->host)
        status = agent_host_prepare(agent);
    if (status != TD_OK) {
        last_failure = agent->error;
        td_agent_close(agent);
        return status;
    }
    *out = agent;
    return TD_OK;
}

/* Wait for the next try, or for the stop. */
static void wait_ms(td_agent *agent, unsigned ms)
{
    struct pollfd wanted = {.fd = agent->stop_read_fd, .events = POLLIN};
    poll(&wanted, 1, (int)ms);
}

td_status td_agent_serve(td_agent *agent)
{
    tdi_cpus_init(&agent->cpus);
    for (;;) {
        td_status status = serve_session(agent);
        if (status == TD_OK || !agent->options.reconnect)
            return status;
        /* What runs in threads reads the session's words, so it ends first. */
        atomic_store_explicit(&agent->bridge_gone, true, memory_order_relaxed);
        while (agent->in_pool > 0) {
            wait_ms(agent, 1);
            if (finish_jobs(agent) != TD_OK)
                continue; /* nobody is there to be told */
        }
        agent_shut(agent);
        unsigned back_off_ms = BACK_OFF_FIRST;
        do {
            wait_ms(agent, back_off_ms);
            if (atomic_load_explicit(&agent->stopping, memory_order_acquire))
                return TD_OK;
            status = agent_open(agent);
            back_off_ms = back_off_ms * 2 < BACK_OFF_MAX_MS ? back_off_ms * 2 : BACK_OFF_MAX_MS;
        } while (status == TD_ERR_CLOSED || status == TD_BUSY || status == TD_TIMED_OUT);
        if (status != TD_OK)
            return status;
    }
}

void td_agent_stop(td_agent *agent)
{
    atomic_store_explicit(&agent->stopping, true, memory_order_release);
    const int saved = errno;
    if (write(agent->stop_write_fd, "", 1) < 0)
        errno = saved; /* full: it is awake already */
}

void td_agent_close(td_agent *agent)
{
    if (agent == NULL)
        return;
    if (agent->pool != NULL) {
        const uint64_t until_ns = tdi_now_ns() + WORKERS_END_NS;
        atomic_store_explicit(&agent->bridge_gone, true, memory_order_relaxed);
        while (agent->in_pool > 0 && tdi_now_ns() < until_ns) {
            wait_ms(agent, 1);
            if (finish_jobs(agent) != TD_OK)
                continue; /* nobody is there to be told */
        }
        if (tdi_pool_destroy(agent->pool, until_ns) != TD_OK)
            return; /* an action does not return, and still uses all this: the process must end */
    }
    agent_shut(agent);
    tdi_close_all(&agent->stop_read_fd, 1);
    tdi_close_all(&agent->stop_write_fd, 1);
    td_heap_writer_fini(&agent->run.output);
    free(agent);
}

const char *td_agent_error(const td_agent *agent)
{
    return agent != NULL ? agent->error.text : last_failure.text;
}

static td_agent *_Atomic to_stop; /* of the process, as signals are */
static _Atomic bool stop_wanted;

static void on_signal(int number)
{
    (void)number;
    atomic_store_explicit(&stop_wanted, true, memory_order_seq_cst);
    /* seq_cst, all four: the signal may come to another thread than the one in td_agent_main(), and
     * one of the two must see what the other has stored. */
    td_agent *agent = atomic_load_explicit(&to_stop, memory_order_seq_cst);
    if (agent != NULL)
        td_agent_stop(agent);
}

int td_agent_main(const td_agent_options *options)
{
    td_agent *agent;
    /* Before anybody can see the agent, so that whoever sees it can stop it. */
    const struct sigaction stop = {.sa_handler = on_signal};
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    signal(SIGPIPE, SIG_IGN);
    td_status status = td_agent_connect(options, &agent);
    /* Started beside the bridge, it may be there first. */
    for (int tries = 0; options->reconnect && status == TD_ERR_CLOSED && tries < FIRST_TRIES &&
                        !atomic_load_explicit(&stop_wanted, memory_order_relaxed);
         tries++) {
        usleep(BACK_OFF_FIRST * 1000);
        status = td_agent_connect(options, &agent);
    }
    if (status != TD_OK) {
        fprintf(stderr, "agent: %s\n", td_agent_error(NULL));
        return 1;
    }
    atomic_store_explicit(&to_stop, agent, memory_order_seq_cst);
    if (atomic_load_explicit(&stop_wanted, memory_order_seq_cst))
        td_agent_stop(agent);
    status = td_agent_serve(agent);
    if (status != TD_OK)
        fprintf(stderr, "agent %s: %s\n", options->actions[0].agent, td_agent_error(agent));
    atomic_store_explicit(&to_stop, NULL, memory_order_release);
    td_agent_close(agent);
    return status == TD_OK ? 0 : 1;
}

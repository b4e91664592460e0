/* call_stub.h - a td_call without a bridge, for the test and the fuzz target of src/foreign.
 *
 * Threads: one.  Memory: stub_fini gives back the output.  Errors: kept in the stub.
 */
#ifndef TDI_CALL_STUB_H
#define TDI_CALL_STUB_H

#include <stdio.h>
#include <string.h>

#include "tandem/agent.h"

typedef struct stub {
    td_call call; /* first */
    td_view payload;
    td_heap_writer output;
    char type[64], message[600];
} stub;

static stub *stub_of(td_call *call)
{
    return (stub *)call;
}

static td_view stub_payload(td_call *call)
{
    return stub_of(call)->payload;
}

static td_writer *stub_output(td_call *call)
{
    return &stub_of(call)->output.writer;
}

static td_status stub_fail(td_call *call, const char *type, const char *message)
{
    snprintf(stub_of(call)->type, sizeof stub_of(call)->type, "%s", type);
    snprintf(stub_of(call)->message, sizeof stub_of(call)->message, "%s", message);
    return TD_FAILED;
}

static void stub_init(stub *made, const void *payload, size_t bytes)
{
    static const td_call_ops ops = {
        .size = sizeof ops, .payload = stub_payload, .output = stub_output, .fail = stub_fail};
    memset(made, 0, sizeof *made);
    made->call.ops = &ops;
    made->payload = (td_view){payload, bytes};
    td_heap_writer_init(&made->output, (size_t)128 << 20);
}

static void stub_fini(stub *made)
{
    td_heap_writer_fini(&made->output);
}

#endif /* TDI_CALL_STUB_H */

/* ext_log.c - the type `Client`: lines that agents logged for its calls. */
#include "ext_client.h"

typedef struct log_context {
    PyObject *list;
    bool failed; /* an exception is set */
} log_context;

static void keep_line(void *context, const tdi_client_log *line)
{
    log_context *rows = context;
    if (rows->failed)
        return;
    PyObject *item = Py_BuildValue(
        "(KIIIiIy#)", (unsigned long long)line->call_id, (unsigned int)line->action_id,
        (unsigned int)line->part, (unsigned int)line->level, (int)line->attempt,
        (unsigned int)line->dropped, line->text, (Py_ssize_t)line->bytes);
    rows->failed = item == NULL || PyList_Append(rows->list, item) < 0;
    Py_XDECREF(item);
}

PyObject *ext_client_take_logs(ext_client *self, PyObject *unused)
{
    (void)unused;
    if (!ext_client_usable(self))
        return NULL;
    log_context rows = {PyList_New(0), false};
    if (rows.list == NULL)
        return NULL;
    self->entered = true; /* making objects can run any code */
    tdi_client_take_logs(self->client, keep_line, &rows);
    self->entered = false;
    if (rows.failed)
        Py_CLEAR(rows.list);
    return rows.list;
}

PyObject *ext_client_logs_waiting(ext_client *self, void *unused)
{
    (void)unused;
    return ext_client_usable(self) ? PyBool_FromLong(tdi_client_logs_waiting(self->client) > 0)
                                   : NULL;
}

/* A plug-in: the agent `words` with `words.count`, which counts the words of a text. */
#include <tandem/agent.h>
#include <tandem/message.h>

static td_status count(td_call *call)
{
    const td_view payload = td_payload(call);
    td_reader value;
    const char *text;
    size_t bytes;
    if (td_map_find(td_reader_of(payload.data, payload.bytes), "text", &value) != TD_OK ||
        td_read_str(&value, &text, &bytes) != TD_OK)
        return td_fail(call, "ValueError", "text must be a text");
    uint64_t words = 0;
    int inside = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (i % 65536 == 0 && td_cancelled(call))
            return TD_CANCELLED;
        const int blank = text[i] == ' ' || text[i] == '\n' || text[i] == '\t';
        words += !blank && !inside;
        inside = !blank;
    }
    return td_write_uint(td_output(call), words);
}

static const td_action actions[] = {
    {"words", "count", count, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
};
TD_PLUGIN(actions);

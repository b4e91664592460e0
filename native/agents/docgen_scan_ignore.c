#include "docgen_scan_ignore.h"

#include <stdlib.h>
#include <string.h>

#include "docgen_scan_glob.h"

enum rule_kind { RULE_EQUAL, RULE_SUFFIX, RULE_GLOB };

/* One line. It looks at the name (no '/' in the line) or at the path below its file. */
typedef struct rule {
    bool negative, dirs_only, by_name;
    uint8_t kind;
    const uint8_t *literal; /* EQUAL: all of it. SUFFIX: its end. GLOB: what comes before */
    size_t literal_bytes;
    tdi_glob *glob; /* GLOB only */
} rule;

struct tdi_rules {
    tdi_rules *outer;
    size_t base_bytes, chain_bytes;
    uint8_t *data;
    rule *rules;
    size_t count;
};

static bool is_special(uint8_t byte)
{
    return byte == '*' || byte == '?' || byte == '[' || byte == '\\';
}

static size_t literal_bytes(const uint8_t *pattern, size_t bytes)
{
    size_t at = 0;
    while (at < bytes && !is_special(pattern[at]))
        at++;
    return at;
}

/* Drop spaces at the end, but not one that a backslash quotes. */
static size_t trimmed(const uint8_t *line, size_t bytes)
{
    size_t bare = bytes;
    while (bare > 0 && line[bare - 1] == ' ')
        bare--;
    size_t backslashes = 0;
    while (backslashes < bare && line[bare - 1 - backslashes] == '\\')
        backslashes++;
    return backslashes % 2 == 1 && bytes > bare ? bare + 1 : bare;
}

static td_status read_matcher(rule *rule, const uint8_t *pattern, size_t bytes, bool *can_match)
{
    *can_match = bytes > 0;
    if (!rule->by_name && bytes > 0 && pattern[0] == '/') {
        pattern++;
        bytes--;
        *can_match = bytes > 0;
    }
    if (!*can_match)
        return TD_OK;
    const size_t literal = literal_bytes(pattern, bytes);
    rule->literal = pattern;
    if (literal == bytes) {
        rule->kind = RULE_EQUAL;
        rule->literal_bytes = bytes;
        return TD_OK;
    }
    if (rule->by_name && pattern[0] == '*' && literal_bytes(pattern + 1, bytes - 1) == bytes - 1) {
        rule->kind = RULE_SUFFIX;
        rule->literal = pattern + 1;
        rule->literal_bytes = bytes - 1;
        return TD_OK;
    }
    /* For a path git compares the literal start by itself, so a double star just after it counts
     * as standing at the start. For a name the split changes nothing. */
    rule->kind = RULE_GLOB;
    rule->literal_bytes = literal;
    const td_status status =
        tdi_glob_create(pattern + literal, bytes - literal, !rule->by_name, &rule->glob);
    *can_match = rule->glob != NULL;
    return status;
}

static td_status read_line(tdi_rules *rules, const uint8_t *line, size_t bytes)
{
    if (bytes == 0 || line[0] == '#')
        return TD_OK;
    if (line[bytes - 1] == '\r')
        bytes--;
    const uint8_t *nul = memchr(line, 0, bytes); /* git reads lines as C strings */
    if (nul != NULL)
        bytes = (size_t)(nul - line);
    bytes = trimmed(line, bytes);
    rule *const rule = &rules->rules[rules->count];
    memset(rule, 0, sizeof *rule);
    if (bytes > 0 && line[0] == '!') {
        rule->negative = true;
        line++;
        bytes--;
    }
    if (bytes > 0 && line[bytes - 1] == '/') {
        rule->dirs_only = true;
        bytes--;
    }
    rule->by_name = memchr(line, '/', bytes) == NULL;
    bool can_match = false;
    const td_status status = read_matcher(rule, line, bytes, &can_match);
    if (status == TD_OK && can_match)
        rules->count++;
    return status;
}

static td_status read_lines(tdi_rules *rules, const uint8_t *data, size_t bytes)
{
    const uint8_t *const end = data + bytes;
    if (bytes >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0)
        data += 3;
    while (data < end) {
        const uint8_t *line_end = memchr(data, '\n', (size_t)(end - data));
        if (line_end == NULL)
            line_end = end;
        const td_status status = read_line(rules, data, (size_t)(line_end - data));
        if (status != TD_OK)
            return status;
        data = line_end + (line_end < end);
    }
    return TD_OK;
}

td_status tdi_rules_create(const uint8_t *data, size_t bytes, size_t base_bytes, tdi_rules *outer,
                           tdi_rules **out)
{
    size_t lines = 1;
    for (size_t i = 0; i < bytes; i++)
        lines += data[i] == '\n';
    tdi_rules *rules = calloc(1, sizeof *rules);
    if (rules == NULL)
        return TD_ERR_MEMORY;
    rules->outer = outer;
    rules->base_bytes = base_bytes;
    rules->chain_bytes = tdi_rules_bytes(outer) + bytes;
    rules->data = malloc(bytes + 1);
    rules->rules = malloc(lines * sizeof *rules->rules);
    td_status status = TD_ERR_MEMORY;
    if (rules->data != NULL && rules->rules != NULL) {
        memcpy(rules->data, data, bytes);
        status = read_lines(rules, rules->data, bytes);
    }
    if (status != TD_OK || rules->count == 0) {
        tdi_rules_destroy(rules);
        rules = NULL;
    }
    if (status == TD_OK)
        *out = rules;
    return status;
}

size_t tdi_rules_bytes(const tdi_rules *rules)
{
    return rules == NULL ? 0 : rules->chain_bytes;
}

static bool rule_matches(const rule *rule, const uint8_t *text, size_t bytes)
{
    const size_t literal = rule->literal_bytes;
    switch (rule->kind) {
    case RULE_EQUAL:
        return bytes == literal && memcmp(text, rule->literal, bytes) == 0;
    case RULE_SUFFIX:
        return bytes >= literal && memcmp(text + bytes - literal, rule->literal, literal) == 0;
    default:
        return bytes >= literal && memcmp(text, rule->literal, literal) == 0 &&
               tdi_glob_matches(rule->glob, text + literal, bytes - literal);
    }
}

bool tdi_rules_ignore(tdi_rules *rules, const uint8_t *path, size_t path_bytes, size_t name_bytes,
                      bool is_dir)
{
    const uint8_t *const name = path + path_bytes - name_bytes;
    for (; rules != NULL; rules = rules->outer) {
        const uint8_t *const below = path + rules->base_bytes;
        for (size_t i = rules->count; i-- > 0;) { /* the last match decides */
            const rule *const rule = &rules->rules[i];
            if (rule->dirs_only && !is_dir)
                continue;
            if (rule->by_name ? rule_matches(rule, name, name_bytes)
                              : rule_matches(rule, below, path_bytes - rules->base_bytes))
                return !rule->negative;
        }
    }
    return false;
}

void tdi_rules_destroy(tdi_rules *rules)
{
    if (rules == NULL)
        return;
    for (size_t i = 0; i < rules->count; i++)
        tdi_glob_destroy(rules->rules[i].glob);
    free(rules->rules);
    free(rules->data);
    free(rules);
}

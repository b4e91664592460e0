#include "docgen_scan_class.h"

#include <string.h>

static bool is_digit(unsigned c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower(unsigned c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_upper(unsigned c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_alpha(unsigned c)
{
    return is_lower(c) || is_upper(c);
}

static bool is_alnum(unsigned c)
{
    return is_alpha(c) || is_digit(c);
}

static bool is_blank(unsigned c)
{
    return c == ' ' || c == '\t';
}

static bool is_cntrl(unsigned c)
{
    return c < 0x20 || c == 0x7F;
}

static bool is_graph(unsigned c)
{
    return c >= 0x21 && c <= 0x7E;
}

static bool is_print(unsigned c)
{
    return c >= 0x20 && c <= 0x7E;
}

static bool is_punct(unsigned c)
{
    return is_graph(c) && !is_alnum(c);
}

/* Git's own four; \v and \f are not among them. */
static bool is_space(unsigned c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_xdigit(unsigned c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static const struct {
    const char *name;
    bool (*holds)(unsigned);
} named_classes[] = {
    {"alnum", is_alnum}, {"alpha", is_alpha}, {"blank", is_blank}, {"cntrl", is_cntrl},
    {"digit", is_digit}, {"graph", is_graph}, {"lower", is_lower}, {"print", is_print},
    {"punct", is_punct}, {"space", is_space}, {"upper", is_upper}, {"xdigit", is_xdigit},
};

static bool add_named(tdi_byte_set *set, const uint8_t *name, size_t bytes)
{
    for (size_t i = 0; i < sizeof named_classes / sizeof named_classes[0]; i++) {
        if (strlen(named_classes[i].name) != bytes || memcmp(named_classes[i].name, name, bytes))
            continue;
        for (unsigned c = 0; c < 128; c++)
            if (named_classes[i].holds(c))
                tdi_byte_set_add(set, (uint8_t)c);
        return true;
    }
    return false;
}

/* 0 past the end: patterns hold no NUL. */
static uint8_t peek(const uint8_t *pattern, size_t bytes, size_t at)
{
    return at < bytes ? pattern[at] : 0;
}

bool tdi_class_read(const uint8_t *pattern, size_t bytes, size_t *start, tdi_byte_set *set)
{
    size_t at = *start;
    memset(set, 0, sizeof *set);
    uint8_t byte = peek(pattern, bytes, at);
    const bool negated = byte == '!' || byte == '^';
    if (negated)
        byte = peek(pattern, bytes, ++at);
    /* The first member may be ']'. A range needs a start that is not itself the end of a range
     * or a named class: `previous` is then 0. */
    uint8_t previous = 0;
    do {
        if (byte == 0)
            return false;
        if (byte == '\\') {
            byte = peek(pattern, bytes, ++at);
            if (byte == 0)
                return false;
            tdi_byte_set_add(set, byte);
        } else if (byte == '-' && previous != 0 && peek(pattern, bytes, at + 1) != 0 &&
                   peek(pattern, bytes, at + 1) != ']') {
            uint8_t last = peek(pattern, bytes, ++at);
            if (last == '\\')
                last = peek(pattern, bytes, ++at);
            if (last == 0)
                return false;
            for (unsigned c = previous; c <= last; c++)
                tdi_byte_set_add(set, (uint8_t)c);
            byte = 0;
        } else if (byte == '[' && peek(pattern, bytes, at + 1) == ':') {
            const size_t name = at + 2;
            const uint8_t *close = name < bytes ? memchr(pattern + name, ']', bytes - name) : NULL;
            if (close == NULL)
                return false;
            const size_t end = (size_t)(close - pattern);
            if (end == name || pattern[end - 1] != ':') {
                tdi_byte_set_add(set, '['); /* no ":]": an ordinary member */
            } else {
                if (!add_named(set, pattern + name, end - 1 - name))
                    return false;
                at = end;
                byte = 0;
            }
        } else {
            tdi_byte_set_add(set, byte);
        }
        previous = byte;
        byte = peek(pattern, bytes, ++at);
    } while (byte != ']');
    if (negated)
        for (size_t i = 0; i < 4; i++)
            set->words[i] = ~set->words[i];
    *start = at + 1;
    return true;
}

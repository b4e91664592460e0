/* say.c - why a peer was refused or cut off, in one line on standard error. */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "bridge/bridge.h"

#define LINES_A_WINDOW 32
#define WINDOW_NS      TDI_NS_PER_S

void tdi_mask(char *text)
{
    const bool sound = td_utf8_valid((const uint8_t *)text, strlen(text));
    for (char *at = text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7F || (!sound && (unsigned char)*at >= 0x80))
            *at = '?';
}

/* Standard error belongs to whoever started us and may be a pipe that nobody reads. A line is at
 * most PIPE_BUF bytes, so a pipe that is writable takes it whole. */
static void write_line(char *line, int bytes, size_t bytes_max)
{
    if (bytes < 0)
        return;
    if ((size_t)bytes > bytes_max - 2)
        bytes = (int)bytes_max - 2;
    line[bytes] = '\0';
    tdi_mask(line);
    line[bytes++] = '\n';
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) &&
        write(STDERR_FILENO, line, (size_t)bytes) < 0)
        return; /* nobody reads; a log line is never worth a stop */
}

void tdi_say(tdi_bridge *bridge, const char *format, ...)
{
    char line[1024];
    const uint64_t now_ns = tdi_now_ns();
    if (now_ns - bridge->said_window_ns >= WINDOW_NS) {
        bridge->said_window_ns = now_ns;
        bridge->said = 0;
        if (bridge->unsaid > 0)
            write_line(line,
                       snprintf(line, sizeof line, "agent_bridge: %llu lines were left out",
                                (unsigned long long)bridge->unsaid),
                       sizeof line);
        bridge->unsaid = 0;
    }
    if (bridge->said == LINES_A_WINDOW) {
        bridge->unsaid++;
        return;
    }
    bridge->said++;
    int bytes = snprintf(line, sizeof line, "agent_bridge: ");
    va_list arguments;
    va_start(arguments, format);
    bytes += vsnprintf(line + bytes, sizeof line - (size_t)bytes, format, arguments);
    va_end(arguments);
    write_line(line, bytes, sizeof line);
}

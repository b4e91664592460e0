/* library.c - load a sealed copy, find its functions, and make each of them an action. */
#include "host/library.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agentlib/running.h"
#include "foreign/foreign.h"

static td_action actions[TDI_BINDINGS_MAX];
static tdi_foreign *functions[TDI_BINDINGS_MAX]; /* NULL: called as it is */

static td_status call_plain(td_call *call)
{
    return tdi_foreign_call(functions[tdi_running_action(call) - actions], call);
}

/* Nobody may change what is about to be loaded. */
static int is_sealed(int fd)
{
    const int wanted = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    const int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & wanted) == wanted;
}

/* ISO C knows no way from an object pointer to a function; POSIX promises this one. */
static void (*function_of(void *symbol))(void)
{
    void (*function)(void);
    _Static_assert(sizeof function == sizeof symbol, "dlsym gives functions as void *");
    memcpy(&function, &symbol, sizeof function);
    return function;
}

static int bind_one(void *library, const char *named, const tdi_binding *binding, size_t i)
{
    void (*function)(void) = function_of(dlsym(library, binding->symbol));
    tdi_error error = {""};
    if (function == NULL) {
        fprintf(stderr, "host: '%s' exports no function '%s'\n", named, binding->symbol);
        return 0;
    }
    if (binding->signature == NULL) {
        actions[i].run = (td_action_fn)function;
    } else if (tdi_foreign_bind(binding->signature, function, &functions[i], &error) == TD_OK) {
        actions[i].run = call_plain;
    } else {
        fprintf(stderr, "host: '%s': %s %s: %s\n", named, binding->symbol, binding->signature,
                error.text);
        return 0;
    }
    return 1;
}

const td_action *tdi_library_actions(int fd, const char *named, const char *agent,
                                     const tdi_binding *bindings, size_t total)
{
    char path[64];
    if (!is_sealed(fd)) {
        fprintf(stderr, "host: '%s': descriptor %d is no sealed copy\n", named, fd);
        return NULL;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "host: '%s' does not load: %s\n", named, dlerror());
        return NULL;
    }
    for (size_t i = 0; i < total; i++) {
        actions[i] = (td_action){.agent = agent,
                                 .name = bindings[i].action,
                                 .effects = bindings[i].effects,
                                 .runs = TD_RUNS_BLOCKING,
                                 .version = bindings[i].version};
        if (!bind_one(library, named, &bindings[i], i))
            return NULL;
    }
    fprintf(stderr, "host: '%s' loaded, %zu functions\n", named, total);
    return actions;
}

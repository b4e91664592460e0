/* ext_fork.c - a forked child must not use, nor keep alive, its parent's sessions.
 *
 * The rings are MADV_DONTFORK, so a child that touched them would crash; and a child that kept
 * the socket open would hide the parent's death from the bridge. The child hook therefore closes
 * both descriptors and marks the client. The C structure itself is left alone in the child: its
 * mappings are gone and closing it in full could send on the parent's behalf.
 *
 * The list is C state of the process, not of an interpreter: fork() knows no interpreters.
 */
#include "ext.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;
static ext_fork_watch *watch_first;
static pthread_once_t hooks_once = PTHREAD_ONCE_INIT;
static int hooks_error;

/* The lock is held across fork(), so that the child sees a whole list and an owned lock. */
static void before_fork(void)
{
    pthread_mutex_lock(&watch_lock);
}
static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&watch_lock);
}

static void after_fork_in_child(void)
{
    ext_fork_watch *next;
    for (ext_fork_watch *watch = watch_first; watch != NULL; watch = next) {
        next = watch->next;
        for (size_t i = 0; i < 2; i++)
            if (watch->fds[i] >= 0)
                close(watch->fds[i]);
        watch->forked = true;
        watch->next = watch->previous = NULL;
    }
    watch_first = NULL;
    pthread_mutex_unlock(&watch_lock);
}

static void install_hooks(void)
{
    hooks_error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

int ext_fork_init(void)
{
    pthread_once(&hooks_once, install_hooks);
    if (hooks_error == 0)
        return 0;
    errno = hooks_error;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

void ext_fork_add(ext_fork_watch *watch, int fd, int socket_fd)
{
    *watch = (ext_fork_watch){.fds = {fd, socket_fd}};
    pthread_mutex_lock(&watch_lock);
    watch->next = watch_first;
    if (watch_first != NULL)
        watch_first->previous = watch;
    watch_first = watch;
    pthread_mutex_unlock(&watch_lock);
}

void ext_fork_remove(ext_fork_watch *watch)
{
    pthread_mutex_lock(&watch_lock);
    if (watch->previous != NULL)
        watch->previous->next = watch->next;
    else if (watch_first == watch)
        watch_first = watch->next;
    if (watch->next != NULL)
        watch->next->previous = watch->previous;
    watch->next = watch->previous = NULL;
    pthread_mutex_unlock(&watch_lock);
}

/* failing_calls.c - LD_PRELOAD: lets the n-th call of one class fail in the process under test.
 *
 * A file named by $TD_FAILING_CALLS, mapped by this process and by whoever runs the test, says what
 * fails and counts what was called; tests/faults/failing_calls/control.py is its other side. The
 * first process that maps the file is the one under test; its children pass through. Nothing fails,
 * and nothing is counted, before `armed`. With a scope only calls made by code of the modules named
 * there count, told by the return address: an allocation that libc makes for them does not.
 *
 * Threads: all of them. Memory: none of its own. Errors: without a usable file it passes through.
 */
#undef _FILE_OFFSET_BITS /* open and open64 are two names here */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The order is the file's: control.py names the same ones. */
typedef enum class {
    CLASS_WRITE,
    CLASS_READ,
    CLASS_FSYNC,
    CLASS_OPEN,
    CLASS_MMAP,
    CLASS_FORK,
    CLASS_MALLOC,
    CLASS_FTRUNCATE,
    CLASS_MEMFD,
    CLASS_SOCKET,
    CLASS_SEND,
    CLASS_RECEIVE,
    CLASS_PIPE,
    CLASS_EPOLL,
    CLASS_THREAD,
    CLASS_LOCK,
    CLASS_RENAME,
    CLASSES = 32
} class;

typedef struct control {
    _Atomic uint64_t pid, armed, class, first, times, errno_given;
    _Atomic uint64_t failed; /* calls that were made to fail */
    _Atomic uint64_t caller; /* of the last one: its offset in the module below */
    _Atomic uint64_t counts[CLASSES];
    char module[128];
    char scope[256]; /* parts of module paths with ':' between them, or "" for all */
} control;

typedef struct span {
    uintptr_t from, to;
} span;

enum { SPANS_MAX = 64 };

static control *shared;
static span spans[SPANS_MAX];
static unsigned spans_total;
static atomic_int spans_state; /* 0 not looked, 1 somebody looks, 2 there */

static int note_module(struct dl_phdr_info *info, size_t bytes, void *unused)
{
    (void)bytes, (void)unused;
    char names[sizeof shared->scope];
    memcpy(names, shared->scope, sizeof names);
    names[sizeof names - 1] = '\0';
    int wanted = 0;
    for (char *rest = names, *name; (name = strsep(&rest, ":")) != NULL;)
        /* The program itself has no name here. */
        wanted |= strcmp(name, "main") == 0 ? info->dlpi_name[0] == '\0'
                                            : strstr(info->dlpi_name, name) != NULL;
    for (int i = 0; wanted && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X) && spans_total < SPANS_MAX) {
            const uintptr_t from = info->dlpi_addr + part->p_vaddr;
            spans[spans_total++] = (span){from, from + part->p_memsz};
        }
    }
    return 0;
}

static int in_scope(uintptr_t address)
{
    if (shared->scope[0] == '\0')
        return 1;
    int none = 0;
    if (atomic_load(&spans_state) != 2) {
        if (atomic_compare_exchange_strong(&spans_state, &none, 1)) {
            dl_iterate_phdr(note_module, NULL);
            atomic_store(&spans_state, 2);
        } else if (none == 1) {
            return 0; /* this call comes while another thread looks */
        }
    }
    for (unsigned i = 0; i < spans_total; i++)
        if (address >= spans[i].from && address < spans[i].to)
            return 1;
    return 0;
}

static void note_caller(uintptr_t address)
{
    Dl_info info;
    if (dladdr((void *)address, &info) == 0 || info.dli_fname == NULL)
        return;
    atomic_store(&shared->caller, address - (uintptr_t)info.dli_fbase);
    const size_t bytes = strlen(info.dli_fname), most = sizeof shared->module - 1;
    strcpy(shared->module, info.dli_fname + (bytes > most ? bytes - most : 0));
}

/* 0: make the call. Otherwise it fails with `errno`, which is set; -1 is "do half of it". */
static int fails(class which, void *caller)
{
    if (shared == NULL || atomic_load_explicit(&shared->armed, memory_order_acquire) == 0 ||
        !in_scope((uintptr_t)caller))
        return 0;
    const uint64_t n = atomic_fetch_add(&shared->counts[which], 1) + 1;
    const uint64_t first = atomic_load(&shared->first);
    if (atomic_load(&shared->class) != which || n < first ||
        n - first >= atomic_load(&shared->times))
        return 0;
    atomic_fetch_add(&shared->failed, 1);
    note_caller((uintptr_t)caller);
    const int given = (int)atomic_load(&shared->errno_given);
    if (given == 0)
        return -1;
    errno = given;
    return given;
}

static void leave_child_alone(void)
{
    shared = NULL;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("TD_FAILING_CALLS");
    if (path == NULL)
        return;
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    void *at =
        (void *)syscall(SYS_mmap, NULL, sizeof(control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED)
        return;
    control *mapped = at;
    uint64_t nobody = 0;
    if (atomic_compare_exchange_strong(&mapped->pid, &nobody, (uint64_t)getpid())) {
        pthread_atfork(NULL, NULL, leave_child_alone);
        shared = mapped;
    } else {
        munmap(at, sizeof(control));
    }
}

/* --- the calls themselves ------------------------------------------------------------------- */

#define CALLER __builtin_return_address(0)

/* The next definition of NAME, looked up once. */
#define NEXT(name)                         \
    static __typeof__(name) *_Atomic next; \
    if (next == NULL)                      \
    next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* A call that fails by returning BAD with errno set. */
#define WRAP(type, name, parameters, arguments, which, bad) \
    type name parameters                                    \
    {                                                       \
        NEXT(name);                                         \
        return fails(which, CALLER) ? bad : next arguments; \
    }
/* One that may also do half of it. */
#define WRAP_PART(type, name, parameters, arguments, half)                                \
    type name parameters                                                                  \
    {                                                                                     \
        NEXT(name);                                                                       \
        const int failure = fails(CLASS_WRITE, CALLER);                                   \
        return failure == 0 ? next arguments : failure < 0 && bytes > 1 ? next half : -1; \
    }

WRAP_PART(ssize_t, write, (int fd, const void *data, size_t bytes), (fd, data, bytes),
          (fd, data, bytes / 2))
WRAP_PART(ssize_t, pwrite, (int fd, const void *data, size_t bytes, off_t at),
          (fd, data, bytes, at), (fd, data, bytes / 2, at))
WRAP_PART(ssize_t, pwrite64, (int fd, const void *data, size_t bytes, off64_t at),
          (fd, data, bytes, at), (fd, data, bytes / 2, at))
WRAP(ssize_t, writev, (int fd, const struct iovec *parts, int total), (fd, parts, total),
     CLASS_WRITE, -1)
WRAP(ssize_t, read, (int fd, void *data, size_t bytes), (fd, data, bytes), CLASS_READ, -1)
WRAP(ssize_t, pread, (int fd, void *data, size_t bytes, off_t at), (fd, data, bytes, at),
     CLASS_READ, -1)
WRAP(ssize_t, pread64, (int fd, void *data, size_t bytes, off64_t at), (fd, data, bytes, at),
     CLASS_READ, -1)
WRAP(int, fsync, (int fd), (fd), CLASS_FSYNC, -1)
WRAP(int, fdatasync, (int fd), (fd), CLASS_FSYNC, -1)

#define WRAP_OPEN(name)                                                                 \
    int name(const char *path, int flags, ...)                                          \
    {                                                                                   \
        NEXT(name);                                                                     \
        va_list rest;                                                                   \
        va_start(rest, flags);                                                          \
        const mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                                   \
        return fails(CLASS_OPEN, CALLER) ? -1 : next(path, flags, mode);                \
    }
#define WRAP_OPENAT(name)                                                               \
    int name(int folder, const char *path, int flags, ...)                              \
    {                                                                                   \
        NEXT(name);                                                                     \
        va_list rest;                                                                   \
        va_start(rest, flags);                                                          \
        const mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                                   \
        return fails(CLASS_OPEN, CALLER) ? -1 : next(folder, path, flags, mode);        \
    }
WRAP_OPEN(open)
WRAP_OPEN(open64)
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
WRAP(int, __open_2, (const char *path, int flags), (path, flags), CLASS_OPEN, -1)
WRAP(int, __open64_2, (const char *path, int flags), (path, flags), CLASS_OPEN, -1)
WRAP(FILE *, fopen, (const char *path, const char *mode), (path, mode), CLASS_OPEN, NULL)
WRAP(FILE *, fopen64, (const char *path, const char *mode), (path, mode), CLASS_OPEN, NULL)
WRAP(DIR *, opendir, (const char *path), (path), CLASS_OPEN, NULL)
WRAP(DIR *, fdopendir, (int fd), (fd), CLASS_OPEN, NULL)

WRAP(void *, mmap, (void *at, size_t bytes, int may, int flags, int fd, off_t from),
     (at, bytes, may, flags, fd, from), CLASS_MMAP, MAP_FAILED)
WRAP(void *, mmap64, (void *at, size_t bytes, int may, int flags, int fd, off64_t from),
     (at, bytes, may, flags, fd, from), CLASS_MMAP, MAP_FAILED)

WRAP(pid_t, fork, (void), (), CLASS_FORK, -1)
/* The child of a vfork would come back into this frame after the parent left it: it gets a fork. */
pid_t vfork(void)
{
    static pid_t (*_Atomic next)(void);
    if (next == NULL)
        next = (pid_t(*)(void))dlsym(RTLD_NEXT, "fork");
    return fails(CLASS_FORK, CALLER) ? -1 : next();
}
#define SPAWN_PARAMETERS                                                       \
    (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions, \
     const posix_spawnattr_t *attributes, char *const *argv, char *const *environment)
WRAP(int, posix_spawn, SPAWN_PARAMETERS, (pid, path, actions, attributes, argv, environment),
     CLASS_FORK, errno)
WRAP(int, posix_spawnp, SPAWN_PARAMETERS, (pid, path, actions, attributes, argv, environment),
     CLASS_FORK, errno)

/* dlsym may allocate, so these ask for glibc's own names. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *at, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);
void *malloc(size_t bytes)
{
    return fails(CLASS_MALLOC, CALLER) ? NULL : __libc_malloc(bytes);
}
void *calloc(size_t count, size_t bytes)
{
    return fails(CLASS_MALLOC, CALLER) ? NULL : __libc_calloc(count, bytes);
}
void *realloc(void *at, size_t bytes)
{
    return fails(CLASS_MALLOC, CALLER) ? NULL : __libc_realloc(at, bytes);
}
void *reallocarray(void *at, size_t count, size_t bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return fails(CLASS_MALLOC, CALLER) ? NULL : __libc_realloc(at, total);
}
void *aligned_alloc(size_t align, size_t bytes)
{
    return fails(CLASS_MALLOC, CALLER) ? NULL : __libc_memalign(align, bytes);
}
int posix_memalign(void **into, size_t align, size_t bytes)
{
    void *made = fails(CLASS_MALLOC, CALLER) ? NULL : __libc_memalign(align, bytes);
    if (made == NULL)
        return ENOMEM;
    *into = made;
    return 0;
}
/* libc's own allocates from inside libc, where no scope would find it. */
char *strdup(const char *text)
{
    const size_t bytes = strlen(text) + 1;
    char *made = fails(CLASS_MALLOC, CALLER) ? NULL : __libc_malloc(bytes);
    return made == NULL ? NULL : memcpy(made, text, bytes);
}

WRAP(int, ftruncate, (int fd, off_t bytes), (fd, bytes), CLASS_FTRUNCATE, -1)
WRAP(int, ftruncate64, (int fd, off64_t bytes), (fd, bytes), CLASS_FTRUNCATE, -1)
WRAP(int, fallocate, (int fd, int mode, off_t at, off_t bytes), (fd, mode, at, bytes),
     CLASS_FTRUNCATE, -1)
WRAP(int, posix_fallocate, (int fd, off_t at, off_t bytes), (fd, at, bytes), CLASS_FTRUNCATE, errno)
WRAP(int, posix_fallocate64, (int fd, off64_t at, off64_t bytes), (fd, at, bytes), CLASS_FTRUNCATE,
     errno)
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), CLASS_MEMFD, -1)

WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol), CLASS_SOCKET, -1)
WRAP(int, socketpair, (int domain, int type, int protocol, int ends[2]),
     (domain, type, protocol, ends), CLASS_SOCKET, -1)
WRAP(int, accept4, (int fd, struct sockaddr *address, socklen_t *bytes, int flags),
     (fd, address, bytes, flags), CLASS_SOCKET, -1)
WRAP(int, accept, (int fd, struct sockaddr *address, socklen_t *bytes), (fd, address, bytes),
     CLASS_SOCKET, -1)
WRAP(int, connect, (int fd, const struct sockaddr *address, socklen_t bytes), (fd, address, bytes),
     CLASS_SOCKET, -1)
WRAP(int, bind, (int fd, const struct sockaddr *address, socklen_t bytes), (fd, address, bytes),
     CLASS_SOCKET, -1)
WRAP(int, listen, (int fd, int backlog), (fd, backlog), CLASS_SOCKET, -1)
WRAP(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *bytes),
     (fd, level, name, value, bytes), CLASS_SOCKET, -1)
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags),
     CLASS_SEND, -1)
WRAP(ssize_t, send, (int fd, const void *data, size_t bytes, int flags), (fd, data, bytes, flags),
     CLASS_SEND, -1)
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags),
     CLASS_RECEIVE, -1)
WRAP(ssize_t, recv, (int fd, void *data, size_t bytes, int flags), (fd, data, bytes, flags),
     CLASS_RECEIVE, -1)

WRAP(int, pipe, (int ends[2]), (ends), CLASS_PIPE, -1)
WRAP(int, pipe2, (int ends[2], int flags), (ends, flags), CLASS_PIPE, -1)
WRAP(int, eventfd, (unsigned count, int flags), (count, flags), CLASS_PIPE, -1)
WRAP(int, signalfd, (int fd, const sigset_t *set, int flags), (fd, set, flags), CLASS_PIPE, -1)
WRAP(int, dup, (int fd), (fd), CLASS_PIPE, -1)
WRAP(int, dup2, (int fd, int to), (fd, to), CLASS_PIPE, -1)
WRAP(int, dup3, (int fd, int to, int flags), (fd, to, flags), CLASS_PIPE, -1)
WRAP(int, epoll_create1, (int flags), (flags), CLASS_EPOLL, -1)
WRAP(int, epoll_ctl, (int at, int what, int fd, struct epoll_event *event), (at, what, fd, event),
     CLASS_EPOLL, -1)
WRAP(int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument),
     (thread, attributes, run, argument), CLASS_THREAD, errno)

/* Locks and seals. What only asks, marks or gives back does not fail on a real system either. */
static int asks_or_gives_back(int what, const void *argument)
{
    switch (what) {
    case F_GETFD:
    case F_SETFD:
    case F_GETFL:
    case F_SETFL:
    case F_GETLK:
        return 1;
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_SETLK:
        return ((const struct flock *)argument)->l_type == F_UNLCK;
    default:
        return 0;
    }
}
#define WRAP_FCNTL(name)                                                        \
    int name(int fd, int what, ...)                                             \
    {                                                                           \
        NEXT(name);                                                             \
        va_list rest;                                                           \
        va_start(rest, what);                                                   \
        void *argument = va_arg(rest, void *);                                  \
        va_end(rest);                                                           \
        return !asks_or_gives_back(what, argument) && fails(CLASS_LOCK, CALLER) \
                   ? -1                                                         \
                   : next(fd, what, argument);                                  \
    }
WRAP_FCNTL(fcntl)
WRAP_FCNTL(fcntl64)
int flock(int fd, int how);
WRAP(int, flock, (int fd, int how), (fd, how), CLASS_LOCK, -1)

WRAP(int, rename, (const char *from, const char *to), (from, to), CLASS_RENAME, -1)
WRAP(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to),
     CLASS_RENAME, -1)
WRAP(int, link, (const char *from, const char *to), (from, to), CLASS_RENAME, -1)
WRAP(int, linkat, (int a, const char *from, int b, const char *to, int flags),
     (a, from, b, to, flags), CLASS_RENAME, -1)
WRAP(int, unlink, (const char *path), (path), CLASS_RENAME, -1)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), CLASS_RENAME, -1)

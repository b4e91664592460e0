/* confine.c - a seccomp filter that refuses a short list and lets the rest pass.
 *
 * A list of what is allowed would be stricter, and would break with each new libc. What matters
 * is on the other list: with no exec, no fork and no network, a mistake in an action stays in
 * this process. clone3 hides its flags behind a pointer, so it answers ENOSYS and libc falls
 * back to clone, whose flags say whether a thread or a process is wanted.
 */
#include "bridge/confine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif

/* The leak checker stops the process through a clone and ptrace. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#if defined(OUR_ARCH) && !defined(SANITIZED)

#define LOAD(field) \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define ALLOW       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define REFUSE(why) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (why))
/* Skip the next instruction unless the loaded number is this one. */
#define IF(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(number), 0, 1)
#define DENY(name) IF(SYS_##name), REFUSE(EPERM)

static struct sock_filter program[] = {
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0),
    REFUSE(EPERM), /* another calling convention: other numbers */
    LOAD(nr),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1), /* x32 */
    REFUSE(EPERM),
#if defined(__x86_64__)
    DENY(fork),
    DENY(vfork),
#endif
    DENY(execve),
    DENY(execveat),
    DENY(ptrace),
    DENY(process_vm_readv),
    DENY(process_vm_writev),
    DENY(bpf),
    DENY(perf_event_open),
    DENY(userfaultfd),
    DENY(init_module),
    DENY(finit_module),
    DENY(mount),
    DENY(umount2),
    DENY(pivot_root),
    DENY(chroot),
    DENY(unshare),
    DENY(setns),
    DENY(keyctl),
    DENY(add_key),
    DENY(request_key),
    IF(SYS_clone3),
    REFUSE(ENOSYS),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4),
    LOAD(args[0]),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1),
    ALLOW,
    REFUSE(EPERM),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 4),
    LOAD(args[0]),
    IF(AF_UNIX),
    ALLOW,
    REFUSE(EPERM),
    ALLOW,
};

td_status tdi_confine(tdi_error *error)
{
    const struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        return tdi_fail(error, TD_ERR_SYSTEM, "seccomp is not to be had here: %s", strerror(errno));
    return TD_OK;
}

#else

td_status tdi_confine(tdi_error *error)
{
    return tdi_fail(error, TD_ERR_SYSTEM, "no seccomp filter in this kind of build");
}

#endif

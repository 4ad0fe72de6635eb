/* What a TVM RPC server cannot do by itself: run a program, and end it. A library that it loads.

   spawn(command, timeout_ms) starts `sh -c command` in a process group of its own, under a
   supervisor; status() is -1 while it runs, then its exit status, 128 + n for signal n, and 256
   where the time was up. The supervisor kills the group at the time limit, and as soon as the
   server's process ends, which it does when the client goes: a pipe that only the server holds
   open tells. Only what is safe between fork and exec is called there: the server has threads. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <tvm/ffi/c_api.h>
#include <unistd.h>

enum { LATE = 99, LATE_STATUS = 256, POLL_MS = 10, FIRST_FD = 3, LAST_FD = 1024 };

static pid_t supervisor = 0;
static int lifeline = -1;

static const char *text(const TVMFFIAny *value) {
    if (value->type_index == kTVMFFIRawStr) return value->v_c_str;
    if (value->type_index == kTVMFFISmallStr) return value->v_bytes;
    if (value->type_index != kTVMFFIStr) return NULL;
    const char *object = (const char *)value->v_obj;
    return ((const TVMFFIByteArray *)(object + sizeof(TVMFFIObject)))->data;
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void supervise(const char *command, int64_t timeout_ms, int line) {
    /* The server's connections must not stay open here when it closes them. */
    for (int fd = FIRST_FD; fd < LAST_FD; ++fd)
        if (fd != line) close(fd);
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    if (child < 0) _exit(126);
    setpgid(child, child);
    int64_t end = now_ms() + timeout_ms;
    for (;;) {
        int status;
        if (waitpid(child, &status, WNOHANG) == child) {
            if (WIFSIGNALED(status)) _exit(128 + WTERMSIG(status));
            _exit(WEXITSTATUS(status) == LATE ? 1 : WEXITSTATUS(status));
        }
        struct pollfd watched = {.fd = line, .events = POLLIN};
        int gone = poll(&watched, 1, POLL_MS) > 0;
        if (gone || now_ms() > end) {
            kill(-child, SIGKILL);
            waitpid(child, &status, 0);
            _exit(LATE);
        }
    }
}

static void answer(TVMFFIAny *result, int64_t value) {
    memset(result, 0, sizeof *result);
    result->type_index = kTVMFFIInt;
    result->v_int64 = value;
}

__attribute__((visibility("default"))) int __tvm_ffi_spawn(void *self, const TVMFFIAny *arguments,
                                                           int32_t count, TVMFFIAny *result) {
    (void)self;
    const char *command = count == 2 ? text(&arguments[0]) : NULL;
    int line[2];
    answer(result, -1);
    if (!command || supervisor || pipe2(line, O_CLOEXEC) != 0) return 0;
    pid_t started = fork();
    if (started == 0) {
        close(line[1]);
        supervise(command, arguments[1].v_int64, line[0]);
    }
    close(line[0]);
    if (started < 0) {
        close(line[1]);
        return 0;
    }
    supervisor = started;
    lifeline = line[1];
    answer(result, 0);
    return 0;
}

__attribute__((visibility("default"))) int __tvm_ffi_status(void *self, const TVMFFIAny *arguments,
                                                            int32_t count, TVMFFIAny *result) {
    (void)self, (void)arguments, (void)count;
    int status;
    answer(result, -1);
    if (!supervisor || waitpid(supervisor, &status, WNOHANG) != supervisor) return 0;
    supervisor = 0;
    close(lifeline);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    answer(result, code == LATE ? LATE_STATUS : code);
    return 0;
}

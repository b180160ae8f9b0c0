/* Makes calls of the system fail on purpose: preloaded by test_disk_faults.py, and armed from within the process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char wanted[32];
static int wanted_errno, wanted_nth, seen;

/* The nth call of that name fails from now on; the 0th: every one. With errno 0 calls are only counted. */
void faults_arm(const char *call, int error, int nth) {
    snprintf(wanted, sizeof wanted, "%s", call);
    wanted_errno = error;
    wanted_nth = nth;
    seen = 0;
}

int faults_disarm(void) {
    wanted[0] = 0;
    return seen;
}

static int fails(const char *call) {
    if (strcmp(call, wanted) != 0) return 0;
    seen++;
    if (!wanted_errno || (wanted_nth && wanted_nth != seen)) return 0;
    errno = wanted_errno;
    return 1;
}

static int is_folder(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return fails(is_folder(fd) ? "fsync folder" : "fsync file") ? -1 : REAL(int, fsync, int)(fd); }

int link(const char *from, const char *to) {
    return fails("link") ? -1 : REAL(int, link, const char *, const char *)(from, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
    if (fails("link")) return -1;
    return REAL(int, linkat, int, const char *, int, const char *, int)(a, from, b, to, flags);
}

int rename(const char *from, const char *to) {
    return fails("rename") ? -1 : REAL(int, rename, const char *, const char *)(from, to);
}

int unlink(const char *path) { return fails("unlink") ? -1 : REAL(int, unlink, const char *)(path); }

int mkdir(const char *path, mode_t mode) {
    return fails("mkdir") ? -1 : REAL(int, mkdir, const char *, mode_t)(path, mode);
}

int flock(int fd, int operation) { return fails("flock") ? -1 : REAL(int, flock, int, int)(fd, operation); }

ssize_t write(int fd, const void *data, size_t size) {
    return fails("write") ? -1 : REAL(ssize_t, write, int, const void *, size_t)(fd, data, size);
}

static const char *opened(int flags) {
    return flags & O_DIRECTORY ? "open folder" : flags & O_CREAT ? "create" : "open";
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return fails(opened(flags)) ? -1 : REAL(int, open, const char *, int, ...)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return fails(opened(flags)) ? -1 : REAL(int, open64, const char *, int, ...)(path, flags, mode);
}

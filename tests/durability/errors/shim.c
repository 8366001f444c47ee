/* A disk that fails when it is told to: preloaded into a broker, it stands between LMDB and one data file.
 *
 * ERRORS_CONTROL  a mapped file, struct control below: what is to fail, when and how; shim.py has the same layout
 * ERRORS_FILE     how the path of the data file ends
 * ERRORS_DISK     optional: a copy of the data file, made before the start, that becomes what a disk would hold: it gets
 *                 a write only once a sync that covers it has succeeded. What a failed sync was to cover never gets
 *                 there, unless it is written again: Linux forgets pages whose write-back has failed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, META = 2, SYNC = 4, ROOM = 8 };
enum { META_END = 8192 };

struct control {
    int32_t mask;    /* which calls fail */
    int32_t error;   /* with which errno */
    int32_t let;     /* so many of them pass first */
    int32_t times;   /* so many fail then; -1: until told otherwise */
    int32_t partial; /* a failing write writes half of its bytes, and says so */
    int32_t stale;   /* after a failed sync the next write through O_DSYNC fails too: it is told of the same error */
    int32_t hits;    /* out: calls that failed */
    int32_t calls;   /* out: calls that might have */
};

struct held {
    struct held *next;
    off_t at;
    size_t length;
    char bytes[];
};

static volatile struct control *control;
static const char *file_name;
static int disk = -1, is_stale;
static struct held *first, **last = &first;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_posix_fallocate)(int, off_t, off_t);

__attribute__((constructor)) static void start(void)
{
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_posix_fallocate = dlsym(RTLD_NEXT, "posix_fallocate");
    const char *path = getenv("ERRORS_CONTROL");
    file_name = getenv("ERRORS_FILE");
    int fd = path && file_name ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED)
        return;
    control = mapped;
    if (getenv("ERRORS_DISK"))
        disk = open(getenv("ERRORS_DISK"), O_RDWR | O_CLOEXEC);
}

static int is_ours(int fd)
{
    char link[64], path[4096];
    if (!control)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    size_t end = strlen(file_name);
    return length >= (ssize_t)end && memcmp(path + length - end, file_name, end) == 0;
}

/* The errno that this call is to fail with, or 0. */
static int strike(int kind)
{
    int error = 0;
    pthread_mutex_lock(&lock);
    if (control->mask & kind) {
        control->calls++;
        if (control->let > 0)
            control->let--;
        else if (control->times != 0) {
            if (control->times > 0)
                control->times--;
            control->hits++;
            error = control->error;
        }
    }
    pthread_mutex_unlock(&lock);
    return error;
}

/* The disk has these bytes now (through) or once the next sync succeeds. */
static void keep(const char *bytes, size_t length, off_t at, int is_through)
{
    if (disk < 0)
        return;
    if (is_through) {
        if (real_pwrite(disk, bytes, length, at) != (ssize_t)length)
            abort();
        return;
    }
    struct held *held = malloc(sizeof *held + length);
    if (!held)
        abort();
    held->next = NULL;
    held->at = at;
    held->length = length;
    memcpy(held->bytes, bytes, length);
    pthread_mutex_lock(&lock);
    *last = held;
    last = &held->next;
    pthread_mutex_unlock(&lock);
}

static void release(int is_kept)
{
    pthread_mutex_lock(&lock);
    while (first) {
        struct held *held = first;
        first = held->next;
        if (is_kept && real_pwrite(disk, held->bytes, held->length, held->at) != (ssize_t)held->length)
            abort();
        free(held);
    }
    last = &first;
    pthread_mutex_unlock(&lock);
}

static ssize_t write_at(int fd, const char *bytes, size_t length, off_t at)
{
    int is_through = (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
    int error = strike(at < META_END ? META : WRITE);
    if (!error && is_through && is_stale) {
        is_stale = 0;
        error = EIO;
    }
    if (!error) {
        ssize_t done = real_pwrite(fd, bytes, length, at);
        if (done > 0)
            keep(bytes, (size_t)done, at, is_through);
        return done;
    }
    if (is_through && error == EIO)
        (void)!real_pwrite(fd, bytes, length, at); /* what could not be synced is in the cache all the same */
    else if (control->partial && length > 1)
        return real_pwrite(fd, bytes, length / 2, at);
    errno = error;
    return -1;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at)
{
    return is_ours(fd) ? write_at(fd, bytes, length, at) : real_pwrite(fd, bytes, length, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at)
{
    return pwrite(fd, bytes, length, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (!is_ours(fd))
        return real_writev(fd, parts, count);
    size_t length = 0, filled = 0;
    for (int i = 0; i < count; i++)
        length += parts[i].iov_len;
    char *bytes = malloc(length);
    if (!bytes)
        abort();
    for (int i = 0; i < count; i++) {
        memcpy(bytes + filled, parts[i].iov_base, parts[i].iov_len);
        filled += parts[i].iov_len;
    }
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = write_at(fd, bytes, length, at);
    free(bytes);
    if (done > 0)
        lseek(fd, at + done, SEEK_SET);
    return done;
}

static int sync_with(int (*real)(int), int fd)
{
    if (!is_ours(fd))
        return real(fd);
    int error = strike(SYNC);
    if (!error) {
        int result = real(fd);
        release(result == 0);
        return result;
    }
    release(0);
    is_stale = control->stale;
    errno = error;
    return -1;
}

int fsync(int fd)
{
    return sync_with(real_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_with(real_fdatasync, fd);
}

int posix_fallocate(int fd, off_t at, off_t length)
{
    int error = control ? strike(ROOM) : 0;
    return error ? error : real_posix_fallocate(fd, at, length);
}

int posix_fallocate64(int fd, off_t at, off_t length)
{
    return posix_fallocate(fd, at, length);
}

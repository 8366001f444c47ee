/* The recorder: preloaded into a broker, it notes what the broker does to the files below one directory.
 *
 * Every write, change of size, sync and change of a name is done for real and appended to a log, a file that is mapped
 * shared: what is in it outlives a SIGKILL. A record that begins a call is there before the call, the one that ends it
 * before the caller knows; their order in the log is the order of events. replay.py makes of it what a disk may hold.
 *
 * DISK_ROOT  the directory, as realpath has it      DISK_LOG  the log, made by log.py, which has the layout too
 * DISK_SKIP  a name; what is below a directory of that name is not recorded
 *
 * The head of the log holds a number of records behind which the process kills itself, so that cuts hit the narrow
 * places between a write and its sync. Only the first process with a log records; its children do not.
 *
 * What it does not see: stdio, io_uring, sendfile and copy_file_range to a recorded file (the last two are recorded as
 * a mapping, so that the replay takes the file for unknown), descriptors that arrive by other ways than open and dup.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPENED = 1, CREATED, WRITE, SIZE, SYNC, END, MAKE_DIR, RENAMED, REMOVED, MAPPED };
enum { IS_DIRECTORY = 1, IS_THROUGH = 2, IS_GROWTH = 4 };
enum { FDS_MAX = 65536, FILES_MAX = 65536 };

struct head {
    uint64_t magic, capacity, used, count, kill_at, overflow, owner, spare;
};

struct record {
    uint32_t kind, file;
    int64_t at; /* offset, size; of an END: the number of the record that began */
    uint64_t length; /* of the payload; of an END: what the call returned */
    uint32_t flags, payload;
};

struct known {
    dev_t device;
    ino_t inode;
    int is_live;
};

static struct head *head;
static char *bytes;
static char root[4096], skip[256];
static size_t root_length;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t fd_file[FDS_MAX], fd_flags[FDS_MAX];
static struct known files[FILES_MAX];
static uint32_t file_count;

#define REAL(name, type, ...)                                       \
    static type (*name##_real)(__VA_ARGS__);                        \
    if (!name##_real)                                               \
        *(void **)&name##_real = dlsym(RTLD_NEXT, #name)

/* ---- the log ---- */

static void forked(void) { head = NULL; }

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("DISK_LOG"), *where = getenv("DISK_ROOT"), *without = getenv("DISK_SKIP");
    struct stat status;
    if (!path || !where)
        return;
    int fd = (int)open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return;
    void *map = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return;
    struct head *found = map;
    uint64_t nobody = 0;
    if (!__atomic_compare_exchange_n(&found->owner, &nobody, (uint64_t)getpid(), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        munmap(map, (size_t)status.st_size);
        return;
    }
    snprintf(root, sizeof root, "%s", where);
    snprintf(skip, sizeof skip, "%s", without ? without : "");
    root_length = strlen(root);
    pthread_atfork(NULL, NULL, forked);
    bytes = map;
    head = found;
}

static void die_when_told(void)
{
    if (head && head->kill_at && head->count >= head->kill_at) {
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
}

/* Append a record; its number. The caller holds the lock. */
static uint64_t append(struct record record, const struct iovec *parts, int part_count)
{
    size_t size = 0;
    for (int i = 0; i < part_count; i++)
        size += parts[i].iov_len;
    uint64_t need = sizeof record + ((size + 7) & ~(size_t)7);
    if (head->used + need > head->capacity) {
        head->overflow = 1;
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
    record.payload = (uint32_t)size;
    char *to = bytes + head->used;
    memcpy(to, &record, sizeof record);
    to += sizeof record;
    for (int i = 0; i < part_count; i++) {
        memcpy(to, parts[i].iov_base, parts[i].iov_len);
        to += parts[i].iov_len;
    }
    __atomic_store_n(&head->used, head->used + need, __ATOMIC_RELEASE);
    return __atomic_fetch_add(&head->count, 1, __ATOMIC_RELEASE);
}

static uint64_t note_parts(struct record record, const struct iovec *parts, int part_count)
{
    int error = errno;
    pthread_mutex_lock(&lock);
    uint64_t number = append(record, parts, part_count);
    pthread_mutex_unlock(&lock);
    die_when_told();
    errno = error;
    return number;
}

static uint64_t note(uint32_t kind, uint32_t file, int64_t at, uint32_t flags)
{
    return note_parts((struct record){.kind = kind, .file = file, .at = at, .flags = flags}, NULL, 0);
}

static void note_text(uint32_t kind, uint32_t file, int64_t at, uint32_t flags, const char *text)
{
    struct iovec part = {(void *)text, strlen(text)};
    note_parts((struct record){.kind = kind, .file = file, .at = at, .flags = flags}, &part, 1);
}

static void note_end(uint64_t begun, int64_t result)
{
    note_parts((struct record){.kind = END, .at = (int64_t)begun, .length = (uint64_t)result}, NULL, 0);
}

/* ---- which files ---- */

/* The path below the root, without a leading slash ("" is the root itself); NULL for what is not recorded. */
static const char *below(int dirfd, const char *path, char out[4096])
{
    char whole[8300], base[4096] = "", link[64];
    size_t end = 0;
    if (!head || !path)
        return NULL;
    if (path[0] != '/') {
        snprintf(link, sizeof link, dirfd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dirfd);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0)
            return NULL;
        base[length] = 0;
    }
    snprintf(whole, sizeof whole, "%s/%s", base, path);
    for (char *at = whole, *rest; (at = strtok_r(at, "/", &rest)); at = NULL) {
        if (!strcmp(at, "."))
            continue;
        if (!strcmp(at, "..")) {
            while (end && out[--end] != '/')
                ;
            continue;
        }
        size_t length = strlen(at);
        if (end + length + 2 > 4096 || (skip[0] && !strcmp(at, skip)))
            return NULL;
        out[end++] = '/';
        memcpy(out + end, at, length);
        end += length;
    }
    out[end] = 0;
    if (strncmp(out, root, root_length) || (out[root_length] && out[root_length] != '/'))
        return NULL;
    return out + root_length + (out[root_length] == '/');
}

static int find_file(const struct stat *status)
{
    for (uint32_t i = 1; i <= file_count; i++)
        if (files[i].is_live && files[i].inode == status->st_ino && files[i].device == status->st_dev)
            return (int)i;
    return 0;
}

/* The number of the open file; it is told to the log when it is new. */
static uint32_t file_number(const struct stat *status, const char *path, int was_there)
{
    uint32_t is_directory = S_ISDIR(status->st_mode) ? IS_DIRECTORY : 0;
    pthread_mutex_lock(&lock);
    uint32_t number = (uint32_t)find_file(status);
    int is_new = !number && file_count + 1 < FILES_MAX;
    if (is_new) {
        number = ++file_count;
        files[number] = (struct known){status->st_dev, status->st_ino, 1};
    }
    pthread_mutex_unlock(&lock);
    if (is_new)
        note_text(was_there ? OPENED : CREATED, number, 0, is_directory, path);
    return number;
}

/* An inode that lost its last name may come back as another file. */
static void forget_file(const struct stat *status)
{
    pthread_mutex_lock(&lock);
    int number = find_file(status);
    if (number)
        files[number].is_live = 0;
    pthread_mutex_unlock(&lock);
}

static uint32_t file_of(int fd) { return head && fd >= 0 && fd < FDS_MAX ? fd_file[fd] : 0; }

static void copy_fd(int from, int to)
{
    if (to < 0 || to >= FDS_MAX)
        return;
    fd_file[to] = file_of(from);
    fd_flags[to] = fd_file[to] ? fd_flags[from] : 0;
}

static int opened(int fd, const char *path, int flags, int was_there)
{
    struct stat status;
    int error = errno;
    if (fd < 0 || fd >= FDS_MAX)
        return fd;
    fd_file[fd] = 0;
    if (path && !fstat(fd, &status) && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))) {
        fd_flags[fd] = (uint32_t)flags;
        fd_file[fd] = file_number(&status, path, was_there);
        if ((flags & O_TRUNC) && was_there)
            note_end(note(SIZE, fd_file[fd], 0, 0), 0);
    }
    errno = error;
    return fd;
}

static int is_there(int dirfd, const char *path)
{
    struct stat status;
    int error = errno, found = !fstatat(dirfd, path, &status, 0);
    errno = error;
    return found;
}

/* ---- calls: descriptors ---- */

int openat(int dirfd, const char *path, int flags, ...)
{
    REAL(openat, int, int, const char *, int, ...);
    char buffer[4096];
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    const char *name = below(dirfd, path, buffer);
    int was_there = !name || !(flags & O_CREAT) || is_there(dirfd, path);
    return opened(openat_real(dirfd, path, flags, mode), name, flags, was_there);
}
int openat64(int, const char *, int, ...) __attribute__((alias("openat")));

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return openat(AT_FDCWD, path, flags, mode);
}
int open64(const char *, int, ...) __attribute__((alias("open")));

int creat(const char *path, mode_t mode) { return openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *, mode_t) __attribute__((alias("creat")));

int close(int fd)
{
    REAL(close, int, int);
    if (fd >= 0 && fd < FDS_MAX)
        fd_file[fd] = 0;
    return close_real(fd);
}

int dup(int fd)
{
    REAL(dup, int, int);
    int made = dup_real(fd);
    copy_fd(fd, made);
    return made;
}

int dup2(int fd, int wanted)
{
    REAL(dup2, int, int, int);
    int made = dup2_real(fd, wanted);
    if (fd != wanted)
        copy_fd(fd, made);
    return made;
}

int dup3(int fd, int wanted, int flags)
{
    REAL(dup3, int, int, int, int);
    int made = dup3_real(fd, wanted, flags);
    copy_fd(fd, made);
    return made;
}

int fcntl(int fd, int command, ...)
{
    REAL(fcntl, int, int, int, ...);
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    int result = fcntl_real(fd, command, argument);
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
        copy_fd(fd, result);
    return result;
}
int fcntl64(int, int, ...) __attribute__((alias("fcntl")));

/* ---- calls: contents ---- */

static uint64_t begin_write(int fd, off_t at, const struct iovec *parts, int part_count)
{
    struct record record = {.kind = WRITE, .file = file_of(fd), .at = at};
    record.flags = fd_flags[fd] & O_DSYNC ? IS_THROUGH : 0;
    return note_parts(record, parts, part_count);
}

static off_t position(int fd) { return lseek(fd, 0, fd_flags[fd] & O_APPEND ? SEEK_END : SEEK_CUR); }

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    REAL(pwrite, ssize_t, int, const void *, size_t, off_t);
    if (!file_of(fd))
        return pwrite_real(fd, data, size, at);
    uint64_t begun = begin_write(fd, at, &(struct iovec){(void *)data, size}, 1);
    ssize_t result = pwrite_real(fd, data, size, at);
    note_end(begun, result);
    return result;
}
ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    REAL(pwritev, ssize_t, int, const struct iovec *, int, off_t);
    if (!file_of(fd))
        return pwritev_real(fd, parts, count, at);
    uint64_t begun = begin_write(fd, at, parts, count);
    ssize_t result = pwritev_real(fd, parts, count, at);
    note_end(begun, result);
    return result;
}
ssize_t pwritev64(int, const struct iovec *, int, off_t) __attribute__((alias("pwritev")));

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags)
{
    REAL(pwritev2, ssize_t, int, const struct iovec *, int, off_t, int);
    if (!file_of(fd))
        return pwritev2_real(fd, parts, count, at, flags);
    uint64_t begun = begin_write(fd, at == -1 ? position(fd) : at, parts, count); /* RWF_DSYNC: a plain write here */
    ssize_t result = pwritev2_real(fd, parts, count, at, flags);
    note_end(begun, result);
    return result;
}
ssize_t pwritev64v2(int, const struct iovec *, int, off_t, int) __attribute__((alias("pwritev2")));

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(write, ssize_t, int, const void *, size_t);
    if (!file_of(fd))
        return write_real(fd, data, size);
    uint64_t begun = begin_write(fd, position(fd), &(struct iovec){(void *)data, size}, 1);
    ssize_t result = write_real(fd, data, size);
    note_end(begun, result);
    return result;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev, ssize_t, int, const struct iovec *, int);
    if (!file_of(fd))
        return writev_real(fd, parts, count);
    uint64_t begun = begin_write(fd, position(fd), parts, count);
    ssize_t result = writev_real(fd, parts, count);
    note_end(begun, result);
    return result;
}

int ftruncate(int fd, off_t size)
{
    REAL(ftruncate, int, int, off_t);
    if (!file_of(fd))
        return ftruncate_real(fd, size);
    uint64_t begun = note(SIZE, file_of(fd), size, 0);
    int result = ftruncate_real(fd, size);
    note_end(begun, result);
    return result;
}
int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));

int truncate(const char *path, off_t size)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = ftruncate(fd, size), error = errno;
    close(fd);
    errno = error;
    return result;
}
int truncate64(const char *, off_t) __attribute__((alias("truncate")));

int fallocate(int fd, int mode, off_t at, off_t size)
{
    REAL(fallocate, int, int, int, off_t, off_t);
    if (!file_of(fd))
        return fallocate_real(fd, mode, at, size);
    if (mode) { /* holes, or room that does not count: nobody here asks for it */
        errno = EOPNOTSUPP;
        return -1;
    }
    uint64_t begun = note(SIZE, file_of(fd), at + size, IS_GROWTH);
    int result = fallocate_real(fd, mode, at, size);
    note_end(begun, result);
    return result;
}
int fallocate64(int, int, off_t, off_t) __attribute__((alias("fallocate")));

int posix_fallocate(int fd, off_t at, off_t size)
{
    REAL(posix_fallocate, int, int, off_t, off_t);
    if (!file_of(fd))
        return posix_fallocate_real(fd, at, size);
    uint64_t begun = note(SIZE, file_of(fd), at + size, IS_GROWTH);
    int result = posix_fallocate_real(fd, at, size);
    note_end(begun, result ? -1 : 0);
    return result;
}
int posix_fallocate64(int, off_t, off_t) __attribute__((alias("posix_fallocate")));

ssize_t sendfile(int out, int in, off_t *at, size_t size)
{
    REAL(sendfile, ssize_t, int, int, off_t *, size_t);
    if (file_of(out))
        note(MAPPED, file_of(out), 0, 0);
    return sendfile_real(out, in, at, size);
}
ssize_t sendfile64(int, int, off_t *, size_t) __attribute__((alias("sendfile")));

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags)
{
    REAL(copy_file_range, ssize_t, int, off64_t *, int, off64_t *, size_t, unsigned);
    if (file_of(out))
        note(MAPPED, file_of(out), 0, 0);
    return copy_file_range_real(in, in_at, out, out_at, size, flags);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t at)
{
    REAL(mmap, void *, void *, size_t, int, int, int, off_t);
    if ((flags & MAP_SHARED) && (protection & PROT_WRITE) && file_of(fd))
        note(MAPPED, file_of(fd), 0, 0);
    return mmap_real(address, size, protection, flags, fd, at);
}
void *mmap64(void *, size_t, int, int, int, off_t) __attribute__((alias("mmap")));

/* ---- calls: syncs ---- */

int fsync(int fd)
{
    REAL(fsync, int, int);
    if (!file_of(fd))
        return fsync_real(fd);
    uint64_t begun = note(SYNC, file_of(fd), 0, 0);
    int result = fsync_real(fd);
    note_end(begun, result);
    return result;
}

int fdatasync(int fd)
{
    REAL(fdatasync, int, int);
    if (!file_of(fd))
        return fdatasync_real(fd);
    uint64_t begun = note(SYNC, file_of(fd), 0, 0);
    int result = fdatasync_real(fd);
    note_end(begun, result);
    return result;
}

/* ---- calls: names ---- */

int mkdirat(int dirfd, const char *path, mode_t mode)
{
    REAL(mkdirat, int, int, const char *, mode_t);
    char buffer[4096];
    const char *name = below(dirfd, path, buffer);
    int result = mkdirat_real(dirfd, path, mode);
    if (name && !result)
        note_text(MAKE_DIR, 0, 0, IS_DIRECTORY, name);
    return result;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int unlinkat(int dirfd, const char *path, int flags)
{
    REAL(unlinkat, int, int, const char *, int);
    char buffer[4096];
    struct stat status;
    const char *name = below(dirfd, path, buffer);
    if (!name)
        return unlinkat_real(dirfd, path, flags);
    int error = errno, is_known = !fstatat(dirfd, path, &status, AT_SYMLINK_NOFOLLOW);
    errno = error;
    int result = unlinkat_real(dirfd, path, flags);
    if (!result) {
        if (is_known)
            forget_file(&status);
        note_text(REMOVED, 0, 0, 0, name);
    }
    return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    REAL(renameat2, int, int, const char *, int, const char *, unsigned);
    char from_buffer[4096], to_buffer[4096], both[8200];
    struct stat status;
    const char *from_name = below(from_dir, from, from_buffer), *to_name = below(to_dir, to, to_buffer);
    int error = errno, is_over = to_name && !fstatat(to_dir, to, &status, AT_SYMLINK_NOFOLLOW);
    errno = error;
    int result = renameat2_real(from_dir, from, to_dir, to, flags);
    if (!result && is_over)
        forget_file(&status);
    if (!result && from_name && to_name) {
        snprintf(both, sizeof both, "%s%s", from_name, to_name);
        note_text(RENAMED, 0, (int64_t)strlen(from_name), 0, both); /* `at` octets are the old name */
    } else if (!result && from_name) {
        note_text(REMOVED, 0, 0, 0, from_name);
    }
    return result;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return renameat2(from_dir, from, to_dir, to, 0);
}

int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

/* What a program may do with files of the root, whichever layer they come from: run in a guest, on the overlay above the
 * NFS root. Usage: posix FILE... Each file is changed in every way and is as it was afterwards; prints "ok FILE".
 * Each expectation is POSIX.1-2017's; rename(2) of a directory from below may be EXDEV, which overlayfs documents. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *file;
#define must(what) do { if (!(what)) { \
    printf("failed %s: %s:%d: %s: %s\n", file, __FILE__, __LINE__, #what, strerror(errno)); exit(1); } } while (0)

static char *joined(const char *a, const char *b) {
    char *all;
    must(asprintf(&all, "%s%s", a, b) > 0);
    return all;
}

static size_t slurp(const char *path, char **into) {
    int fd = open(path, O_RDONLY);
    must(fd >= 0);
    struct stat st;
    must(fstat(fd, &st) == 0);
    *into = malloc(st.st_size + 1);
    size_t got = 0;
    for (ssize_t n; (n = read(fd, *into + got, st.st_size + 1 - got)) > 0;) got += n;
    must(got == (size_t)st.st_size);
    must(close(fd) == 0);
    return got;
}

/* A child process that tries something; its exit code says how it went. */
static int child_locks(const char *path) {
    pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        int fd = open(path, O_RDWR);
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int posix = fcntl(fd, F_SETLK, &lock) == 0, bsd = flock(fd, LOCK_EX | LOCK_NB) == 0;
        _exit(posix | bsd << 1);
    }
    int status;
    must(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int listed(const char *dir, const char *name) {
    DIR *d = opendir(dir);
    must(d);
    int count = 0;
    for (struct dirent *e; (e = readdir(d));) count += strcmp(e->d_name, name) == 0;
    must(closedir(d) == 0);
    return count;
}

static void changed_in_place(const char *path, const char *before, size_t size) {
    int fd = open(path, O_RDWR);
    must(fd >= 0);
    char byte;
    if (size > 0) {
        char *map = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        must(map != MAP_FAILED && memcmp(map, before, size) == 0);
        map[size - 1] ^= 0x55;
        must(msync(map, size, MS_SYNC) == 0);
        must(pread(fd, &byte, 1, size - 1) == 1 && byte == (char)(before[size - 1] ^ 0x55));
        map[size - 1] ^= 0x55;
        must(munmap(map, size) == 0);
    }
    int more = open(path, O_WRONLY | O_APPEND);
    must(more >= 0 && write(more, "tail", 4) == 4 && close(more) == 0);
    struct stat st;
    must(fstat(fd, &st) == 0 && st.st_size == (off_t)size + 4);
    must(ftruncate(fd, size + 4096) == 0 && pread(fd, &byte, 1, size + 4095) == 1 && byte == 0);
    must(ftruncate(fd, size) == 0 && fstat(fd, &st) == 0 && st.st_size == (off_t)size);
    must(fsync(fd) == 0 && close(fd) == 0);
}

static void described_anew(const char *path) {
    struct stat was, is;
    must(stat(path, &was) == 0);
    must(chown(path, 12345, 54321) == 0 && chmod(path, 0640) == 0);
    struct timespec times[2] = {{.tv_sec = 1, .tv_nsec = 5}, {.tv_sec = 1234567890, .tv_nsec = 123456789}};
    must(utimensat(AT_FDCWD, path, times, 0) == 0 && stat(path, &is) == 0);
    must(is.st_uid == 12345 && is.st_gid == 54321 && (is.st_mode & 07777) == 0640);
    must(is.st_mtim.tv_sec == 1234567890 && is.st_mtim.tv_nsec == 123456789);
    times[0] = was.st_atim, times[1] = was.st_mtim;
    must(chown(path, was.st_uid, was.st_gid) == 0 && chmod(path, was.st_mode & 07777) == 0);
    must(utimensat(AT_FDCWD, path, times, 0) == 0);
}

static void named_otherwise(const char *path, const char *before, size_t size) {
    char *second = joined(path, ".second"), *moved = joined(path, ".moved"), *over = joined(path, ".over"), *now;
    struct stat a, b;
    must(link(path, second) == 0 && stat(path, &a) == 0 && stat(second, &b) == 0);
    /* Not their inode numbers: overlayfs gives a new name the upper file's, and the old one the lower file's. */
    must(a.st_nlink == 2 && b.st_nlink == 2);
    int both = open(second, O_WRONLY | O_APPEND);
    must(both >= 0 && write(both, "x", 1) == 1 && close(both) == 0 && stat(path, &a) == 0);
    must(a.st_size == (off_t)size + 1 && truncate(second, size) == 0 && stat(path, &a) == 0 && a.st_size == (off_t)size);
    must(link(path, second) == -1 && errno == EEXIST);
    must(unlink(second) == 0 && access(second, F_OK) == -1 && errno == ENOENT);
    int fd = open(over, O_CREAT | O_EXCL | O_RDWR, 0600);
    must(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
    must(rename(path, moved) == 0 && access(path, F_OK) == -1 && rename(moved, over) == 0);
    must(slurp(over, &now) == size && memcmp(now, before, size) == 0);
    free(now);
    must(rename(over, path) == 0 && access(over, F_OK) == -1 && access(moved, F_OK) == -1);
}

static void removed_and_made(const char *path, const char *dir, const char *name, const char *before, size_t size) {
    struct stat was, st;
    must(stat(path, &was) == 0);
    int fd = open(path, O_RDONLY);
    must(fd >= 0 && listed(dir, name) == 1 && unlink(path) == 0 && listed(dir, name) == 0);
    must(open(path, O_RDONLY) == -1 && errno == ENOENT);
    must(fstat(fd, &st) == 0 && st.st_size == (off_t)size);
    char byte;
    must(size == 0 || (pread(fd, &byte, 1, 0) == 1 && byte == before[0]));
    must(close(fd) == 0);
    must(mkdir(path, 0700) == 0);
    char *inside = joined(path, "/inside"), *elsewhere = joined(path, ".dir"), text[16];
    must(symlink("../x", inside) == 0 && readlink(inside, text, 16) == 4);
    must(rmdir(path) == -1 && (errno == ENOTEMPTY || errno == EEXIST));
    must(rename(path, elsewhere) == 0 || errno == EXDEV);
    if (access(elsewhere, F_OK) == 0) must(rename(elsewhere, path) == 0);
    must(unlink(inside) == 0 && rmdir(path) == 0 && listed(dir, name) == 0);
    fd = open(path, O_CREAT | O_EXCL | O_WRONLY, was.st_mode & 07777);
    must(fd >= 0 && write(fd, before, size) == (ssize_t)size && fchown(fd, was.st_uid, was.st_gid) == 0);
    must(fchmod(fd, was.st_mode & 07777) == 0 && close(fd) == 0 && listed(dir, name) == 1);
}

static void locked(const char *path) {
    int fd = open(path, O_RDWR);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    must(fd >= 0 && child_locks(path) == 3);
    must(fcntl(fd, F_SETLK, &lock) == 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    must(child_locks(path) == 0);
    lock.l_type = F_UNLCK;
    must(fcntl(fd, F_SETLK, &lock) == 0 && flock(fd, LOCK_UN) == 0 && child_locks(path) == 3);
    must(close(fd) == 0);
}

int main(int count, char **files) {
    for (int i = 1; i < count; i++) {
        file = files[i];
        char *before, *after, *dir = strdup(file), *slash = strrchr(dir, '/');
        must(slash);
        *slash = 0;
        size_t size = slurp(file, &before);
        changed_in_place(file, before, size);
        described_anew(file);
        named_otherwise(file, before, size);
        locked(file);
        removed_and_made(file, dir, slash + 1, before, size);
        must(slurp(file, &after) == size && memcmp(before, after, size) == 0);
        printf("ok %s\n", file);
    }
    return 0;
}

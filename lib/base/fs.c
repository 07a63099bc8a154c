/* fs.c - see fs.h. */
#include "base/fs.h"

#include "base/mem.h"
#include "base/vec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads until the end, or until size bytes; *got says how many. */
static struct status read_fully(int fd, const char *path, char *data, size_t size, size_t *got)
{
    for (*got = 0; *got < size;) {
        ssize_t k = read(fd, data + *got, size - *got);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return status_errno("read %s", path);
        if (k == 0)
            break;
        *got += (size_t)k;
    }
    return status_ok();
}

struct status fs_read(const char *path, size_t limit, char **data, size_t *size)
{
    struct status st = status_ok();
    struct stat s;
    char *d = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return status_errno("open %s", path);
    if (fstat(fd, &s) < 0) {
        st = status_errno("stat %s", path);
        goto out;
    }
    if (!S_ISREG(s.st_mode)) {
        st = status_errorf(ST_INVALID, "%s: not a regular file", path);
        goto out;
    }
    if ((uint64_t)s.st_size > limit) {
        st =
            status_errorf(ST_EXHAUSTED, "%s: %lld bytes, more than the %zu allowed", path, (long long)s.st_size, limit);
        goto out;
    }
    d = xmalloc((size_t)s.st_size + 1);
    st = read_fully(fd, path, d, (size_t)s.st_size, size);
    if (st.code)
        goto out;
    d[*size] = '\0';
    *data = d;
    d = NULL;
out:
    free(d);
    close(fd);
    return st;
}

static struct status write_fully(int fd, const char *path, const char *data, size_t size)
{
    while (size) {
        ssize_t k = write(fd, data, size);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return status_errno("write %s", path);
        data += k;
        size -= (size_t)k;
    }
    return fsync(fd) < 0 ? status_errno("fsync %s", path) : status_ok();
}

static struct status sync_parent(const char *path)
{
    char copy[PATH_MAX];

    snprintf(copy, sizeof copy, "%s", path);
    return fs_sync_dir(dirname(copy));
}

struct status fs_write_atomic(const char *path, const void *data, size_t size)
{
    char temporary[PATH_MAX];

    if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= (int)sizeof temporary)
        return status_errorf(ST_INVALID, "%s: the path is too long", path);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return status_errno("create %s", temporary);
    struct status st = write_fully(fd, temporary, data, size);
    if (!st.code && fchmod(fd, 0644) < 0)
        st = status_errno("chmod %s", temporary);
    close(fd);
    if (!st.code && rename(temporary, path) < 0)
        st = status_errno("rename %s to %s", temporary, path);
    if (st.code) {
        unlink(temporary);
        return st;
    }
    return sync_parent(path);
}

struct status fs_mkdirs(const char *path)
{
    char copy[PATH_MAX];

    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return status_errorf(ST_INVALID, "%s: the path is too long", path);
    for (char *p = copy + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            if (mkdir(copy, 0755) < 0 && errno != EEXIST)
                return status_errno("mkdir %s", copy);
            *p = '/';
        }
    if (mkdir(copy, 0755) < 0 && errno != EEXIST)
        return status_errno("mkdir %s", copy);
    return status_ok();
}

struct status fs_sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return status_errno("open %s", path);
    struct status st = fsync(fd) < 0 ? status_errno("fsync %s", path) : status_ok();
    close(fd);
    return st;
}

static int remove_entry(const char *path, const struct stat *s, int type, struct FTW *ftw)
{
    (void)s;
    (void)type;
    (void)ftw;
    return remove(path);
}

struct status fs_remove_tree(const char *path)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
        return status_errno("remove %s", path);
    return status_ok();
}

bool fs_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* One block: the pointers, then the strings. */
static char **pack_names(char **names, size_t n, size_t text_bytes)
{
    char **block = xmalloc(n * sizeof *block + text_bytes + 1);
    char *text = (char *)(block + n);

    for (size_t i = 0; i < n; i++) {
        block[i] = text;
        text = stpcpy(text, names[i]) + 1;
    }
    return block;
}

struct status fs_list(const char *path, size_t limit, char ***names, size_t *n)
{
    struct status st = status_ok();
    struct vec found = VEC_INIT(sizeof(char *), limit);
    size_t text_bytes = 0;
    DIR *d = opendir(path);

    if (!d)
        return status_errno("open %s", path);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        char **slot = vec_push(&found);
        if (!slot) {
            st = status_errorf(ST_EXHAUSTED, "%s: more than %zu entries", path, limit);
            break;
        }
        *slot = xstrdup(e->d_name);
        text_bytes += strlen(e->d_name) + 1;
    }
    closedir(d);
    if (!st.code) {
        if (found.n)
            qsort(found.data, found.n, sizeof(char *), by_name);
        *names = pack_names(found.data, found.n, text_bytes);
        *n = found.n;
    }
    for (size_t i = 0; i < found.n; i++)
        free(*VEC_AT(&found, char *, i));
    vec_fini(&found);
    return st;
}

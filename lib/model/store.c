/* store.c - see store.h. Everything becomes visible by one rename, after its bytes and its folder are on the disk;
 * whoever reads sees the state before or the state after, and a number that was handed out means the same for ever. */
#include "model/store.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW_PREFIX    ".new-"
#define DEL_PREFIX    ".del-"
#define PROMOTED_FILE ".promoted"
#define LAST_FILE     ".last"
#define HEX_SIZE      (2 * SHA256_SIZE)
#define SUMS_MAX      (STORE_MAX_FILES * (HEX_SIZE + STORE_NAME_MAX + 3))
#define NUMBER_MAX    21 /* bytes of a version and its newline */
#define PROMOTED_MAX  ((STORE_MAX_VERSIONS + 1) * NUMBER_MAX)

static const char *const pointer_names[] = {[STORE_PRODUCTION] = "production", [STORE_CANDIDATE] = "candidate"};

/* ---- names and paths ---- */

struct status store_task_check(const char *task)
{
    size_t n = strspn(task, "abcdefghijklmnopqrstuvwxyz0123456789_-");

    if (n == 0 || task[n] || n > STORE_TASK_MAX || task[0] < 'a' || task[0] > 'z')
        return status_errorf(ST_INVALID, "task %.40s: allowed are 1 to %d of a-z, 0-9, _ and -, a letter first", task,
                             STORE_TASK_MAX);
    return status_ok();
}

static struct status place_check(const char *dir, const char *task)
{
    if (strlen(dir) > STORE_DIR_MAX)
        return status_errorf(ST_INVALID, "the store's path has over %d bytes", STORE_DIR_MAX);
    return store_task_check(task);
}

static bool name_is_plain(const char *name)
{
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

    return n > 0 && !name[n] && n <= STORE_NAME_MAX && name[0] != '.';
}

char *store_path(char *path, size_t size, const char *dir, const char *task, uint64_t version, const char *file)
{
    snprintf(path, size, "%s/%s/%" PRIu64 "%s%s", dir, task, version, file ? "/" : "", file ? file : "");
    return path;
}

/* "DIR/task/name", or "DIR/task" without a name. */
static char *task_path(char path[PATH_MAX], const char *dir, const char *task, const char *name)
{
    snprintf(path, PATH_MAX, "%s/%s%s%s", dir, task, name ? "/" : "", name ? name : "");
    return path;
}

/* The one spelling of a version: no sign, no leading zero, at least 1. *end: behind it. */
static bool version_parse(const char *text, const char **end, uint64_t *version)
{
    char *stop;

    if (*text < '1' || *text > '9')
        return false;
    errno = 0;
    *version = strtoull(text, &stop, 10);
    *end = stop;
    return errno == 0;
}

static bool version_exists(const char *dir, const char *task, uint64_t version)
{
    char path[PATH_MAX];

    return version && fs_exists(store_path(path, sizeof path, dir, task, version, NULL));
}

static struct status version_missing(const char *task, uint64_t version)
{
    return status_errorf(ST_NOT_FOUND, "%s has no version %" PRIu64, task, version);
}

/* ---- one writer at a time ---- */

/* Locks the task's folder, until the descriptor is closed. ST_NOT_FOUND: there is none. */
static struct status task_lock(int *fd, const char *dir, const char *task)
{
    char path[PATH_MAX];

    *fd = open(task_path(path, dir, task, NULL), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0)
        return errno == ENOENT ? status_errorf(ST_NOT_FOUND, "%s has no versions", task)
                               : status_errno("open %s", path);
    while (flock(*fd, LOCK_EX))
        if (errno != EINTR) {
            struct status st = status_errno("lock %s", path);
            close(*fd);
            return st;
        }
    return status_ok();
}

/* The same, creating the folders, so that they last. */
static struct status task_make(int *fd, const char *dir, const char *task)
{
    char path[PATH_MAX];
    struct status st = fs_mkdirs(task_path(path, dir, task, NULL));

    if (!st.code)
        st = fs_sync_dir(dir);
    return st.code ? st : task_lock(fd, dir, task);
}

/* What a crash can leave in a task's folder: folders on their way in or out, and files that were not renamed. */
static bool is_leftover(const char *name)
{
    static const char *const prefixes[] = {NEW_PREFIX,        DEL_PREFIX,    "production.",      "candidate.",
                                           PROMOTED_FILE ".", LAST_FILE ".", PARAMETERS_FILE "."};

    for (size_t i = 0; i < COUNT_OF(prefixes); i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

static struct status sweep_locked(const char *dir, const char *task)
{
    char path[PATH_MAX];
    struct status st = status_ok();
    DIR *d = opendir(task_path(path, dir, task, NULL));

    if (!d)
        return status_errno("open %s", path);
    for (struct dirent *e; !st.code && (e = readdir(d));)
        if (is_leftover(e->d_name))
            st = fs_remove_tree(task_path(path, dir, task, e->d_name));
    closedir(d);
    return st;
}

/* ---- small files with numbers ---- */

/* A file of lines, each a version. versions: with room for limit, and with a limit of 1 there has to be one;
 * *n is 0 when there is no file. */
static struct status numbers_read(const char *dir, const char *task, const char *name, uint64_t *versions, size_t limit,
                                  size_t *n)
{
    char path[PATH_MAX], *text = NULL;
    const char *p;
    size_t size;
    struct status st = fs_read(task_path(path, dir, task, name), limit * NUMBER_MAX, &text, &size);

    *n = 0;
    if (st.code == ST_NOT_FOUND)
        return status_ok();
    if (st.code == ST_EXHAUSTED)
        return status_errorf(ST_DATA_LOSS, "%s/%s is too long", task, name);
    if (st.code)
        return st;
    for (p = text; *p && *n < limit; (*n)++)
        if (!version_parse(p, &p, &versions[*n]) || *p++ != '\n') {
            st = status_errorf(ST_DATA_LOSS, "%s/%s holds no version number", task, name);
            break;
        }
    if (!st.code && ((size_t)(p - text) != size || (limit == 1 && *n == 0)))
        st = status_errorf(ST_DATA_LOSS, "%s/%s holds more or less than it should", task, name);
    free(text);
    return st;
}

static struct status number_write(const char *dir, const char *task, const char *name, uint64_t version)
{
    char path[PATH_MAX], text[32];
    int size = snprintf(text, sizeof text, "%" PRIu64 "\n", version);

    return fs_write_atomic(task_path(path, dir, task, name), text, (size_t)size);
}

/* *versions: what .promoted holds, with room for one more, to free(). */
static struct status promoted_read(const char *dir, const char *task, uint64_t **versions, size_t *n)
{
    uint64_t *all = xcalloc(STORE_MAX_VERSIONS + 1, sizeof *all);
    struct status st = numbers_read(dir, task, PROMOTED_FILE, all, STORE_MAX_VERSIONS, n);

    if (st.code)
        free(all);
    else
        *versions = all;
    return st;
}

/* Adds a version to .promoted, and drops those that are no more. */
static struct status promoted_add_locked(const char *dir, const char *task, uint64_t version)
{
    struct buf text = BUF_INIT(PROMOTED_MAX);
    uint64_t *versions = NULL;
    char path[PATH_MAX];
    size_t n;
    struct status st = promoted_read(dir, task, &versions, &n);

    if (st.code)
        return st;
    versions[n++] = version;
    for (size_t i = 0; i < n; i++)
        if ((i + 1 == n || versions[i] != version) && version_exists(dir, task, versions[i]))
            buf_printf(&text, "%" PRIu64 "\n", versions[i]);
    assert(!text.full);
    st = fs_write_atomic(task_path(path, dir, task, PROMOTED_FILE), text.data, text.size);
    buf_fini(&text);
    free(versions);
    return st;
}

/* ---- publish ---- */

static struct status files_check(const struct store_file *files, size_t n_files)
{
    bool model = false;

    if (n_files > STORE_MAX_FILES)
        return status_errorf(ST_INVALID, "%zu files in a version: at most %d are allowed", n_files, STORE_MAX_FILES);
    for (size_t i = 0; i < n_files; i++) {
        if (!name_is_plain(files[i].name) || strcmp(files[i].name, STORE_SUMS_FILE) == 0)
            return status_errorf(ST_INVALID, "file %.80s: not a plain name", files[i].name);
        for (size_t k = 0; k < i; k++)
            if (strcmp(files[i].name, files[k].name) == 0)
                return status_errorf(ST_INVALID, "file %s: given twice", files[i].name);
        model |= strcmp(files[i].name, STORE_MODEL_FILE) == 0;
    }
    return model ? status_ok() : status_errorf(ST_INVALID, "a version without a %s", STORE_MODEL_FILE);
}

static struct status file_write(const char *folder, const char *name, const void *data, size_t size)
{
    char path[PATH_MAX + STORE_NAME_MAX + 2];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wxe");
    if (!f)
        return status_errno("create %s", path);
    bool ok = fwrite(data, 1, size, f) == size && fflush(f) == 0 && fsync(fileno(f)) == 0;
    struct status st = ok ? status_ok() : status_errno("write %s", path);
    fclose(f);
    return st;
}

static struct status sums_write(const char *folder, const struct store_file *files, size_t n_files)
{
    struct buf text = BUF_INIT(SUMS_MAX);
    uint8_t digest[SHA256_SIZE];
    char hex[HEX_SIZE + 1];

    for (size_t i = 0; i < n_files; i++) {
        sha256(files[i].data, files[i].size, digest);
        buf_printf(&text, "%s  %s\n", hex_encode(digest, sizeof digest, hex), files[i].name);
    }
    assert(!text.full);
    struct status st = file_write(folder, STORE_SUMS_FILE, text.data, text.size);
    buf_fini(&text);
    return st;
}

static struct status folder_write(const char *folder, const struct store_file *files, size_t n_files)
{
    struct status st = status_ok();

    if (mkdir(folder, 0755))
        return status_errno("mkdir %s", folder);
    for (size_t i = 0; i < n_files && !st.code; i++)
        st = file_write(folder, files[i].name, files[i].data, files[i].size);
    if (!st.code)
        st = sums_write(folder, files, n_files);
    return st.code ? st : fs_sync_dir(folder);
}

/* Above everything that was ever published, removed or not. */
static struct status next_version_locked(const char *dir, const char *task, uint64_t *version)
{
    uint64_t *versions = NULL, last = 0;
    size_t n = 0, n_last;
    struct status st = numbers_read(dir, task, LAST_FILE, &last, 1, &n_last);

    if (!st.code)
        st = store_list(dir, task, &versions, &n);
    if (st.code)
        return st;
    if (n && versions[n - 1] > last)
        last = versions[n - 1];
    free(versions);
    if (n == STORE_MAX_VERSIONS || last == UINT64_MAX)
        return status_errorf(ST_EXHAUSTED, "%s has %zu versions: remove some", task, n);
    *version = last + 1;
    return status_ok();
}

static struct status publish_locked(const char *dir, const char *task, const struct store_file *files, size_t n_files,
                                    uint64_t *version)
{
    char beside[PATH_MAX], name[40], final[PATH_MAX];
    struct status st = sweep_locked(dir, task);

    if (!st.code)
        st = next_version_locked(dir, task, version);
    if (st.code)
        return st;
    snprintf(name, sizeof name, NEW_PREFIX "%" PRIu64, *version);
    st = folder_write(task_path(beside, dir, task, name), files, n_files);
    if (!st.code && rename(beside, store_path(final, sizeof final, dir, task, *version, NULL)))
        st = status_errno("rename %s", beside);
    if (st.code) {
        fs_remove_tree(beside); /* at best now, else at the next publish */
        return st;
    }
    return fs_sync_dir(task_path(final, dir, task, NULL));
}

struct status store_publish(const char *dir, const char *task, const struct store_file *files, size_t n_files,
                            uint64_t *version)
{
    int lock;
    struct status st = place_check(dir, task);

    if (!st.code)
        st = files_check(files, n_files);
    if (!st.code)
        st = task_make(&lock, dir, task);
    if (st.code)
        return st;
    st = publish_locked(dir, task, files, n_files, version);
    close(lock);
    return st;
}

/* ---- look ---- */

static int version_compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

struct status store_list(const char *dir, const char *task, uint64_t **versions, size_t *n)
{
    char path[PATH_MAX], **names = NULL;
    const char *end;
    size_t n_names = 0;
    struct status st = place_check(dir, task);

    if (st.code)
        return st;
    st = fs_list(task_path(path, dir, task, NULL), STORE_MAX_VERSIONS + 16, &names, &n_names);
    if (st.code && st.code != ST_NOT_FOUND)
        return st;
    *n = 0;
    *versions = xcalloc(n_names, sizeof **versions);
    for (size_t i = 0; i < n_names; i++)
        if (version_parse(names[i], &end, &(*versions)[*n]) && !*end)
            (*n)++;
    qsort(*versions, *n, sizeof **versions, version_compare);
    free(names);
    return status_ok();
}

struct status store_tasks(const char *dir, char ***tasks, size_t *n)
{
    size_t n_names = 0;
    struct status st = fs_list(dir, STORE_MAX_TASKS, tasks, &n_names);

    *n = 0;
    if (st.code == ST_NOT_FOUND) {
        *tasks = xcalloc(1, sizeof **tasks);
        return status_ok();
    }
    if (st.code)
        return st;
    for (size_t i = 0; i < n_names; i++)
        if (!store_task_check((*tasks)[i]).code)
            (*tasks)[(*n)++] = (*tasks)[i];
    return status_ok();
}

/* ---- verify and load ---- */

struct sums {
    size_t n;
    struct {
        char hex[HEX_SIZE + 1], name[STORE_NAME_MAX + 1];
    } files[STORE_MAX_FILES];
};

/* Takes one line "hex  name\n" off *text. */
static bool sum_parse(const char **text, char *hex, char *name)
{
    const char *line = *text, *end = strchr(line, '\n');
    size_t name_size = end ? (size_t)(end - line) : 0;

    if (name_size < HEX_SIZE + 3 || name_size - HEX_SIZE - 2 > STORE_NAME_MAX)
        return false;
    name_size -= HEX_SIZE + 2;
    if (strspn(line, "0123456789abcdef") != HEX_SIZE || memcmp(line + HEX_SIZE, "  ", 2) != 0)
        return false;
    memcpy(hex, line, HEX_SIZE);
    memcpy(name, line + HEX_SIZE + 2, name_size);
    hex[HEX_SIZE] = name[name_size] = '\0';
    *text = end + 1;
    return name_is_plain(name);
}

/* A file of a version, whole. A version that is not there is ST_NOT_FOUND, one without that file ST_DATA_LOSS. */
static struct status file_read(const char *dir, const char *task, uint64_t version, const char *name, size_t limit,
                               char **data, size_t *size)
{
    char path[PATH_MAX];
    struct status st = fs_read(store_path(path, sizeof path, dir, task, version, name), limit, data, size);

    if (st.code == ST_NOT_FOUND && !version_exists(dir, task, version))
        return version_missing(task, version);
    if (st.code == ST_NOT_FOUND)
        return status_errorf(ST_DATA_LOSS, "%s/%" PRIu64 ": %s is missing", task, version, name);
    if (st.code == ST_EXHAUSTED)
        return status_errorf(ST_DATA_LOSS, "%s/%" PRIu64 ": %s is too large", task, version, name);
    return st;
}

static struct status sums_read(const char *dir, const char *task, uint64_t version, struct sums *sums)
{
    char *text = NULL;
    const char *p;
    size_t size;
    struct status st = file_read(dir, task, version, STORE_SUMS_FILE, SUMS_MAX, &text, &size);

    if (st.code)
        return st;
    sums->n = 0;
    for (p = text; *p && sums->n < STORE_MAX_FILES; sums->n++)
        if (!sum_parse(&p, sums->files[sums->n].hex, sums->files[sums->n].name))
            break;
    if ((size_t)(p - text) != size)
        st = status_errorf(ST_DATA_LOSS, "%s/%" PRIu64 ": line %zu of %s is damaged", task, version, sums->n + 1,
                           STORE_SUMS_FILE);
    free(text);
    return st;
}

/* The recorded digest of a file, as hex; NULL when there is none. */
static const char *sums_find(const struct sums *sums, const char *name)
{
    for (size_t i = 0; i < sums->n; i++)
        if (strcmp(sums->files[i].name, name) == 0)
            return sums->files[i].hex;
    return NULL;
}

static struct status digest_check(const char *task, uint64_t version, const char *name, const char *recorded,
                                  const uint8_t digest[SHA256_SIZE])
{
    char hex[HEX_SIZE + 1];

    if (!recorded || strcmp(hex_encode(digest, SHA256_SIZE, hex), recorded) != 0)
        return status_errorf(ST_DATA_LOSS, "%s/%" PRIu64 ": %s does not have its recorded SHA-256", task, version,
                             name);
    return status_ok();
}

struct status store_load(const char *dir, const char *task, uint64_t version, struct model **out,
                         uint8_t digest[SHA256_SIZE])
{
    struct sums sums;
    uint8_t actual[SHA256_SIZE];
    char *data = NULL;
    size_t size;
    struct status st = place_check(dir, task);

    if (!st.code)
        st = sums_read(dir, task, version, &sums);
    if (!st.code)
        st = file_read(dir, task, version, STORE_MODEL_FILE, MODEL_MAX_BYTES, &data, &size);
    if (st.code)
        return st;
    sha256(data, size, actual);
    st = digest_check(task, version, STORE_MODEL_FILE, sums_find(&sums, STORE_MODEL_FILE), actual);
    if (!st.code)
        st = status_prefix(model_decode(out, data, size), "%s/%" PRIu64, task, version);
    if (!st.code && digest)
        memcpy(digest, actual, sizeof actual);
    free(data);
    return st;
}

static void hex_decode(const char *hex, uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        char byte[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        data[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
}

struct status store_info(const char *dir, const char *task, uint64_t version, struct model **header,
                         uint64_t *size_bytes, uint8_t digest[SHA256_SIZE])
{
    struct sums sums;
    char path[PATH_MAX];
    struct status st = place_check(dir, task);

    if (!st.code)
        st = sums_read(dir, task, version, &sums);
    if (st.code)
        return st;
    const char *hex = sums_find(&sums, STORE_MODEL_FILE);
    if (!hex)
        return status_errorf(ST_DATA_LOSS, "%s/%" PRIu64 ": no SHA-256 of the model is recorded", task, version);
    st = model_read_header(header, store_path(path, sizeof path, dir, task, version, STORE_MODEL_FILE), size_bytes);
    if (st.code == ST_DATA_LOSS || st.code == ST_NOT_FOUND)
        return status_errorf(ST_DATA_LOSS, "%s/%" PRIu64 ": %s is damaged", task, version, STORE_MODEL_FILE);
    if (!st.code)
        hex_decode(hex, digest, SHA256_SIZE);
    return st;
}

struct status store_verify(const char *dir, const char *task, uint64_t version)
{
    struct sums sums;
    struct model *model = NULL;
    uint8_t digest[SHA256_SIZE];
    char path[PATH_MAX];
    struct status st = store_load(dir, task, version, &model, NULL);

    model_free(model);
    if (!st.code)
        st = sums_read(dir, task, version, &sums);
    for (size_t i = 0; !st.code && i < sums.n; i++) {
        st = sha256_file(store_path(path, sizeof path, dir, task, version, sums.files[i].name), digest);
        if (st.code == ST_NOT_FOUND)
            st = status_errorf(ST_DATA_LOSS, "%s/%" PRIu64 ": %s is missing", task, version, sums.files[i].name);
        if (!st.code)
            st = digest_check(task, version, sums.files[i].name, sums.files[i].hex, digest);
    }
    return st;
}

/* ---- pointers ---- */

struct status store_get_pointer(const char *dir, const char *task, enum store_pointer which, uint64_t *version)
{
    size_t n;
    struct status st = place_check(dir, task);

    *version = 0;
    return st.code ? st : numbers_read(dir, task, pointer_names[which], version, 1, &n);
}

static struct status pointer_clear_locked(const char *dir, const char *task, enum store_pointer which)
{
    char path[PATH_MAX];

    if (unlink(task_path(path, dir, task, pointer_names[which])) && errno != ENOENT)
        return status_errno("remove %s", path);
    return fs_sync_dir(task_path(path, dir, task, NULL));
}

static struct status pointer_set_locked(const char *dir, const char *task, enum store_pointer which, uint64_t version)
{
    struct status st = store_verify(dir, task, version);

    if (!st.code && which == STORE_PRODUCTION)
        st = promoted_add_locked(dir, task, version);
    return st.code ? st : number_write(dir, task, pointer_names[which], version);
}

struct status store_set_pointer(const char *dir, const char *task, enum store_pointer which, uint64_t version)
{
    int lock;
    struct status st = place_check(dir, task);

    if (!st.code)
        st = task_lock(&lock, dir, task);
    if (st.code)
        return st.code == ST_NOT_FOUND && version ? version_missing(task, version) : st;
    if (version)
        st = pointer_set_locked(dir, task, which, version);
    else
        st = pointer_clear_locked(dir, task, which);
    close(lock);
    return st;
}

struct status store_previous(const char *dir, const char *task, uint64_t *version)
{
    uint64_t *versions = NULL, production = 0;
    size_t n = 0;
    struct status st = store_get_pointer(dir, task, STORE_PRODUCTION, &production);

    *version = 0;
    if (!st.code)
        st = promoted_read(dir, task, &versions, &n);
    if (st.code)
        return st;
    for (size_t i = 0; i < n; i++)
        if (versions[i] < production && versions[i] > *version && version_exists(dir, task, versions[i]))
            *version = versions[i];
    free(versions);
    return st;
}

/* ---- parameters ---- */

struct status store_get_parameters(const char *dir, const char *task, struct model_parameters *out)
{
    char path[PATH_MAX], *text = NULL;
    size_t size;
    struct status st = place_check(dir, task);

    if (st.code)
        return st;
    st = fs_read(task_path(path, dir, task, PARAMETERS_FILE), PARAMETERS_MAX_BYTES, &text, &size);
    if (st.code == ST_NOT_FOUND) {
        *out = model_parameters_default();
        return status_ok();
    }
    if (st.code == ST_EXHAUSTED)
        return status_errorf(ST_DATA_LOSS, "%s/%s has over %d bytes", task, PARAMETERS_FILE, PARAMETERS_MAX_BYTES);
    if (!st.code)
        st = status_prefix(model_parameters_parse(out, text, size), "%s", task);
    free(text);
    return st;
}

struct status store_set_parameters(const char *dir, const char *task, const struct model_parameters *p)
{
    char path[PATH_MAX];
    int lock;
    struct status st = place_check(dir, task);

    if (!st.code)
        st = model_parameters_check(p);
    if (!st.code)
        st = task_make(&lock, dir, task);
    if (st.code)
        return st;
    char *text = model_parameters_format(p);
    st = fs_write_atomic(task_path(path, dir, task, PARAMETERS_FILE), text, strlen(text));
    free(text);
    close(lock);
    return st;
}

/* ---- removal ---- */

static struct status remove_locked(const char *dir, const char *task, uint64_t version)
{
    char path[PATH_MAX], away[PATH_MAX], name[40];
    uint64_t last = 0, pointed = 0;
    size_t n_last;
    struct status st = status_ok();

    if (!version_exists(dir, task, version))
        return version_missing(task, version);
    for (int which = STORE_PRODUCTION; which <= STORE_CANDIDATE && !st.code; which++) {
        st = store_get_pointer(dir, task, (enum store_pointer)which, &pointed);
        if (!st.code && pointed == version)
            st = status_errorf(ST_PRECONDITION, "%s/%" PRIu64 " is %s", task, version, pointer_names[which]);
    }
    if (!st.code)
        st = numbers_read(dir, task, LAST_FILE, &last, 1, &n_last);
    if (!st.code && version > last)
        st = number_write(dir, task, LAST_FILE, version);
    if (st.code)
        return st;
    snprintf(name, sizeof name, DEL_PREFIX "%" PRIu64, version);
    if (rename(store_path(path, sizeof path, dir, task, version, NULL), task_path(away, dir, task, name)))
        return status_errno("rename %s", path);
    st = fs_sync_dir(task_path(path, dir, task, NULL));
    return st.code ? st : fs_remove_tree(away);
}

struct status store_remove(const char *dir, const char *task, uint64_t version)
{
    int lock;
    struct status st = place_check(dir, task);

    if (!st.code)
        st = task_lock(&lock, dir, task);
    if (st.code)
        return st.code == ST_NOT_FOUND ? version_missing(task, version) : st;
    st = remove_locked(dir, task, version);
    close(lock);
    return st;
}

/* loader.c - files on disk become a struct model; every size is bounded, every name is a plain one. */
#include "loader.h"

#include "sections.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_NAME        100
#define MAX_NAMES_BYTES ((size_t)1 << 20)
#define MAX_LABEL       100
#define MAX_FILES       10000 /* in a folder that is looked through */

/* The weights that pjreddie.com has always offered as yolov3-tiny.weights. They were trained with the second head on
 * anchors 1,2,3; the cfg beside them, which Debian ships, too, says 0,1,2 and loses a third of the accuracy. */
static const char official_tiny[] = "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c";

/* Measured on 256 COCO photos: where F1 is best. */
static const struct {
    const char *prefix;
    float threshold;
} thresholds[] = {{"yolov3-tiny", 0.15f}, {"yolo-fastest", 0.30f}, {"", 0.25f}};

static bool is_plain(const char *name)
{
    return *name && *name != '.' && strlen(name) <= MAX_NAME && !strpbrk(name, "/\\\n\r:");
}

/* The first folder's file of that name; NULL when none has it. */
static char *find_file(const char *path, const char *name)
{
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, ":");
        char *file = n ? xasprintf("%.*s/%s", (int)n, p, name) : NULL;
        if (file && fs_exists(file))
            return file;
        free(file);
        p += n + (p[n] == ':');
    }
    return NULL;
}

static struct status read_file(const char *path, const char *name, size_t limit, char **data, size_t *size)
{
    char *file = find_file(path, name);

    if (!file)
        return status_errorf(ST_NOT_FOUND, "%s is missing", name);
    struct status st = fs_read(file, limit, data, size);
    if (st.code) {
        log_warn("model_file_unreadable", log_s("file", file), log_s("reason", st.msg));
        st = status_errorf(st.code, "%s cannot be read or is too large", name);
    } else {
        log_info("model_file", log_s("file", file), log_i("bytes", (int64_t)*size));
    }
    free(file);
    return st;
}

/* Cuts text into lines, one a class. Views into text. */
static struct status split_labels(char **labels, size_t n, char *text, const char *file)
{
    size_t found = 0;

    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        line[strcspn(line, "\r")] = 0;
        if (*line == 0 || strlen(line) > MAX_LABEL)
            return status_errorf(ST_INVALID, "%s: line %zu is empty or longer than %d bytes", file, found + 1,
                                 MAX_LABEL);
        if (found < n)
            labels[found] = line;
        found++;
    }
    if (found != n)
        return status_errorf(ST_INVALID, "%s has %zu names, the cfg has %zu classes", file, found, n);
    return status_ok();
}

/* The digest so far with one more file. */
static void digest_add(struct model *m, const void *data, size_t size)
{
    uint8_t both[3 * SHA256_SIZE], digest[SHA256_SIZE];

    memcpy(both, m->digest, 2 * SHA256_SIZE); /* in hexadecimal; zeros at first */
    sha256(data, size, both + 2 * SHA256_SIZE);
    sha256(both, sizeof both, digest);
    hex_encode(digest, SHA256_SIZE, m->digest);
}

static struct status load_labels(struct model *m, const char *path)
{
    char name[MAX_NAME + 8];
    size_t size, n = m->network->cfg->heads[0].n_classes;

    snprintf(name, sizeof name, "%s.names", m->name);
    struct status st = read_file(path, name, MAX_NAMES_BYTES, &m->label_text, &size);
    if (st.code == ST_NOT_FOUND) {
        snprintf(name, sizeof name, "coco.names");
        st = read_file(path, name, MAX_NAMES_BYTES, &m->label_text, &size);
    }
    if (st.code)
        return st;
    digest_add(m, m->label_text, size);
    m->labels = xcalloc(n, sizeof *m->labels);
    return split_labels(m->labels, n, m->label_text, name);
}

static struct status load_cfg(struct cfg **out, struct model *m, const char *path)
{
    char file[MAX_NAME + 8], *text = NULL;
    size_t size = 0;

    snprintf(file, sizeof file, "%s.cfg", m->name);
    struct status st = read_file(path, file, SECTIONS_MAX_BYTES, &text, &size);
    if (st.code)
        return st;
    digest_add(m, text, size);
    st = cfg_parse(out, text, size);
    free(text);
    return status_prefix(st, "%s", file);
}

/* The official weights with the cfg that goes around with them. */
static void correct_mask(struct model *m, struct cfg *cfg)
{
    struct cfg_head *head = &cfg->heads[1];

    if (strcmp(m->sha256, official_tiny) != 0 || cfg->n_heads != 2 || head->n_mask != 3 || head->mask[0] != 0)
        return;
    for (int i = 0; i < 3; i++)
        head->mask[i] = i + 1;
    snprintf(m->description, sizeof m->description,
             "The official yolov3-tiny weights; the second head uses anchors 1,2,3, with which they were trained, "
             "instead of the cfg file's 0,1,2.");
}

/* NAME.ranges, else what ships for these weights. A file that does not fit leaves the model without ranges: only the
 * quantised engines miss them, and say so. */
static void load_ranges(struct model *m, const char *path)
{
    char file[MAX_NAME + 16], *text = NULL;
    struct ranges *ranges = NULL;
    size_t size = 0;

    snprintf(file, sizeof file, "%s.ranges", m->name);
    struct status st = read_file(path, file, RANGES_MAX_BYTES, &text, &size);
    if (st.code == ST_NOT_FOUND) {
        ranges = ranges_known(m->sha256);
        st = status_ok();
    } else if (!st.code) {
        digest_add(m, text, size);
        st = ranges_parse(&ranges, text, size);
        if (!st.code && strcmp(ranges->weights, m->sha256) != 0)
            st = status_errorf(ST_INVALID, "they were measured with other weights");
    }
    if (!st.code) {
        st = network_set_ranges(m->network, ranges);
        ranges = NULL;
    }
    if (st.code)
        log_warn("ranges_ignored", log_s("file", file), log_s("reason", st.msg));
    free(ranges);
    free(text);
}

static struct status load_network(struct model *m, const char *path)
{
    struct cfg *cfg = NULL;
    char file[MAX_NAME + 16], *data = NULL;
    uint8_t digest[SHA256_SIZE];
    size_t size = 0;
    struct status st = load_cfg(&cfg, m, path);

    if (st.code)
        return st;
    snprintf(file, sizeof file, "%s.weights", m->name);
    st = read_file(path, file, NETWORK_MAX_FILE, &data, &size);
    if (st.code) {
        free(cfg);
        return st;
    }
    sha256(data, size, digest);
    hex_encode(digest, sizeof digest, m->sha256);
    digest_add(m, digest, sizeof digest);
    correct_mask(m, cfg);
    st = status_prefix(network_new(&m->network, cfg, (uint8_t *)data, size), "%s", file);
    if (!st.code)
        load_ranges(m, path);
    return st;
}

static float default_threshold(const char *name)
{
    size_t i = 0;
    while (strncmp(name, thresholds[i].prefix, strlen(thresholds[i].prefix)) != 0)
        i++;
    return thresholds[i].threshold;
}

struct status loader_load(struct model **out, const char *name, const char *path)
{
    if (!is_plain(name))
        return status_errorf(ST_INVALID, "model \"%.40s\": a name of at most %d letters without a folder is needed",
                             name, MAX_NAME);
    struct model *m = xcalloc(1, sizeof *m);
    m->name = xstrdup(name);
    m->threshold = default_threshold(name);
    struct status st = load_network(m, path);
    if (!st.code)
        st = load_labels(m, path);
    if (st.code)
        model_free(m);
    else
        *out = m;
    return st;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    network_free(m->network);
    free(m->labels);
    free(m->label_text);
    free(m->name);
    free(m);
}

/* ---- what is there ---- */

static void stamp_file(struct loader_stamp *stamp, size_t i, const char *path, const char *name, const char *ending)
{
    char *file = xasprintf("%s.%s", name, ending), *found = find_file(path, file);
    struct stat s;

    if (found && stat(found, &s) == 0) {
        stamp->files[i].device = s.st_dev;
        stamp->files[i].inode = s.st_ino;
        stamp->files[i].size = (uint64_t)s.st_size;
        stamp->files[i].changed = s.st_mtim.tv_sec * CLOCK_SECOND + s.st_mtim.tv_nsec;
    }
    free(found);
    free(file);
}

struct loader_stamp loader_stamp(const char *name, const char *path)
{
    struct loader_stamp stamp = {0};

    stamp_file(&stamp, 0, path, name, "cfg");
    stamp_file(&stamp, 1, path, name, "weights");
    stamp_file(&stamp, 2, path, name, "names");
    if (!stamp.files[2].inode)
        stamp_file(&stamp, 2, path, "coco", "names");
    stamp_file(&stamp, 3, path, name, "ranges");
    return stamp;
}

bool loader_stamp_equal(const struct loader_stamp *a, const struct loader_stamp *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* The model's name when the folder's file is a cfg of one that is complete, to free(); else NULL. */
static char *complete_model(const char *path, const char *file)
{
    size_t n = strlen(file);

    if (n < 5 || strcmp(file + n - 4, ".cfg") != 0)
        return NULL;
    char *name = xstrndup(file, n - 4), *weights = xasprintf("%s.weights", name), *found = find_file(path, weights);
    if (!found || !is_plain(name)) {
        free(name);
        name = NULL;
    }
    free(found);
    free(weights);
    return name;
}

/* Puts it in its place; false: it is there already, or too many are. */
static bool insert_name(char **names, size_t *n, char *name)
{
    size_t at = 0;

    while (at < *n && strcmp(names[at], name) < 0)
        at++;
    if (at < *n && strcmp(names[at], name) == 0)
        return false;
    if (*n == LOADER_MAX_MODELS) {
        log_warn("model_left_out", log_s("model", name), log_i("most_models", LOADER_MAX_MODELS));
        return false;
    }
    memmove(names + at + 1, names + at, (*n - at) * sizeof *names);
    names[at] = name;
    ++*n;
    return true;
}

static void list_folder(const char *folder, const char *path, char **names, size_t *n)
{
    char **files = NULL;
    size_t n_files = 0;
    struct status st = fs_list(folder, MAX_FILES, &files, &n_files);

    if (st.code && st.code != ST_NOT_FOUND)
        log_warn("model_folder_unreadable", log_s("folder", folder), log_s("reason", st.msg));
    for (size_t i = 0; !st.code && i < n_files; i++) {
        char *name = complete_model(path, files[i]);
        if (name && !insert_name(names, n, name))
            free(name);
    }
    free(files);
}

size_t loader_list(const char *path, char ***names)
{
    size_t n = 0;

    *names = xcalloc(LOADER_MAX_MODELS, sizeof **names);
    for (const char *p = path; *p;) {
        size_t length = strcspn(p, ":");
        char *folder = length ? xstrndup(p, length) : NULL;
        if (folder)
            list_folder(folder, path, *names, &n);
        free(folder);
        p += length + (p[length] == ':');
    }
    return n;
}

/* descriptors.c - one pass of the wire scanner over a FileDescriptorSet; field numbers are those of
 * google/protobuf/descriptor.proto. Names are copied (they need a NUL), file bytes are not: reflection sends them
 * as they lie in the program. */
#include "rpc/descriptors.h"

#include "rpc/wire.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILES   1000
#define MAX_IMPORTS 1000
#define MAX_SYMBOLS 200000
#define MAX_DEPTH   32

struct descriptors {
    struct vec files;   /* of struct descriptor_file */
    struct vec symbols; /* of struct symbol, by name */
};

extern const uint8_t bloginfer_descriptors[], bloginfer_descriptors_end[];

const uint8_t *descriptors_embedded(size_t *size)
{
    *size = (size_t)(bloginfer_descriptors_end - bloginfer_descriptors);
    return bloginfer_descriptors;
}

/* "scope.name"; NULL when name is no such thing. */
static char *join(const char *scope, const struct wire *name)
{
    if (!wire_size(name) || memchr(name->at, 0, wire_size(name)) || !utf8_valid(name->at, wire_size(name)))
        return NULL;
    return xasprintf("%s%s%.*s", scope, *scope ? "." : "", (int)wire_size(name), (const char *)name->at);
}

/* The first bytes field of this number; an empty one when there is none. */
static struct wire member(struct wire w, uint32_t number)
{
    struct wire_field f;

    while (wire_next(&w, &f))
        if (f.number == number && f.type == WIRE_BYTES)
            return f.bytes;
    return wire_of("", 0);
}

static bool flag(struct wire w, uint32_t number)
{
    struct wire_field f;
    bool set = false;

    while (wire_next(&w, &f))
        if (f.number == number && f.type == WIRE_VARINT)
            set = f.value != 0;
    return set;
}

/* Adds the thing that w describes; all of them keep their name in field 1. NULL: malformed or too many. */
static const char *add(struct descriptors *d, enum symbol_kind kind, const char *scope, struct wire w)
{
    struct wire name = member(w, 1);
    char *full = join(scope, &name);
    struct symbol *s = full ? vec_push(&d->symbols) : NULL;

    if (!s) {
        free(full);
        return NULL;
    }
    *s = (struct symbol){.name = full, .file = d->files.n - 1, .kind = kind};
    if (kind == SYMBOL_METHOD) {
        s->client_streams = flag(w, 5);
        s->server_streams = flag(w, 6);
    }
    return full;
}

/* Adds every member of this number and kind. */
static bool add_all(struct descriptors *d, enum symbol_kind kind, const char *scope, struct wire w, uint32_t number)
{
    struct wire_field f;

    while (wire_next(&w, &f))
        if (f.number == number && f.type == WIRE_BYTES && !add(d, kind, scope, f.bytes))
            return false;
    return w.at == w.end;
}

/* EnumDescriptorProto; the values' names stand in the scope of the enum itself, as in C++. */
static bool scan_enum(struct descriptors *d, const char *scope, struct wire w)
{
    return add(d, SYMBOL_ENUM, scope, w) && add_all(d, SYMBOL_VALUE, scope, w, 2);
}

/* DescriptorProto: field 2, nested_type 3, enum_type 4. */
static bool scan_message(struct descriptors *d, const char *scope, struct wire w, int depth)
{
    const char *name = depth > MAX_DEPTH ? NULL : add(d, SYMBOL_MESSAGE, scope, w);
    struct wire_field f;
    bool ok = name && add_all(d, SYMBOL_FIELD, name, w, 2);

    while (ok && wire_next(&w, &f)) {
        if (f.type == WIRE_BYTES && f.number == 3)
            ok = scan_message(d, name, f.bytes, depth + 1);
        else if (f.type == WIRE_BYTES && f.number == 4)
            ok = scan_enum(d, name, f.bytes);
    }
    return ok;
}

/* ServiceDescriptorProto: method 2. */
static bool scan_service(struct descriptors *d, const char *scope, struct wire w)
{
    const char *name = add(d, SYMBOL_SERVICE, scope, w);

    return name && add_all(d, SYMBOL_METHOD, name, w, 2);
}

static bool add_import(struct descriptor_file *file, const struct wire *name)
{
    char *copy = join("", name);
    char **slot = copy ? vec_push(&file->imports) : NULL;

    if (slot)
        *slot = copy;
    else
        free(copy);
    return slot;
}

/* FileDescriptorProto: name 1, package 2, dependency 3, message_type 4, enum_type 5, service 6. */
static bool scan_file(struct descriptors *d, struct wire w)
{
    struct wire name = member(w, 1), package = member(w, 2);
    struct descriptor_file *file = vec_push(&d->files);
    char *scope = wire_size(&package) ? join("", &package) : xstrdup("");
    struct wire_field f;
    bool ok = file && scope;

    if (file) {
        *file = (struct descriptor_file){join("", &name), w.at, wire_size(&w), VEC_INIT(sizeof(char *), MAX_IMPORTS)};
        ok = ok && file->name;
    }
    while (ok && wire_next(&w, &f)) {
        if (f.type != WIRE_BYTES)
            continue;
        if (f.number == 3)
            ok = add_import(file, &f.bytes);
        else if (f.number == 4)
            ok = scan_message(d, scope, f.bytes, 0);
        else if (f.number == 5)
            ok = scan_enum(d, scope, f.bytes);
        else if (f.number == 6)
            ok = scan_service(d, scope, f.bytes);
    }
    free(scope);
    return ok && w.at == w.end;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct symbol *)a)->name, ((const struct symbol *)b)->name);
}

struct status descriptors_new(struct descriptors **out, const uint8_t *set, size_t size)
{
    struct descriptors *d = xcalloc(1, sizeof *d);
    struct wire w = wire_of(set, size);
    struct wire_field f;
    bool ok = true;

    d->files = (struct vec)VEC_INIT(sizeof(struct descriptor_file), MAX_FILES);
    d->symbols = (struct vec)VEC_INIT(sizeof(struct symbol), MAX_SYMBOLS);
    while (ok && wire_next(&w, &f))
        ok = f.number == 1 && f.type == WIRE_BYTES && scan_file(d, f.bytes);
    if (!ok || w.at != w.end) {
        descriptors_free(d);
        return status_errorf(ST_INVALID, "descriptor set: malformed at byte %zu", (size_t)(w.at - set));
    }
    if (d->symbols.n)
        qsort(d->symbols.data, d->symbols.n, sizeof(struct symbol), by_name);
    *out = d;
    return status_ok();
}

void descriptors_free(struct descriptors *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->files.n; i++) {
        struct descriptor_file *file = VEC_AT(&d->files, struct descriptor_file, i);

        for (size_t k = 0; k < file->imports.n; k++)
            free(*VEC_AT(&file->imports, char *, k));
        vec_fini(&file->imports);
        free(file->name);
    }
    for (size_t i = 0; i < d->symbols.n; i++)
        free(VEC_AT(&d->symbols, struct symbol, i)->name);
    vec_fini(&d->files);
    vec_fini(&d->symbols);
    free(d);
}

const struct symbol *descriptors_symbol(const struct descriptors *d, const char *name)
{
    struct symbol key = {.name = (char *)name};

    return d->symbols.n ? bsearch(&key, d->symbols.data, d->symbols.n, sizeof key, by_name) : NULL;
}

size_t descriptors_n_files(const struct descriptors *d)
{
    return d->files.n;
}

const struct descriptor_file *descriptors_file(const struct descriptors *d, size_t index)
{
    return VEC_AT(&d->files, struct descriptor_file, index);
}

bool descriptors_find_file(const struct descriptors *d, const char *name, size_t *index)
{
    for (*index = 0; *index < d->files.n; ++*index)
        if (!strcmp(descriptors_file(d, *index)->name, name))
            return true;
    return false;
}

static bool holds(const size_t *indexes, size_t n, size_t index)
{
    for (size_t i = 0; i < n; i++)
        if (indexes[i] == index)
            return true;
    return false;
}

size_t descriptors_closure(const struct descriptors *d, size_t index, size_t *indexes)
{
    size_t n = 1;

    indexes[0] = index;
    for (size_t i = 0; i < n; i++) {
        const struct vec *imports = &descriptors_file(d, indexes[i])->imports;

        for (size_t k = 0; k < imports->n; k++) {
            size_t other;

            if (descriptors_find_file(d, *VEC_AT(imports, char *, k), &other) && !holds(indexes, n, other))
                indexes[n++] = other;
        }
    }
    return n;
}

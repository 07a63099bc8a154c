/* result.c - cells in PostgreSQL's binary format, which is the network's byte order: copied into the arena once, decoded
 * when they are asked for.
 * Formats: the send functions of each type, https://www.postgresql.org/docs/15/protocol-overview.html#PROTOCOL-FORMAT-CODES */
#include "pg/rows.h"

#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <string.h>

#define UUID_TEXT    36
#define EPOCH_2000_S INT64_C(946684800) /* where PostgreSQL counts from, in Unix time */

enum kind {
    KIND_NONE,
    KIND_BOOL,
    KIND_INT,
    KIND_FLOAT,
    KIND_TIME,
    KIND_TEXT,
    KIND_JSONB,
    KIND_UUID,
    KIND_BYTES,
    KIND_VOID
};

struct type {
    Oid oid;
    enum kind kind;
    int size; /* of a value; -1: any */
};

/* pg_type.dat; void is what functions like pg_advisory_xact_lock() give. */
static const struct type types[] = {
    {16, KIND_BOOL, 1},    {17, KIND_BYTES, -1},   {18, KIND_TEXT, 1},    {19, KIND_TEXT, -1},  {20, KIND_INT, 8},
    {21, KIND_INT, 2},     {23, KIND_INT, 4},      {25, KIND_TEXT, -1},   {114, KIND_TEXT, -1}, {700, KIND_FLOAT, 4},
    {701, KIND_FLOAT, 8},  {1042, KIND_TEXT, -1},  {1043, KIND_TEXT, -1}, {1184, KIND_TIME, 8}, {2278, KIND_VOID, -1},
    {2950, KIND_UUID, 16}, {3802, KIND_JSONB, -1},
};

static const struct type *type_of(Oid oid)
{
    static const struct type none = {0, KIND_NONE, -1};

    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (types[i].oid == oid)
            return &types[i];
    return &none;
}

/* ---- in ---- */

void rows_init(struct rows *rows, struct pg_result *to, struct arena *arena)
{
    *to = (struct pg_result){0};
    *rows = (struct rows){.arena = arena, .to = to};
}

static struct status too_large(const struct rows *rows, const char *statement)
{
    return status_errorf(ST_EXHAUSTED, "%s: the rows take over %zu bytes", statement, rows->arena->limit);
}

static struct status set_columns(struct rows *rows, const PGresult *res, const char *statement)
{
    int n = PQnfields(res);
    uint32_t *oids = arena_alloc(rows->arena, (size_t)n * sizeof *oids);

    if (!oids)
        return too_large(rows, statement);
    for (int i = 0; i < n; i++) {
        oids[i] = PQftype(res, i);
        if (type_of(oids[i])->kind == KIND_NONE)
            return status_errorf(ST_INTERNAL, "%s: column %d has type %u, which is not read: cast it", statement, i,
                                 oids[i]);
    }
    rows->to->types = oids;
    rows->to->n_columns = n;
    return status_ok();
}

static bool reserve(struct rows *rows, size_t n_cells)
{
    size_t n = rows->n_cells_max ? rows->n_cells_max * 2 : n_cells;

    if (n_cells <= rows->n_cells_max)
        return true;
    struct pg_cell *cells = arena_alloc(rows->arena, (n < n_cells ? n_cells : n) * sizeof *cells);
    if (!cells)
        return false;
    if (rows->cells)
        memcpy(cells, rows->cells, rows->n_cells_max * sizeof *cells);
    rows->to->cells = rows->cells = cells;
    rows->n_cells_max = n < n_cells ? n_cells : n;
    return true;
}

static void write_uuid(char *text, const unsigned char *b)
{
    snprintf(text, UUID_TEXT + 1, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

/* Everything gets a NUL; jsonb loses the version byte in front. */
static bool copy_cell(struct arena *arena, const struct type *type, const char *value, size_t size,
                      struct pg_cell *cell)
{
    size_t skip = type->kind == KIND_JSONB && size ? 1 : 0, n = type->kind == KIND_UUID ? UUID_TEXT : size - skip;
    char *copy = arena_alloc(arena, n + 1);

    if (!copy)
        return false;
    if (type->kind == KIND_UUID)
        write_uuid(copy, (const unsigned char *)value);
    else
        memcpy(copy, value + skip, n);
    copy[n] = '\0';
    *cell = (struct pg_cell){copy, n};
    return true;
}

static struct status add_row(struct rows *rows, const PGresult *res, int row, const char *statement)
{
    struct pg_result *to = rows->to;
    size_t n = (size_t)to->n_columns, first = to->n_rows * n;

    assert(to->types || to->n_columns <= 0);
    if (!reserve(rows, first + n))
        return too_large(rows, statement);
    for (int i = 0; i < to->n_columns; i++) {
        const struct type *type = type_of(to->types[i]);
        int size = PQgetlength(res, row, i);

        rows->cells[first + (size_t)i] = (struct pg_cell){NULL, 0};
        if (PQgetisnull(res, row, i))
            continue;
        if (type->size >= 0 && size != type->size)
            return status_errorf(ST_INTERNAL, "%s: column %d is a value of %d bytes", statement, i, size);
        if (!copy_cell(rows->arena, type, PQgetvalue(res, row, i), (size_t)size, &rows->cells[first + (size_t)i]))
            return too_large(rows, statement);
    }
    to->n_rows++;
    return status_ok();
}

struct status rows_add(struct rows *rows, const PGresult *res, const char *statement)
{
    struct status st = status_ok();

    if (!rows->to->types && PQnfields(res))
        st = set_columns(rows, res, statement);
    for (int row = 0; row < PQntuples(res) && !st.code; row++)
        st = add_row(rows, res, row, statement);
    return st;
}

/* ---- out ---- */

static const struct pg_cell *cell_at(const struct pg_result *r, size_t row, int column)
{
    assert(row < r->n_rows && column >= 0 && column < r->n_columns);
    return &r->cells[row * (size_t)r->n_columns + (size_t)column];
}

static const struct pg_cell *cell_of(const struct pg_result *r, size_t row, int column, enum kind kind)
{
    const struct pg_cell *cell = cell_at(r, row, column);

    assert(type_of(r->types[column])->kind == kind);
    return cell;
}

static int64_t read_int(const struct pg_cell *cell)
{
    uint16_t two;
    uint32_t four;
    uint64_t eight;

    switch (cell->size) {
    case 2:
        memcpy(&two, cell->data, 2);
        return (int16_t)be16toh(two);
    case 4:
        memcpy(&four, cell->data, 4);
        return (int32_t)be32toh(four);
    default:
        memcpy(&eight, cell->data, 8);
        return (int64_t)be64toh(eight);
    }
}

bool pg_is_null(const struct pg_result *r, size_t row, int column)
{
    return !cell_at(r, row, column)->data;
}

int64_t pg_int(const struct pg_result *r, size_t row, int column)
{
    const struct pg_cell *cell = cell_of(r, row, column, KIND_INT);

    return cell->data ? read_int(cell) : 0;
}

double pg_float(const struct pg_result *r, size_t row, int column)
{
    const struct pg_cell *cell = cell_of(r, row, column, KIND_FLOAT);
    double d = 0;
    float f;

    if (!cell->data)
        return 0;
    int64_t bits = read_int(cell);
    if (cell->size == sizeof d) {
        memcpy(&d, &bits, sizeof d);
        return d;
    }
    memcpy(&f, &(uint32_t){(uint32_t)bits}, sizeof f);
    return (double)f;
}

bool pg_bool(const struct pg_result *r, size_t row, int column)
{
    const struct pg_cell *cell = cell_of(r, row, column, KIND_BOOL);

    return cell->data && cell->data[0];
}

/* Times that nanoseconds in 64 bits cannot say, infinity among them, are the first or the last that they can. */
int64_t pg_time(const struct pg_result *r, size_t row, int column)
{
    const struct pg_cell *cell = cell_of(r, row, column, KIND_TIME);
    int64_t us = cell->data ? read_int(cell) : 0, ns;

    if (!cell->data)
        return 0;
    if (__builtin_mul_overflow(us, INT64_C(1000), &ns) || __builtin_add_overflow(ns, EPOCH_2000_S * CLOCK_SECOND, &ns))
        return us < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

static bool is_text(enum kind kind)
{
    return kind == KIND_TEXT || kind == KIND_JSONB || kind == KIND_UUID;
}

const char *pg_text(const struct pg_result *r, size_t row, int column)
{
    const struct pg_cell *cell = cell_at(r, row, column);

    assert(is_text(type_of(r->types[column])->kind));
    return cell->data ? cell->data : "";
}

struct pg_cell pg_bytes(const struct pg_result *r, size_t row, int column)
{
    const struct pg_cell *cell = cell_at(r, row, column);
    enum kind kind = type_of(r->types[column])->kind;

    assert(kind == KIND_BYTES || is_text(kind));
    return *cell;
}
